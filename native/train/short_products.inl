// Gradients of ternary weights on processors of AVX2 that cannot multiply bf16: dW = dyᵀ q, from dy in bf16 and q in int8.
//
// vpmaddwd multiplies 16 pairs of 16 bits and adds neighbours in 32, twice as many as products of fp32. The sum is over
// rows, so a block of rows and a column of dy share a scale: the largest of them becomes 32767. A block of 512 rows is
// exact in 32 bits: 512 * 32767 * 127 < 2^31.
#pragma once
#include "integers.inl"
#include "math.inl"

#ifdef __AVX2__

namespace {

constexpr int64_t sum_rows_at_once = 512;
constexpr int64_t short_columns = 16;  // of dy or q in a register of 16 bits
constexpr int64_t pair_numbers = 2 * short_columns;  // of two rows, side by side
constexpr int64_t tile_columns = 4, task_columns = 64;
constexpr float largest_short = 32767.0f, least_peak = 1e-30f;
constexpr uint16_t infinite_bf16 = 0x7f80;  // also the least of NaN

inline __m256i interleave_low(__m256i a, __m256i b) { return _mm256_unpacklo_epi16(a, b); }
inline __m256i interleave_high(__m256i a, __m256i b) { return _mm256_unpackhi_epi16(a, b); }
inline int64_t pairs_of(int64_t rows) { return blocks_of(rows, 2); }

inline __m256i wide_inputs(const int8_t *q) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(q)));
}

// Of each 16 columns, two rows of q side by side: columns 0 to 3, 8 to 11, then 4 to 7, 12 to 15.
inline void pack_inputs(const cpu1_weight_gradient *a, int64_t first, int64_t rows) {
    int16_t *to = a->panel + first * a->inputs;
    for (int64_t k = 0; k < a->inputs; k += short_columns) {
        for (int64_t p = 0; p < pairs_of(rows); p++, to += pair_numbers) {
            const int8_t *row = a->q + (first + 2 * p) * a->inputs + k;
            const __m256i x = wide_inputs(row);
            const __m256i y = 2 * p + 1 < rows ? wide_inputs(row + a->inputs) : _mm256_setzero_si256();
            store_bytes(to, interleave_low(x, y));
            store_bytes(to + short_columns, interleave_high(x, y));
        }
    }
}

// What 16 columns of dy are multiplied by to be of 16 bits, and back: 0 and NaN where one is not finite.
inline void scales_of(const cpu1_weight_gradient *a, const cpu1_bf16 *dy, int64_t rows, int64_t first, float *inverse,
                      float *scale) {
    __m256i peaks = _mm256_setzero_si256();
    const __m256i magnitude = _mm256_set1_epi16(0x7fff);
    for (int64_t m = 0; m < rows; m++) {
        peaks = _mm256_max_epu16(peaks, _mm256_and_si256(load_bytes(dy + m * a->outputs), magnitude));
    }
    cpu1_bf16 largest[short_columns];
    store_bytes(largest, peaks);
    for (int64_t n = 0; n < short_columns; n++) {
        const float peak = to_float(largest[n]);
        const bool finite = largest[n] < infinite_bf16, counts = finite && peak > least_peak;
        inverse[n] = counts ? largest_short / peak : 0.0f;
        scale[n] = finite ? (counts ? peak / largest_short / a->row_scale[first + n] : 0.0f) : __builtin_nanf("");
    }
}

inline __m256 wide_gradients(__m128i dy) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(dy), 16));
}

inline __m256i short_gradients(const cpu1_bf16 *dy, __m256 low, __m256 high) {
    const __m256i both = load_bytes(dy);
    const __m256 x = _mm256_mul_ps(wide_gradients(_mm256_castsi256_si128(both)), low);
    const __m256 y = _mm256_mul_ps(wide_gradients(_mm256_extracti128_si256(both, 1)), high);
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(x), _mm256_cvtps_epi32(y)), 0xd8);
}

inline void store_tile(int16_t *to, __m128i pairs) { _mm_storeu_si128(reinterpret_cast<__m128i *>(to), pairs); }

// Of each 4 columns of dy, all pairs of rows.
inline void pack_gradients(const cpu1_weight_gradient *a, const cpu1_bf16 *dy, int64_t rows, const float *inverse,
                           int16_t *to) {
    const __m256 low = _mm256_loadu_ps(inverse), high = _mm256_loadu_ps(inverse + 8);
    const int64_t pairs = pairs_of(rows), tile = pairs * 2 * tile_columns;
    for (int64_t p = 0; p < pairs; p++, to += 2 * tile_columns) {
        const cpu1_bf16 *row = dy + 2 * p * a->outputs;
        const __m256i x = short_gradients(row, low, high);
        const __m256i y = 2 * p + 1 < rows ? short_gradients(row + a->outputs, low, high) : _mm256_setzero_si256();
        const __m256i first = interleave_low(x, y), second = interleave_high(x, y);
        store_tile(to, _mm256_castsi256_si128(first));
        store_tile(to + tile, _mm256_castsi256_si128(second));
        store_tile(to + 2 * tile, _mm256_extracti128_si256(first, 1));
        store_tile(to + 3 * tile, _mm256_extracti128_si256(second, 1));
    }
}

// 4 columns of dy by 16 of q, over the pairs of a block.
inline void gradient_tile(const int16_t *dy, const int16_t *q, int64_t pairs, const float *scale, float *to,
                          int64_t stride, bool add) {
    __m256i sums[tile_columns][2];
    for (auto &each : sums) each[0] = each[1] = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (int64_t p = 0; p < pairs; p++) {
        __m256i low = load_bytes(q + pair_numbers * p), high = load_bytes(q + pair_numbers * p + short_columns);
        in_registers(low, high);  // else each product would load them again
#pragma GCC unroll 4
        for (int64_t n = 0; n < tile_columns; n++) {
            const __m256i pair = four_bytes(dy + 2 * (tile_columns * p + n));
            sums[n][0] = _mm256_add_epi32(sums[n][0], _mm256_madd_epi16(pair, low));
            sums[n][1] = _mm256_add_epi32(sums[n][1], _mm256_madd_epi16(pair, high));
        }
    }
    for (int64_t n = 0; n < tile_columns; n++, to += stride) {
        const __m256 by = _mm256_set1_ps(scale[n]);
        __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_permute2x128_si256(sums[n][0], sums[n][1], 0x20)), by);
        __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_permute2x128_si256(sums[n][0], sums[n][1], 0x31)), by);
        if (add) x = _mm256_add_ps(x, _mm256_loadu_ps(to)), y = _mm256_add_ps(y, _mm256_loadu_ps(to + 8));
        _mm256_storeu_ps(to, x);
        _mm256_storeu_ps(to + 8, y);
    }
}

// The weights of some outputs, over all rows, a block after the other.
inline void gradient_task(const cpu1_weight_gradient *a, int64_t first, int64_t columns) {
    int16_t shorts[task_columns * sum_rows_at_once];
    float inverse[short_columns], scale[task_columns];
    for (int64_t m = 0; m < a->rows; m += sum_rows_at_once) {
        const int64_t rows = smaller(sum_rows_at_once, a->rows - m), pairs = pairs_of(rows);
        for (int64_t n = 0; n < columns; n += short_columns) {
            const cpu1_bf16 *dy = a->dy + m * a->outputs + first + n;
            scales_of(a, dy, rows, first + n, inverse, scale + n);
            pack_gradients(a, dy, rows, inverse, shorts + 2 * n * pairs);
        }
        const int16_t *q = a->panel + m * a->inputs;
        for (int64_t k = 0; k < a->inputs; k += short_columns, q += pairs * pair_numbers) {
            for (int64_t n = 0; n < columns; n += tile_columns) {
                float *to = a->dw + (first + n) * a->inputs + k;
                gradient_tile(shorts + 2 * n * pairs, q, pairs, scale + n, to, a->inputs, m > 0);
            }
        }
    }
}

void weight_gradient(const cpu1_weight_gradient *a, int threads) {
    parallel(threads, blocks_of(a->rows, sum_rows_at_once), [=](int64_t block) {
        const int64_t first = block * sum_rows_at_once;
        pack_inputs(a, first, smaller(sum_rows_at_once, a->rows - first));
    });
    parallel(threads, blocks_of(a->outputs, task_columns), [=](int64_t task) {
        const int64_t first = task * task_columns;
        gradient_task(a, first, smaller(task_columns, a->outputs - first));
    });
}

}  // namespace
#else

namespace {
constexpr void (*weight_gradient)(const cpu1_weight_gradient *, int) = nullptr;
}

#endif
