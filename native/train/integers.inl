// Products of int8 rows and ternary weights on processors of AVX2 that cannot sum products of bytes in one instruction.
//
// vpmaddubsw multiplies unsigned bytes by signed ones and adds two products in 16 bits. The unsigned ones are w + 1, so
// a sum grows by at most 2 * 2 * 127 each time, and the sum of the row is subtracted at the end.
#pragma once
#include "math.inl"

#ifdef __AVX2__
#include <immintrin.h>

namespace {

constexpr int64_t panel_outputs = 16, panel_inputs = 4;  // 64 bytes: 4 weights of each of 16 outputs
constexpr int64_t panel_bytes = panel_outputs * panel_inputs;
constexpr int64_t run_groups = 64;  // 508 each: at most 32512 in 16 bits
constexpr int64_t tile_rows = 6, task_rows = 48;  // sums of a tile stay in registers, rows of a task in L2

inline __m256i load_bytes(const void *from) { return _mm256_loadu_si256(static_cast<const __m256i *>(from)); }
inline void store_bytes(void *to, __m256i x) { _mm256_storeu_si256(static_cast<__m256i *>(to), x); }

// Both are in registers here. Of the sums of a tile, GCC would multiply for all rows first, and keep them in memory.
inline void in_registers(__m256i &a, __m256i &b) { __asm__ volatile("" : "+x"(a), "+x"(b)); }

// 4 weights of each of 16 rows of w (N, K).
inline void gather_rows_of_weights(const int8_t *w, int64_t width, uint8_t *to) {
    for (int64_t n = 0; n < panel_outputs; n++) __builtin_memcpy(to + panel_inputs * n, w + n * width, panel_inputs);
}

// 4 weights of each of 16 columns of w.
inline void gather_columns_of_weights(const int8_t *w, int64_t width, uint8_t *to) {
    for (int64_t n = 0; n < panel_outputs; n++) {
        for (int64_t j = 0; j < panel_inputs; j++) {
            to[panel_inputs * n + j] = static_cast<uint8_t>(w[j * width + n]);
        }
    }
}

inline void pack_weights(const cpu1_integer_product *a, int threads) {
    const int64_t groups = a->inputs / panel_inputs;
    parallel(threads, a->outputs / panel_outputs, [=](int64_t block) {
        uint8_t *to = a->panel + block * groups * panel_bytes;
        for (int64_t k = 0; k < groups; k++, to += panel_bytes) {
            if (a->transposed) {
                const int8_t *from = a->w + k * panel_inputs * a->outputs + block * panel_outputs;
                gather_columns_of_weights(from, a->outputs, to);
            } else {
                const int8_t *from = a->w + block * panel_outputs * a->inputs + k * panel_inputs;
                gather_rows_of_weights(from, a->inputs, to);
            }
            const __m256i one = _mm256_set1_epi8(1);
            store_bytes(to, _mm256_add_epi8(load_bytes(to), one));
            store_bytes(to + 32, _mm256_add_epi8(load_bytes(to + 32), one));
        }
    });
}

inline int32_t sum_of_row(const int8_t *row, int64_t width) {
    int32_t sum = 0;
    SIMD_SUM(sum) for (int64_t i = 0; i < width; i++) sum += row[i];
    return sum;
}

inline __m256i four_bytes(const void *from) {
    int32_t bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

// 16 sums of each of `Rows` rows.
template <int Rows>
inline void integer_tile(const cpu1_integer_product *a, const uint8_t *panel, const int8_t *q, const int32_t *row_sums,
                         int32_t *to) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i totals[Rows][2];
    for (int m = 0; m < Rows; m++) totals[m][0] = totals[m][1] = _mm256_set1_epi32(-row_sums[m]);
    const int64_t groups = a->inputs / panel_inputs;
    for (int64_t start = 0; start < groups; start += run_groups) {
        __m256i sums[Rows][2];
        for (int m = 0; m < Rows; m++) sums[m][0] = sums[m][1] = _mm256_setzero_si256();
        const int64_t end = smaller(groups, start + run_groups);
        for (int64_t k = start; k < end; k++) {
            const __m256i low = load_bytes(panel + k * panel_bytes), high = load_bytes(panel + k * panel_bytes + 32);
#pragma GCC unroll 6
            for (int m = 0; m < Rows; m++) {
                const __m256i four = four_bytes(q + m * a->inputs + k * panel_inputs);
                sums[m][0] = _mm256_add_epi16(sums[m][0], _mm256_maddubs_epi16(low, four));
                sums[m][1] = _mm256_add_epi16(sums[m][1], _mm256_maddubs_epi16(high, four));
                in_registers(sums[m][0], sums[m][1]);
            }
        }
        for (int m = 0; m < Rows; m++) {
            for (int half = 0; half < 2; half++) {
                totals[m][half] = _mm256_add_epi32(totals[m][half], _mm256_madd_epi16(sums[m][half], ones));
            }
        }
    }
    for (int m = 0; m < Rows; m++) {
        store_bytes(to + m * a->outputs, totals[m][0]);
        store_bytes(to + m * a->outputs + 8, totals[m][1]);
    }
}

inline void integer_task(const cpu1_integer_product *a, int64_t first, int64_t last) {
    int32_t row_sums[task_rows];
    for (int64_t m = first; m < last; m++) row_sums[m - first] = sum_of_row(a->q + m * a->inputs, a->inputs);
    for (int64_t n = 0; n < a->outputs; n += panel_outputs) {
        const uint8_t *panel = a->panel + n * a->inputs;
        int64_t m = first;
        for (; m + tile_rows <= last; m += tile_rows) {
            integer_tile<tile_rows>(a, panel, a->q + m * a->inputs, row_sums + m - first, a->sums + m * a->outputs + n);
        }
        for (; m < last; m++) {
            integer_tile<1>(a, panel, a->q + m * a->inputs, row_sums + m - first, a->sums + m * a->outputs + n);
        }
    }
}

void integer_product(const cpu1_integer_product *a, int threads) {
    pack_weights(a, threads);
    parallel(threads, blocks_of(a->rows, task_rows),
             [=](int64_t task) { integer_task(a, task * task_rows, smaller(a->rows, (task + 1) * task_rows)); });
}

}  // namespace
#else

namespace {
constexpr void (*integer_product)(const cpu1_integer_product *, int) = nullptr;
}

#endif
