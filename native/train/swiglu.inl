// swiglu: silu(gate) * up on rows of [gate, up].
#pragma once
#include "math.inl"

namespace {

inline void swiglu_row(const float *gate, float *to, int64_t width) {
    const float *up = gate + width;
    SIMD for (int64_t i = 0; i < width; i++) to[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

inline void swiglu_slope(float gate, float up, float open, float dy, float *dgate, float *dup) {
    *dgate = dy * up * silu_slope(gate, open);
    *dup = dy * gate * open;
}

void swiglu(const float *gate_up, float *out, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) swiglu_row(gate_up + m * 2 * width, out + m * width, width);
    });
}

void swiglu_backward(const float *gate_up, const float *dout, float *dgate_up, int64_t rows, int64_t width,
                     int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *gate = gate_up + m * 2 * width, *up = gate + width, *dy = dout + m * width;
            float *dgate = dgate_up + m * 2 * width, *dup = dgate + width;
            SIMD for (int64_t i = 0; i < width; i++) {
                swiglu_slope(gate[i], up[i], sigmoid(gate[i]), dy[i], dgate + i, dup + i);
            }
        }
    });
}

}  // namespace
