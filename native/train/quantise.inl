// Activations to int8, a row at a time, together with what made them: a gated unit, a recurrent state.
//
// A source gives row m of x (`forward`) and takes the gradient of that row (`backward`), so that x itself is never
// written: the backward pass makes it once more.
#pragma once
#include "norm.inl"
#include "product.inl"
#include "swiglu.inl"

namespace {

// q from x gain alone (the norm cancels): the same integers whatever the order of the sum of squares.
inline void quantise_row(const float *x, const float *gain, int8_t *q, float *s, float *r, int64_t width, float eps) {
    constexpr float silent = 0x1p-100f, levels = 127.0f;
    // bits of |x gain| compare as the values do, and NaN above them all
    int32_t peak_bits = 0;
    float squares = 0;
    if (gain) {
        SIMD_PEAK(squares, peak_bits) for (int64_t i = 0; i < width; i++) {
            const int32_t bits = static_cast<int32_t>(to_bits(x[i] * gain[i]) & 0x7fffffffu);
            peak_bits = bits > peak_bits ? bits : peak_bits;
            squares = fma(x[i], x[i], squares);
        }
    } else {
        SIMD_PEAK(squares, peak_bits) for (int64_t i = 0; i < width; i++) {
            const int32_t bits = static_cast<int32_t>(to_bits(x[i]) & 0x7fffffffu);
            peak_bits = bits > peak_bits ? bits : peak_bits;
            squares = fma(x[i], x[i], squares);
        }
    }
    *r = root_mean(squares, width, eps);
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
        float *row = a->scratch + worker * CPU1_SCRATCH_ROWS * width;
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
        float *row = a->scratch + worker * CPU1_SCRATCH_ROWS * width, *drow = row + width;
        float *dgain = a->gain ? a->dgain_blocks + i * width : nullptr;
        for (int64_t n = 0; dgain && n < width; n++) dgain[n] = 0;
        for (int64_t m = i * CPU1_ROW_BLOCK; m < smaller(a->rows, (i + 1) * CPU1_ROW_BLOCK); m++) {
            const float *x = source.forward(m, row);
            norm_backward_row<T, false>(static_cast<const T *>(a->dq) + m * width, 1.0f / a->s[m], x, a->r[m], a->gain,
                                        nullptr, drow, dgain, width);
            source.backward(m, row, drow);
        }
    });
}

// silu(gate) up of [gate, up] = sums row column, the sums of an integer product. The pre-activations are kept in T for
// the backward pass, which gives their gradient times row and column: what that product's own gradients begin with.
template <class T>
struct ProductSwigluSource {
    int64_t width;
    const cpu1_product_swiglu *a;

    const float *forward(int64_t m, float *row) const {
        const int32_t *sums = a->sums + m * 2 * width;
        T *kept = static_cast<T *>(a->gate_up) + m * 2 * width;
        float *gate_up = row + 2 * width;
        const float scale = a->row[m], *column = a->column;
        SIMD for (int64_t n = 0; n < 2 * width; n++) gate_up[n] = static_cast<float>(sums[n]) * scale * column[n];
        SIMD for (int64_t n = 0; n < 2 * width; n++) store(kept + n, gate_up[n]);
        swiglu_row(gate_up, row, width);
        return row;
    }
};

template <class T>
struct ProductSwigluGradient {
    int64_t width;
    const cpu1_product_swiglu *a;

    const float *forward(int64_t m, float *row) const {
        const T *gate = static_cast<const T *>(a->gate_up) + m * 2 * width, *up = gate + width;
        float *open = row + 2 * width;
        SIMD for (int64_t i = 0; i < width; i++) {
            open[i] = sigmoid(to_float(gate[i]));
            row[i] = to_float(gate[i]) * open[i] * to_float(up[i]);
        }
        return row;
    }
    void backward(int64_t m, const float *row, const float *drow) const {
        const T *gate = static_cast<const T *>(a->gate_up) + m * 2 * width, *up = gate + width;
        const float *open = row + 2 * width, *column = a->column, scale = a->row[m];
        T *dgate = static_cast<T *>(a->dgate_up) + m * 2 * width, *dup = dgate + width;
        SIMD for (int64_t i = 0; i < width; i++) {
            float to_gate, to_up;
            swiglu_slope(to_float(gate[i]), to_float(up[i]), open[i], drow[i], &to_gate, &to_up);
            store(dgate + i, to_gate * scale * column[i]);
            store(dup + i, to_up * scale * column[width + i]);
        }
        if (a->levels) int8_row(dgate, a->levels + m * 2 * width, a->scale + m, 2 * width);
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
    void backward(int64_t m, const float *, const float *drow) const {
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

template <class T>
void product_swiglu_quantise(const cpu1_product_swiglu *product, const cpu1_quantise *a, int threads) {
    quantise_source(ProductSwigluSource<T>{a->width, product}, a, threads);
}

template <class T>
void product_swiglu_quantise_backward(const cpu1_product_swiglu *product, const cpu1_quantise *a, int threads) {
    quantise_source_backward<T>(ProductSwigluGradient<T>{a->width, product}, a, threads);
}

void gated_norm_quantise(const cpu1_gated_norm *gated, const cpu1_quantise *a, int threads) {
    quantise_source(GatedNormSource{a->width, gated}, a, threads);
}

template <class T>
void gated_norm_quantise_backward(const cpu1_gated_norm *gated, const cpu1_quantise *a, int threads) {
    quantise_source_backward<T>(GatedNormSource{a->width, gated}, a, threads);
}

}  // namespace
