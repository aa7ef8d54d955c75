// Activations to int8, a row at a time, together with what made them: a gated unit, a recurrent state.
//
// A source gives row m of x (`forward`) and takes the gradient of that row (`backward`), so that x itself is never
// written: the backward pass makes it once more.
#pragma once
#include "norm.inl"
#include "swiglu.inl"

namespace {

// q from x gain alone (the norm cancels): the same integers whatever the order of the sum of squares.
inline void quantise_row(const float *x, const float *gain, int8_t *q, float *s, float *r, int64_t width,
                         float eps) {
    constexpr float silent = 0x1p-100f, levels = 127.0f;
    // bits of |x gain| compare as the values do, and NaN above them all
    int32_t peak_bits = 0;
    if (gain) {
        SIMD_MAX(peak_bits) for (int64_t i = 0; i < width; i++) {
            const int32_t bits = static_cast<int32_t>(to_bits(x[i] * gain[i]) & 0x7fffffffu);
            peak_bits = bits > peak_bits ? bits : peak_bits;
        }
    } else {
        SIMD_MAX(peak_bits) for (int64_t i = 0; i < width; i++) {
            const int32_t bits = static_cast<int32_t>(to_bits(x[i]) & 0x7fffffffu);
            peak_bits = bits > peak_bits ? bits : peak_bits;
        }
    }
    *r = root_mean(sum_of_squares(x, width), width, eps);
    const float peak = from_bits(static_cast<uint32_t>(peak_bits));
    const bool quiet = peak < silent;
    *s = quiet ? 1.0f : peak / levels * *r;
    const float per_level = quiet ? 0.0f : levels / peak;
    if (gain) {
        SIMD for (int64_t i = 0; i < width; i++) {
            q[i] = static_cast<int8_t>(to_bits(x[i] * gain[i] * per_level + to_integer));
        }
    } else {
        SIMD for (int64_t i = 0; i < width; i++) q[i] = static_cast<int8_t>(to_bits(x[i] * per_level + to_integer));
    }
}

template <class Source>
void quantise_source(const Source &source, const cpu1_quantise *a, int threads) {
    const int64_t width = a->width, block = row_block(width);
    parallel_workers(threads, blocks_of(a->rows, block), [&](int64_t i, int worker) {
        float *row = a->scratch + worker * 2 * width;
        for (int64_t m = i * block; m < smaller(a->rows, (i + 1) * block); m++) {
            quantise_row(source.forward(m, row), a->gain, a->q + m * width, a->s + m, a->r + m, width, a->eps);
        }
    });
}

// From the gradient of q as a real number, x = q s: that of x is dq / s, straight through the rounding.
template <class T, class Source>
void quantise_source_backward(const Source &source, const cpu1_quantise *a, int threads) {
    const int64_t width = a->width;
    parallel_workers(threads, blocks_of(a->rows, CPU1_ROW_BLOCK), [&](int64_t i, int worker) {
        float *row = a->scratch + worker * 2 * width, *drow = row + width;
        float *dgain = a->gain ? a->dgain_blocks + i * width : nullptr;
        for (int64_t n = 0; dgain && n < width; n++) dgain[n] = 0;
        for (int64_t m = i * CPU1_ROW_BLOCK; m < smaller(a->rows, (i + 1) * CPU1_ROW_BLOCK); m++) {
            const float *x = source.forward(m, row);
            norm_backward_row<T, false>(static_cast<const T *>(a->dq) + m * width, 1.0f / a->s[m], x, a->r[m], a->gain,
                                        nullptr, drow, dgain, width);
            source.backward(m, drow);
        }
    });
}

// silu(gate) up
struct SwigluSource {
    int64_t width;
    const float *gate_up;
    float *dgate_up;

    const float *forward(int64_t m, float *row) const {
        swiglu_row(gate_up + m * 2 * width, row, width);
        return row;
    }
    void backward(int64_t m, const float *drow) const {
        swiglu_row_backward(gate_up + m * 2 * width, drow, dgate_up + m * 2 * width, width);
    }
};

// norm(h) silu(g)
struct GatedNormSource {
    int64_t width;
    const cpu1_gated_norm *a;

    const float *forward(int64_t m, float *row) const {
        gated_norm_row(a->h + m * width, a->g + m * a->stride, row, width, a->eps);
        return row;
    }
    void backward(int64_t m, const float *drow) const {
        gated_norm_row_backward(drow, a->h + m * width, a->g + m * a->stride, a->dh + m * a->stride,
                                a->dg + m * a->stride, width, a->eps);
    }
};

void quantise(const float *x, const cpu1_quantise *a, int threads) {
    struct Plain {
        int64_t width;
        const float *x;
        const float *forward(int64_t m, float *) const { return x + m * width; }
    };
    quantise_source(Plain{a->width, x}, a, threads);
}

void swiglu_quantise(const float *gate_up, const cpu1_quantise *a, int threads) {
    quantise_source(SwigluSource{a->width, gate_up, nullptr}, a, threads);
}

template <class T>
void swiglu_quantise_backward(const float *gate_up, float *dgate_up, const cpu1_quantise *a, int threads) {
    quantise_source_backward<T>(SwigluSource{a->width, gate_up, dgate_up}, a, threads);
}

void gated_norm_quantise(const cpu1_gated_norm *gated, const cpu1_quantise *a, int threads) {
    quantise_source(GatedNormSource{a->width, gated}, a, threads);
}

template <class T>
void gated_norm_quantise_backward(const cpu1_gated_norm *gated, const cpu1_quantise *a, int threads) {
    quantise_source_backward<T>(GatedNormSource{a->width, gated}, a, threads);
}

}  // namespace
