// The recurrences: channels in vectors, batch and channel blocks in parallel, time in order.
//
// The backward passes recompute the activations from the inputs; of the forward pass they need only the states.
#pragma once
#include "math.inl"

namespace {

// body(batch, first channel, channels) for every task of a scan; a full block gets its size as a constant
template <class Body>
inline void parallel_channels(int threads, int64_t batch, int64_t width, const Body &body) {
    const int64_t blocks = blocks_of(width, CPU1_CHANNEL_BLOCK);
    parallel(threads, batch * blocks, [=, &body](int64_t task) {
        const int64_t b = task / blocks, first = task % blocks * CPU1_CHANNEL_BLOCK;
        const int64_t rest = width - first;
        if (rest >= CPU1_CHANNEL_BLOCK) {
            body(b, first, CPU1_CHANNEL_BLOCK);
        } else {
            body(b, first, rest);
        }
    });
}

// share a + (1 - share) b: exactly a or b at the ends, however large the other
inline float mix(float share, float a, float b) { return fma(share, a, (1.0f - share) * b); }

inline void load_state(float *state, const float *from, int64_t width) {
    for (int64_t i = 0; i < width; i++) state[i] = from ? from[i] : 0.0f;
}

void gate_scan(const cpu1_gate_scan *a, int threads) {
    parallel_channels(threads, a->batch, a->width,
                      [=](int64_t b, int64_t first, int64_t width) __attribute__((always_inline)) {
        float state[CPU1_CHANNEL_BLOCK];
        load_state(state, a->h0 ? a->h0 + b * a->width + first : nullptr, width);
        for (int64_t t = 0; t < a->time; t++) {
            const float *f = a->f + b * a->input_batch + t * a->input_time + first;
            const float *c = a->c + b * a->input_batch + t * a->input_time + first;
            float *h = a->h + (b * a->time + t) * a->width + first;
            const float keep = a->keep ? a->keep[b * a->time + t] : 1.0f;
            SIMD for (int64_t i = 0; i < width; i++) {
                const float gate = sigmoid(f[i]), fresh = c[i] * sigmoid(c[i]);
                h[i] = state[i] = mix(keep, mix(gate, state[i], fresh), state[i]);
            }
        }
    });
}

void gate_scan_backward(const cpu1_gate_scan *a, int threads) {
    const int64_t blocks = blocks_of(a->width, CPU1_CHANNEL_BLOCK);
    parallel_channels(threads, a->batch, a->width,
                      [=](int64_t b, int64_t first, int64_t width) __attribute__((always_inline)) {
        float carry[CPU1_CHANNEL_BLOCK], start[CPU1_CHANNEL_BLOCK];
        load_state(carry, nullptr, width);
        load_state(start, a->h0 ? a->h0 + b * a->width + first : nullptr, width);
        for (int64_t t = a->time - 1; t >= 0; t--) {
            const int64_t input = b * a->input_batch + t * a->input_time + first;
            const int64_t grad = b * a->grad_batch + t * a->grad_time + first;
            const float *f = a->f + input, *c = a->c + input, *dh = a->dh + grad;
            const float *before = t ? a->h + (b * a->time + t - 1) * a->width + first : start;
            float *df = a->df + grad, *dc = a->dc + grad;
            const float keep = a->keep ? a->keep[b * a->time + t] : 1.0f;
            float dkeep = 0;
            SIMD_SUM(dkeep) for (int64_t i = 0; i < width; i++) {
                const float gate = sigmoid(f[i]), open = sigmoid(c[i]), fresh = c[i] * open;
                const float total = dh[i] + carry[i], into = keep * total, change = before[i] - fresh;
                df[i] = into * change * gate * (1.0f - gate);
                dc[i] = into * (1.0f - gate) * silu_slope(c[i], open);
                carry[i] = fma(into, gate, total - into);
                dkeep = fma(total * (gate - 1.0f), change, dkeep);  // moved - before = (F - 1) (before - C)
            }
            if (a->dkeep_blocks) {
                a->dkeep_blocks[(b * blocks + first / CPU1_CHANNEL_BLOCK) * a->time + t] = dkeep;
            }
        }
        for (int64_t i = 0; i < width; i++) a->dh0[b * a->width + first + i] = carry[i];
    });
}

void leaky_scan(const cpu1_leaky_scan *a, int threads) {
    parallel_channels(threads, a->batch, a->width,
                      [=](int64_t b, int64_t first, int64_t width) __attribute__((always_inline)) {
        const float *decay = a->decay + first;
        float state[CPU1_CHANNEL_BLOCK];
        load_state(state, a->m0 ? a->m0 + b * a->width + first : nullptr, width);
        for (int64_t t = 0; t < a->time; t++) {
            const int64_t row = (b * a->time + t) * a->width + first;
            const float *u = a->u + row;
            float *m = a->m + row;
            const float keep = a->keep ? a->keep[b * a->time + t] : 1.0f;
            SIMD for (int64_t i = 0; i < width; i++) {
                m[i] = state[i] = mix(keep, mix(decay[i], state[i], u[i]), state[i]);
            }
        }
    });
}

void leaky_scan_backward(const cpu1_leaky_scan *a, int threads) {
    const int64_t blocks = blocks_of(a->width, CPU1_CHANNEL_BLOCK);
    parallel_channels(threads, a->batch, a->width,
                      [=](int64_t b, int64_t first, int64_t width) __attribute__((always_inline)) {
        const float *decay = a->decay + first;
        float carry[CPU1_CHANNEL_BLOCK], start[CPU1_CHANNEL_BLOCK], ddecay[CPU1_CHANNEL_BLOCK];
        load_state(carry, nullptr, width);
        load_state(ddecay, nullptr, width);
        load_state(start, a->m0 ? a->m0 + b * a->width + first : nullptr, width);
        for (int64_t t = a->time - 1; t >= 0; t--) {
            const int64_t row = (b * a->time + t) * a->width + first;
            const float *u = a->u + row, *dm = a->dm + row, *before = t ? a->m + row - a->width : start;
            float *du = a->du + row;
            const float keep = a->keep ? a->keep[b * a->time + t] : 1.0f;
            float dkeep = 0;
            SIMD_SUM(dkeep) for (int64_t i = 0; i < width; i++) {
                const float total = dm[i] + carry[i], into = keep * total, change = before[i] - u[i];
                du[i] = into * (1.0f - decay[i]);
                ddecay[i] = fma(into, change, ddecay[i]);
                carry[i] = fma(into, decay[i], total - into);
                dkeep = fma(total * (decay[i] - 1.0f), change, dkeep);
            }
            if (a->dkeep_blocks) {
                a->dkeep_blocks[(b * blocks + first / CPU1_CHANNEL_BLOCK) * a->time + t] = dkeep;
            }
        }
        for (int64_t i = 0; i < width; i++) {
            a->ddecay_batches[b * a->width + first + i] = ddecay[i];
            a->dm0[b * a->width + first + i] = carry[i];
        }
    });
}

}  // namespace
