// What stands around a matrix product: scales, and changes of type.
#pragma once
#include "math.inl"

namespace {

// One memory, two types: copied bytewise, as C++ asks.
inline void dequantise_row(char *at, float row, const float *column, int64_t width) {
    SIMD for (int64_t n = 0; n < width; n++) {
        int32_t sum;
        __builtin_memcpy(&sum, at + n * 4, 4);
        const float y = static_cast<float>(sum) * row * column[n];
        __builtin_memcpy(at + n * 4, &y, 4);
    }
}

void dequantise(void *sums, const float *row, const float *column, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            dequantise_row(static_cast<char *>(sums) + m * width * 4, row[m], column, width);
        }
    });
}

void narrow(const float *in, const float *row, const float *column, cpu1_bf16 *out, int64_t rows, int64_t width,
            int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *from = in + m * width;
            cpu1_bf16 *to = out + m * width;
            const float scale = row ? row[m] : 1.0f;
            if (column) {
                SIMD for (int64_t n = 0; n < width; n++) to[n] = to_bf16(from[n] * scale * column[n]);
            } else {
                SIMD for (int64_t n = 0; n < width; n++) to[n] = to_bf16(from[n] * scale);
            }
        }
    });
}

void widen(const cpu1_bf16 *in, const float *row, float *out, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const cpu1_bf16 *from = in + m * width;
            float *to = out + m * width;
            const float scale = 1.0f / row[m];
            SIMD for (int64_t n = 0; n < width; n++) to[n] = to_float(from[n]) * scale;
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

}  // namespace
