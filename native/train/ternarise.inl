// Absmean ternary weights of one matrix.
#pragma once
#include "math.inl"

namespace {

inline void ternarise_row(const float *from, float half, int8_t *to, int64_t width) {
    SIMD for (int64_t i = 0; i < width; i++) to[i] = static_cast<int8_t>((from[i] > half) - (from[i] < -half));
}

void ternarise(const float *weight, int8_t *w, float *scale, float *row_scale, double *sums, int64_t rows,
               int64_t width, int threads) {
    // γ from the sums of rows, in double: its rounding to fp32 hides their order
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t n = first; n < last; n++) {
            const float *from = weight + n * width;
            double sum = 0;
            SIMD_SUM(sum) for (int64_t i = 0; i < width; i++) sum += static_cast<double>(__builtin_fabsf(from[i]));
            sums[n] = sum;
        }
    });
    double sum = 0;
    for (int64_t n = 0; n < rows; n++) sum += sums[n];
    const float mean = static_cast<float>(sum / (static_cast<double>(rows) * static_cast<double>(width)));
    const float gamma = *scale = mean == 0.0f ? 1.0f : mean, half = gamma / 2;
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t n = first; n < last; n++) {
            row_scale[n] = gamma;
            ternarise_row(weight + n * width, half, w + n * width, width);
        }
    });
}

}  // namespace
