// RMSNorm, alone and fused: with int8 quantisation, with the gate of the MLGRU.
#pragma once
#include "math.inl"

namespace {

inline float sum_of_squares(const float *x, int64_t width) {
    float sum = 0;
    SIMD_SUM(sum) for (int64_t i = 0; i < width; i++) sum = fma(x[i], x[i], sum);
    return sum;
}

void rms_norm(const float *x, const float *gain, float *y, float *r, int64_t rows, int64_t width, float eps,
              int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *from = x + m * width;
            float *to = y + m * width;
            const float scale = r[m] = root_mean(sum_of_squares(from, width), width, eps);
            if (gain) {
                SIMD for (int64_t i = 0; i < width; i++) to[i] = from[i] * scale * gain[i];
            } else {
                SIMD for (int64_t i = 0; i < width; i++) to[i] = from[i] * scale;
            }
        }
    });
}

// With dn = dy gain: dx = r dn - x r³ mean(dn x), dgain = sum over rows of dy x r.
template <class T>
inline void norm_backward_row(const T *dy, float inverse, const float *x, float r, const float *gain, float *dx,
                              float *dgain, int64_t width) {
    float dot = 0;
    if (gain) {
        SIMD_SUM(dot) for (int64_t i = 0; i < width; i++) {
            const float part = to_float(dy[i]) * inverse * x[i];
            dgain[i] = fma(part, r, dgain[i]);
            dot = fma(part, gain[i], dot);
        }
    } else {
        SIMD_SUM(dot) for (int64_t i = 0; i < width; i++) dot = fma(to_float(dy[i]) * inverse, x[i], dot);
    }
    const float along = -r * r * r * dot / static_cast<float>(width), across = inverse * r;
    if (gain) {
        SIMD for (int64_t i = 0; i < width; i++) {
            dx[i] = fma(to_float(dy[i]) * gain[i], across, x[i] * along);
        }
    } else {
        SIMD for (int64_t i = 0; i < width; i++) dx[i] = fma(to_float(dy[i]), across, x[i] * along);
    }
}

template <class T>
void rms_norm_backward(const cpu1_norm_backward *a, int threads) {
    const int64_t width = a->width;
    parallel(threads, blocks_of(a->rows, CPU1_ROW_BLOCK), [=](int64_t block) {
        float *dgain = a->gain ? a->dgain_blocks + block * width : nullptr;
        for (int64_t i = 0; dgain && i < width; i++) dgain[i] = 0;
        const int64_t last = smaller(a->rows, (block + 1) * CPU1_ROW_BLOCK);
        for (int64_t m = block * CPU1_ROW_BLOCK; m < last; m++) {
            norm_backward_row(static_cast<const T *>(a->dy) + m * width, a->divide ? 1.0f / a->divide[m] : 1.0f,
                              a->x + m * width, a->r[m], a->gain, a->dx + m * width, dgain, width);
        }
    });
}

// q from x gain alone (the norm cancels): the same integers whatever the order of the sum of squares.
inline void quantise_row(const float *x, const float *gain, int8_t *q, float *s, float *r, int64_t width,
                         float eps) {
    constexpr float silent = 0x1p-100f, levels = 127.0f;
    // bits of |x gain| compare as the values do, and NaN above them all
    int32_t peak_bits = 0;
    float squares = 0;
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
    squares = sum_of_squares(x, width);
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

void quantise(const float *x, const float *gain, int8_t *q, float *s, float *r, int64_t rows, int64_t width,
              float eps, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            quantise_row(x + m * width, gain, q + m * width, s + m, r + m, width, eps);
        }
    });
}

void gated_norm(const float *h, const float *g, float *u, float *r, int64_t rows, int64_t width, int64_t g_stride,
                float eps, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *state = h + m * width, *gate = g + m * g_stride;
            float *to = u + m * width;
            const float scale = r[m] = root_mean(sum_of_squares(state, width), width, eps);
            SIMD for (int64_t i = 0; i < width; i++) to[i] = state[i] * scale * gate[i] * sigmoid(gate[i]);
        }
    });
}

void gated_norm_backward(const float *du, const float *h, const float *g, const float *r, float *dh, float *dg,
                         int64_t rows, int64_t width, int64_t g_stride, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *dy = du + m * width, *state = h + m * width, *gate = g + m * g_stride;
            float *dstate = dh + m * g_stride, *dgate = dg + m * g_stride, dot = 0;
            const float scale = r[m];
            SIMD_SUM(dot) for (int64_t i = 0; i < width; i++) {
                const float open = sigmoid(gate[i]), dn = dy[i] * gate[i] * open;
                dgate[i] = dy[i] * state[i] * scale * silu_slope(gate[i], open);
                dstate[i] = dn;
                dot = fma(dn, state[i], dot);
            }
            const float along = -scale * scale * scale * dot / static_cast<float>(width);
            SIMD for (int64_t i = 0; i < width; i++) dstate[i] = fma(dstate[i], scale, state[i] * along);
        }
    });
}

}  // namespace
