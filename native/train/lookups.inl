// The lookups of the local decoder: rows of tables, and what the memory of a document says.
#pragma once
#include "math.inl"

namespace {

// The smallest power of two that times `levels` (2^n - 1) is at least `peak`; 1 for zeros.
inline float row_scale(float peak, int64_t levels) {
    if (!(peak > 0x1p-100f)) return 1.0f;
    const float share = peak / static_cast<float>(levels + 1);  // exact
    const float power = 2.0f * from_bits(to_bits(share) & 0x7f800000u);  // share is in [power / 2, power)
    return peak <= power * static_cast<float>(levels) ? power : 2.0f * power;
}

// Each row of `table` that `index` names, rounded to whole multiples of its scale.
void gather_rows(const float *table, const int32_t *index, float *out, int64_t count, int64_t width, int64_t levels,
                 int threads) {
    parallel_rows(threads, count, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *from = table + index[m] * width;
            float *to = out + m * width, peak = 0;
            SIMD_MAX(peak) for (int64_t n = 0; n < width; n++) {
                const float size = from[n] < 0 ? -from[n] : from[n];
                peak = size > peak ? size : peak;
            }
            const float scale = row_scale(peak, levels), inverse = 1.0f / scale;
            SIMD for (int64_t n = 0; n < width; n++) to[n] = ((from[n] * inverse + to_integer) - to_integer) * scale;
        }
    });
}

// The rows that occur in `index`, in order, and the place of each in that list; returns how many they are.
int64_t mark_rows(const int32_t *index, int64_t count, int64_t table_rows, uint64_t *marks, int64_t *rows,
                  int32_t *place) {
    for (int64_t i = 0; i < (table_rows + 63) / 64; i++) marks[i] = 0;
    for (int64_t m = 0; m < count; m++) marks[index[m] / 64] |= uint64_t{1} << index[m] % 64;
    int64_t found = 0;
    for (int64_t i = 0; i < (table_rows + 63) / 64; i++) {
        for (uint64_t left = marks[i]; left; left &= left - 1) {
            const int64_t row = 64 * i + __builtin_ctzll(left);
            place[row] = static_cast<int32_t>(found);
            rows[found++] = row;
        }
    }
    return found;
}

// dvalues, zero at first: the gradient of each marked row. The contexts of `index` (M, K) own different rows, and each
// task has one of them, so that the order of its sums is that of the text.
void sum_rows(const float *dout, const int32_t *index, const int32_t *place, float *dvalues, int64_t rows,
              int64_t contexts, int64_t width, int threads) {
    parallel(threads, contexts, [=](int64_t k) {
        for (int64_t m = k; m < rows * contexts; m += contexts) {
            const float *d = dout + m * width;
            float *to = dvalues + place[index[m]] * width;
            SIMD for (int64_t n = 0; n < width; n++) to[n] += d[n];
        }
    });
}

// out = x + Σ over contexts: first[byte] gain[level] + second[byte] second_gain[level] + offset[level]
void recall(const cpu1_recall *a, const float *x, float *out, int threads) {
    const int64_t width = a->width, contexts = a->contexts;
    parallel_rows(threads, a->rows, width * contexts, [=](int64_t from, int64_t last) {
        for (int64_t m = from; m < last; m++) {
            const float *in = x + m * width;
            float *to = out + m * width;
            SIMD for (int64_t n = 0; n < width; n++) to[n] = in[n];
            for (int64_t c = 0; c < contexts; c++) {
                const uint8_t *code = a->codes + (m * contexts + c) * 3;
                const int64_t level = (c * a->levels + code[2]) * width;
                const float *offset = a->offsets + level;
                if (code[2] == 0) {
                    SIMD for (int64_t n = 0; n < width; n++) to[n] += offset[n];
                    continue;
                }
                const float *one = a->first + (code[0] * contexts + c) * width, *gain = a->first_gains + level;
                const float *two = a->second + (code[1] * contexts + c) * width, *other = a->second_gains + level;
                SIMD for (int64_t n = 0; n < width; n++) to[n] +=
                    fma(one[n], gain[n], fma(two[n], other[n], offset[n]));
            }
        }
    });
}

// The gradients, zero at first: each task owns some channels of a context, and sums in the order of the text.
void recall_backward(const cpu1_recall *a, const float *dout, const cpu1_recall_gradients *g, int threads) {
    const int64_t width = a->width, contexts = a->contexts, blocks = blocks_of(width, CPU1_CHANNEL_BLOCK);
    parallel(threads, contexts * blocks, [=](int64_t task) {
        const int64_t c = task / blocks, start = task % blocks * CPU1_CHANNEL_BLOCK;
        const int64_t channels = smaller(CPU1_CHANNEL_BLOCK, width - start);
        for (int64_t m = 0; m < a->rows; m++) {
            const uint8_t *code = a->codes + (m * contexts + c) * 3;
            const float *d = dout + m * width + start;
            const int64_t level = (c * a->levels + code[2]) * width + start;
            float *doffset = g->offsets + level;
            if (code[2] == 0) {
                SIMD for (int64_t n = 0; n < channels; n++) doffset[n] += d[n];
                continue;
            }
            const int64_t one = (code[0] * contexts + c) * width + start;
            const int64_t two = (code[1] * contexts + c) * width + start;
            const float *first = a->first + one, *gain = a->first_gains + level;
            const float *second = a->second + two, *other = a->second_gains + level;
            float *dfirst = g->first + one, *dgain = g->first_gains + level;
            float *dsecond = g->second + two, *dother = g->second_gains + level;
            SIMD for (int64_t n = 0; n < channels; n++) {
                doffset[n] += d[n];
                dgain[n] = fma(d[n], first[n], dgain[n]);
                dother[n] = fma(d[n], second[n], dother[n]);
                dfirst[n] = fma(d[n], gain[n], dfirst[n]);
                dsecond[n] = fma(d[n], other[n], dsecond[n]);
            }
        }
    });
}

}  // namespace
