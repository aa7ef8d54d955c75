// The kernels, written once on 16 lanes. A translation unit defines the lanes for its instruction set (F16, I16,
// TernarySums, ...; see kernels_avx512vnni.cpp) and includes this file; everything has internal linkage.
//
// No contraction (-ffp-contract=off): `fma` says where products are fused, so that a row is computed by the same
// operations whatever is computed with it.
#include "kernels/products.inl"
#include "kernels/logits.inl"

namespace {

void gate_scan(const float *fcg, float *h, float *out, int64_t width) {
    each16(width, [&](int64_t i, int64_t count) {
        const F16 gate = sigmoid(load_part(fcg + i, count)), fresh = silu(load_part(fcg + width + i, count));
        const F16 state = fma(gate, load_part(h + i, count), (set(1.0f) - gate) * fresh);
        store_part(h + i, state, count);
        store_part(out + i, state, count);
    });
}

void leaky_scan(const float *u, const float *decay, float *m, float *out, int64_t width) {
    each16(width, [&](int64_t i, int64_t count) {
        const F16 rate = load_part(decay + i, count);
        const F16 state = fma(rate, load_part(m + i, count), (set(1.0f) - rate) * load_part(u + i, count));
        store_part(m + i, state, count);
        store_part(out + i, state, count);
    });
}

void silu_mul(const float *a, const float *b, float *out, int64_t width) {
    each16(width, [&](int64_t i, int64_t count) {
        store_part(out + i, silu(load_part(a + i, count)) * load_part(b + i, count), count);
    });
}

void add(const float *in, float *out, int64_t width) {
    each16(width, [&](int64_t i, int64_t count) {
        store_part(out + i, load_part(out + i, count) + load_part(in + i, count), count);
    });
}

float dot(const float *a, const float *b, int64_t width) {
    F16 sum = set(0.0f);
    each16(width, [&](int64_t i, int64_t count) { sum = fma(load_part(a + i, count), load_part(b + i, count), sum); });
    return sum16(sum);
}

// One head, normed and turned by its position, padded with zeros. Sums alone: where sums and differences alternate,
// GCC 12 fuses them with their products, -ffp-contract=off or not, and only where there is an instruction for it.
inline void norm_and_turn(const float *x, const float *turn, int64_t size, int64_t padded, float *out) {
    const float inverse = inverse_rms(x, size);
    for (int64_t i = 0; i < size; i += 2) {
        const float a = x[i] * inverse, b = x[i + 1] * inverse, *matrix = turn + 2 * i;
        out[i] = a * matrix[0] + b * matrix[1];
        out[i + 1] = a * matrix[2] + b * matrix[3];
    }
    for (int64_t i = size; i < padded; ++i) out[i] = 0;
}

void attend(const cpu1_attention *a) {
    const int64_t size = a->head_size, padded = a->padded, stride = a->heads * padded, own = (a->entries - 1) * stride;
    const int64_t width = a->heads * size;
    const float scale = 1.0f / sqrtf(static_cast<float>(size));
    for (int64_t head = 0; head < a->heads; ++head) {
        norm_and_turn(a->qkv + head * size, a->turn, size, padded, a->query);
        norm_and_turn(a->qkv + width + head * size, a->turn, size, padded, a->keys + own + head * padded);
        float *value = a->values + own + head * padded;
        memset(value, 0, static_cast<size_t>(padded) * sizeof *value);
        memcpy(value, a->qkv + 2 * width + head * size, static_cast<size_t>(size) * sizeof *value);

        float peak = -INFINITY;
        for (int64_t j = 0; j < a->entries; ++j) {
            const float *key = a->keys + j * stride + head * padded;
            F16 dot = set(0.0f);
            for (int64_t i = 0; i < padded; i += CPU1_LANES) dot = fma(load(a->query + i), load(key + i), dot);
            a->scores[j] = sum16(dot) * scale;
            if (a->scores[j] > peak) peak = a->scores[j];
        }
        F16 total = set(0.0f);
        each16(a->entries, [&](int64_t j, int64_t count) {
            const F16 weight = exp16(load_part(a->scores + j, count) - set(peak));
            store_part(a->scores + j, weight, count);
            total = total + load_part(a->scores + j, count);
        });
        const F16 inverse = set(1.0f / sum16(total));
        each16(size, [&](int64_t i, int64_t count) {
            F16 mixed = set(0.0f);
            const float *values = a->values + head * padded + i;
            for (int64_t j = 0; j < a->entries; ++j) mixed = fma(set(a->scores[j]), load(values + j * stride), mixed);
            store_part(a->out + head * size + i, mixed * inverse, count);
        });
    }
}

void recall(const cpu1_recall *a) {
    const int64_t width = a->width;
    for (int64_t k = 0; k < a->contexts; ++k) {
        const uint8_t *code = a->code + 3 * k;
        const int64_t level = (32 * k + code[2]) * width;
        const float *first = a->first + (code[0] * a->contexts + k) * width, *gain = a->first_gains + level;
        const float *second = a->second + (code[1] * a->contexts + k) * width, *other = a->second_gains + level;
        const bool known = code[2] != 0;
        each16(width, [&](int64_t i, int64_t count) {
            F16 said = load_part(a->offsets + level + i, count);
            if (known) {
                said = fma(load_part(second + i, count), load_part(other + i, count), said);
                said = fma(load_part(first + i, count), load_part(gain + i, count), said);
            }
            store_part(a->out + i, load_part(a->out + i, count) + said, count);
        });
    }
}

int64_t mix(const int32_t *weights, const int32_t *opinions, int64_t count) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += static_cast<int64_t>(weights[i]) * opinions[i];
    return sum;
}

void adapt(int32_t *weights, const int32_t *opinions, int64_t count, int32_t step, int32_t most) {
    for (int64_t i = 0; i < count; ++i) {
        const int64_t change = (static_cast<int64_t>(step) * opinions[i] + (1 << 19)) >> 20;
        const int32_t next = weights[i] + static_cast<int32_t>(change);
        weights[i] = next < -most ? -most : next > most ? most : next;
    }
}

constexpr cpu1_kernels table_of(const char *isa, const char *arithmetic) {
    return {isa,
            arithmetic,
            {product<TernaryProduct>, product<Int8Product>, product<FloatProduct<Bf16Pair>>,
             product<FloatProduct<Fp32Pair>>},
            {prepare_ternary, prepare_int8, prepare_float, prepare_float},
            rms_norm,
            gate_scan,
            leaky_scan,
            silu_mul,
            add,
            dot,
            attend,
            recall,
            mix,
            adapt,
            nats,
            weigh,
            finite,
            read_all,
            multiply_adds};
}

}  // namespace
