// RMSNorm, alone and with the gate of the MLGRU.
#pragma once
#include "math.inl"

namespace {

inline float sum_of_squares(const float *x, int64_t width) {
    float sum = 0;
    SIMD_SUM(sum) for (int64_t i = 0; i < width; i++) sum = fma(x[i], x[i], sum);
    return sum;
}

template <class T>
void rms_norm(const float *x, const float *gain, void *y, float *r, int64_t rows, int64_t width, float eps,
              int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *from = x + m * width;
            T *to = static_cast<T *>(y) + m * width;
            const float scale = r[m] = root_mean(sum_of_squares(from, width), width, eps);
            if (gain) {
                SIMD for (int64_t i = 0; i < width; i++) store(to + i, from[i] * scale * gain[i]);
            } else {
                SIMD for (int64_t i = 0; i < width; i++) store(to + i, from[i] * scale);
            }
        }
    });
}

// With dn = dy gain: dx = r dn - x r³ mean(dn x), dgain = sum over rows of dy x r. `through` is added to dx.
template <class T, bool added>
inline void norm_backward_row(const T *dy, float inverse, const float *x, float r, const float *gain,
                              const float *through, float *dx, float *dgain, int64_t width) {
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
            const float d = fma(to_float(dy[i]) * gain[i], across, x[i] * along);
            dx[i] = added ? through[i] + d : d;
        }
    } else {
        SIMD for (int64_t i = 0; i < width; i++) {
            const float d = fma(to_float(dy[i]), across, x[i] * along);
            dx[i] = added ? through[i] + d : d;
        }
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
            const T *dy = static_cast<const T *>(a->dy) + m * width;
            const float inverse = a->divide ? 1.0f / a->divide[m] : 1.0f, *x = a->x + m * width;
            if (a->through) {
                norm_backward_row<T, true>(dy, inverse, x, a->r[m], a->gain, a->through + m * width, a->dx + m * width,
                                           dgain, width);
            } else {
                norm_backward_row<T, false>(dy, inverse, x, a->r[m], a->gain, nullptr, a->dx + m * width, dgain, width);
            }
        }
    });
}

// u = norm(h) silu(g)
inline void gated_norm_row(const float *h, const float *g, float *u, int64_t width, float eps) {
    const float r = root_mean(sum_of_squares(h, width), width, eps);
    SIMD for (int64_t i = 0; i < width; i++) u[i] = h[i] * r * g[i] * sigmoid(g[i]);
}

inline void gated_norm_row_backward(const float *du, const float *h, const float *g, float *dh, float *dg,
                                    int64_t width, float eps) {
    const float r = root_mean(sum_of_squares(h, width), width, eps);
    float dot = 0;
    SIMD_SUM(dot) for (int64_t i = 0; i < width; i++) {
        const float open = sigmoid(g[i]), dn = du[i] * g[i] * open;
        dg[i] = du[i] * h[i] * r * silu_slope(g[i], open);
        dh[i] = dn;
        dot = fma(dn, h[i], dot);
    }
    const float along = -r * r * r * dot / static_cast<float>(width);
    SIMD for (int64_t i = 0; i < width; i++) dh[i] = fma(dh[i], r, h[i] * along);
}

void gated_norm(const cpu1_gated_norm *a, float *u, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            gated_norm_row(a->h + m * width, a->g + m * a->stride, u + m * width, width, a->eps);
        }
    });
}

void gated_norm_backward(const cpu1_gated_norm *a, const float *du, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            gated_norm_row_backward(du + m * width, a->h + m * width, a->g + m * a->stride, a->dh + m * a->stride,
                                    a->dg + m * a->stride, width, a->eps);
        }
    });
}

// out = x + keep y; `kept` is y for the backward pass
template <class T>
void branch(const float *x, const float *y, const float *keep, float *out, void *kept, int64_t rows, int64_t width,
            int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *from = x + m * width, *add = y + m * width, share = keep[m];
            float *to = out + m * width;
            T *copy = static_cast<T *>(kept) + m * width;
            SIMD for (int64_t i = 0; i < width; i++) {
                to[i] = fma(share, add[i], from[i]);
                store(copy + i, add[i]);
            }
        }
    });
}

template <class T>
void branch_backward(const float *dout, const void *kept, const float *keep, float *dy, float *dkeep, int64_t rows,
                     int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *d = dout + m * width, share = keep[m];
            const T *add = static_cast<const T *>(kept) + m * width;
            float *to = dy + m * width, dot = 0;
            SIMD_SUM(dot) for (int64_t i = 0; i < width; i++) {
                to[i] = share * d[i];
                dot = fma(d[i], to_float(add[i]), dot);
            }
            dkeep[m] = dot;
        }
    });
}

}  // namespace
