// What is counted in bytes: the look-back of the local decoder, and the loss over symbols.
#pragma once
#include "math.inl"

namespace {

// The symbol k + 1 places before position i of window b, or -1 for one outside the tables.
inline int64_t symbol_before(const cpu1_look_back *a, int64_t b, int64_t i, int64_t k) {
    const int64_t symbol = a->stream[b * (a->units + a->taps) + i + a->taps - 1 - k];
    return symbol >= 0 && symbol < a->symbols ? symbol : -1;
}

// out = base + the sum of vectors[symbol k + 1 places before][k]
void look_back(const cpu1_look_back *a, const float *base, float *out, int threads) {
    const int64_t width = a->width;
    parallel_rows(threads, a->batch * a->units, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *from = base + m * width;
            float *to = out + m * width;
            SIMD for (int64_t n = 0; n < width; n++) to[n] = from[n];
            for (int64_t k = 0; k < a->taps; k++) {
                const int64_t symbol = symbol_before(a, m / a->units, m % a->units, k);
                if (symbol < 0) continue;
                const float *add = a->vectors + (symbol * a->taps + k) * width;
                SIMD for (int64_t n = 0; n < width; n++) to[n] += add[n];
            }
        }
    });
}

// dvectors, zero at first: each task owns some channels, so that the order of its sums is that of the text
void look_back_backward(const cpu1_look_back *a, const float *dout, float *dvectors, int threads) {
    const int64_t width = a->width;
    parallel(threads, blocks_of(width, CPU1_CHANNEL_BLOCK), [=](int64_t block) {
        const int64_t first = block * CPU1_CHANNEL_BLOCK, channels = smaller(CPU1_CHANNEL_BLOCK, width - first);
        for (int64_t m = 0; m < a->batch * a->units; m++) {
            const float *d = dout + m * width + first;
            for (int64_t k = 0; k < a->taps; k++) {
                const int64_t symbol = symbol_before(a, m / a->units, m % a->units, k);
                if (symbol < 0) continue;
                float *to = dvectors + (symbol * a->taps + k) * width + first;
                SIMD for (int64_t n = 0; n < channels; n++) to[n] += d[n];
            }
        }
    });
}

void cross_entropy(const float *logits, const int64_t *target, float *nats, float *total, int64_t rows, int64_t width,
                   int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *row = logits + m * width;
            float peak = row[0], sum = 0;
            SIMD_MAX(peak) for (int64_t n = 0; n < width; n++) peak = row[n] > peak ? row[n] : peak;
            SIMD_SUM(sum) for (int64_t n = 0; n < width; n++) sum += exp(row[n] - peak);
            total[m] = peak + __builtin_logf(sum);
            nats[m] = target[m] >= 0 && target[m] < width ? total[m] - row[target[m]] : __builtin_nanf("");
        }
    });
}

// (softmax - one-hot) dnats
void cross_entropy_backward(const float *logits, const int64_t *target, const float *total, const float *dnats,
                            float *dlogits, int64_t rows, int64_t width, int threads) {
    parallel_rows(threads, rows, width, [=](int64_t first, int64_t last) {
        for (int64_t m = first; m < last; m++) {
            const float *row = logits + m * width, all = total[m], share = dnats[m];
            float *to = dlogits + m * width;
            SIMD for (int64_t n = 0; n < width; n++) to[n] = exp(row[n] - all) * share;
            if (target[m] >= 0 && target[m] < width) to[target[m]] -= share;
        }
    });
}

}  // namespace
