// The steps around a matrix product: scales, changes of type, a bias, a low-rank path beside it.
#pragma once
#include "math.inl"

namespace {

// body(part, first column, columns) for the stacked matrices of a low-rank path
template <class Body>
inline void each_part(const cpu1_low_rank *a, const Body &body) {
    for (int64_t part = 0, first = 0; part < a->parts; first += a->sizes[part++]) body(part, first, a->sizes[part]);
}

// y += inner V: one multiply-add an element and rank
inline void low_rank_row(const cpu1_low_rank *a, int64_t m, float *y, int64_t width) {
    each_part(a, [=](int64_t part, int64_t first, int64_t columns) {
        const float *inner = a->inner + (m * a->parts + part) * a->rank;
        float *to = y + first;
        for (int64_t k = 0; k < a->rank; k++) {
            const float *up = a->up + k * width + first, share = inner[k];
            SIMD for (int64_t n = 0; n < columns; n++) to[n] = fma(share, up[n], to[n]);
        }
    });
}

inline void low_rank_row_backward(const cpu1_low_rank *a, int64_t m, const float *dy, float *dup, int64_t width) {
    each_part(a, [=](int64_t part, int64_t first, int64_t columns) {
        const int64_t at = (m * a->parts + part) * a->rank;
        const float *d = dy + first;
        for (int64_t k = 0; k < a->rank; k++) {
            const float *up = a->up + k * width + first, share = a->inner[at + k];
            float *to = dup + k * width + first, dot = 0;
            SIMD_SUM(dot) for (int64_t n = 0; n < columns; n++) {
                dot = fma(d[n], up[n], dot);
                to[n] = fma(share, d[n], to[n]);
            }
            a->dinner[at + k] = dot;
        }
    });
}

// One memory, two types: copied bytewise, as C++ asks.
inline void dequantise_row(char *at, float row, const float *column, int64_t width) {
    SIMD for (int64_t n = 0; n < width; n++) {
        int32_t sum;
        __builtin_memcpy(&sum, at + n * 4, 4);
        const float y = static_cast<float>(sum) * row * column[n];
        __builtin_memcpy(at + n * 4, &y, 4);
    }
}

void dequantise(void *sums, const float *row, const float *column, const cpu1_low_rank *beside, int64_t rows,
                int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            char *at = static_cast<char *>(sums) + m * width * 4;
            dequantise_row(at, row[m], column, width);
            if (beside) low_rank_row(beside, m, reinterpret_cast<float *>(at), width);
        }
    });
}

template <class T>
inline void scaled_row(const float *from, float row, const float *column, T *to, int64_t width) {
    if (column) {
        SIMD for (int64_t n = 0; n < width; n++) store(to + n, from[n] * row * column[n]);
    } else {
        SIMD for (int64_t n = 0; n < width; n++) store(to + n, from[n] * row);
    }
}

// A row of gradients in int8, by its largest value: row ~ scale to. NaN and infinity reach the scale.
template <class T>
inline void int8_row(const T *row, int8_t *to, float *scale, int64_t width) {
    int32_t peak_bits = 0;
    SIMD_MAX(peak_bits) for (int64_t n = 0; n < width; n++) {
        const int32_t bits = static_cast<int32_t>(to_bits(to_float(row[n])) & 0x7fffffffu);
        peak_bits = bits > peak_bits ? bits : peak_bits;
    }
    const float peak = from_bits(static_cast<uint32_t>(peak_bits));
    const float per_level = peak < 0x1p-100f ? 0.0f : 127.0f / peak;
    *scale = peak < 0x1p-100f ? 0.0f : peak / 127.0f;
    SIMD for (int64_t n = 0; n < width; n++) {
        to[n] = static_cast<int8_t>(to_bits(to_float(row[n]) * per_level + to_integer));
    }
}

// out = dy row column; and while dy is in registers, its sum over rows and the gradients of the low-rank path
template <class T>
void fold(const cpu1_fold *a, int threads) {
    const int64_t width = a->width, taps = a->beside ? a->beside->rank * width : 0;
    parallel(threads, blocks_of(a->rows, CPU1_ROW_BLOCK), [=](int64_t block) {
        float *sum = a->sum_blocks ? a->sum_blocks + block * width : nullptr;
        float *dup = a->beside ? a->beside->dup_blocks + block * taps : nullptr;
        for (int64_t n = 0; sum && n < width; n++) sum[n] = 0;
        for (int64_t n = 0; n < taps; n++) dup[n] = 0;
        for (int64_t m = block * CPU1_ROW_BLOCK; m < smaller(a->rows, (block + 1) * CPU1_ROW_BLOCK); m++) {
            const float *dy = a->dy + m * width;
            T *out = static_cast<T *>(a->out) + m * width;
            scaled_row(dy, a->row ? a->row[m] : 1.0f, a->column, out, width);
            if (a->levels) int8_row(out, a->levels + m * width, a->scale + m, width);
            if (sum) {
                SIMD for (int64_t n = 0; n < width; n++) sum[n] += dy[n];
            }
            if (a->beside) low_rank_row_backward(a->beside, m, dy, dup, width);
        }
    });
}

// out = in / row + bias + residual
void widen(const cpu1_bf16 *in, const float *row, const float *bias, const float *residual, float *out, int64_t rows,
           int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const cpu1_bf16 *from = in + m * width;
            const float *add = residual ? residual + m * width : nullptr;
            float *to = out + m * width;
            const float scale = row ? 1.0f / row[m] : 1.0f;
            SIMD for (int64_t n = 0; n < width; n++) to[n] = to_float(from[n]) * scale;
            if (bias) {
                SIMD for (int64_t n = 0; n < width; n++) to[n] += bias[n];
            }
            if (add) {
                SIMD for (int64_t n = 0; n < width; n++) to[n] += add[n];
            }
        }
    });
}

// out = in row
void narrow_sums(const int32_t *in, const float *row, cpu1_bf16 *out, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const int32_t *from = in + m * width;
            cpu1_bf16 *to = out + m * width;
            const float scale = row[m];
            SIMD for (int64_t n = 0; n < width; n++) to[n] = to_bf16(static_cast<float>(from[n]) * scale);
        }
    });
}

void int8_to_bf16(const int8_t *in, cpu1_bf16 *out, int64_t count, int threads) {
    constexpr int64_t block = 16384;
    parallel(threads, blocks_of(count, block), [=](int64_t i) {
        const int64_t last = smaller(count, (i + 1) * block);
        SIMD for (int64_t j = i * block; j < last; j++) {
            out[j] = static_cast<cpu1_bf16>(to_bits(static_cast<float>(in[j])) >> 16);
        }
    });
}

// relu(a + bias)²
void relu2(const cpu1_bf16 *a, const float *bias, cpu1_bf16 *out, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const cpu1_bf16 *from = a + m * width;
            cpu1_bf16 *to = out + m * width;
            SIMD for (int64_t n = 0; n < width; n++) {
                const float z = to_float(from[n]) + bias[n], open = z > 0.0f ? z : z != z ? z : 0.0f;
                to[n] = to_bf16(open * open);
            }
        }
    });
}

void relu2_backward(const cpu1_bf16 *a, const float *bias, const cpu1_bf16 *dout, cpu1_bf16 *da, float *sum_blocks,
                    int64_t rows, int64_t width, int threads) {
    parallel(threads, blocks_of(rows, CPU1_ROW_BLOCK), [=](int64_t block) {
        float *sum = sum_blocks + block * width;
        for (int64_t n = 0; n < width; n++) sum[n] = 0;
        for (int64_t m = block * CPU1_ROW_BLOCK; m < smaller(rows, (block + 1) * CPU1_ROW_BLOCK); m++) {
            const cpu1_bf16 *from = a + m * width, *d = dout + m * width;
            cpu1_bf16 *to = da + m * width;
            SIMD for (int64_t n = 0; n < width; n++) {
                const float z = to_float(from[n]) + bias[n], open = z > 0.0f ? z : z != z ? z : 0.0f;
                const float dz = to_float(d[n]) * 2.0f * open;
                sum[n] += dz;
                to[n] = to_bf16(dz);
            }
        }
    });
}

}  // namespace
