// swiglu: silu(gate) * up on rows of [gate, up].
#pragma once
#include "math.inl"

namespace {

inline void swiglu_row(const float *gate, float *to, int64_t width) {
    const float *up = gate + width;
    SIMD for (int64_t i = 0; i < width; i++) to[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

inline void swiglu_row_backward(const float *gate, const float *dy, float *dgate, int64_t width) {
    const float *up = gate + width;
    float *dup = dgate + width;
    SIMD for (int64_t i = 0; i < width; i++) {
        const float open = sigmoid(gate[i]);
        dgate[i] = dy[i] * up[i] * silu_slope(gate[i], open);
        dup[i] = dy[i] * gate[i] * open;
    }
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
            swiglu_row_backward(gate_up + m * 2 * width, dout + m * width, dgate_up + m * 2 * width, width);
        }
    });
}

}  // namespace
