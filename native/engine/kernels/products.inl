// Products: their inputs, prepared once a row, and tiles of blocks and rows whose sums stay in registers.
#include "kernels/lanes.inl"

namespace {

inline float largest(const float *x, const float *gain, int64_t width) {
    F16 a = set(0.0f), b = set(0.0f);
    const auto value = [&](int64_t i, int64_t count) {
        const F16 p = load_part(x + i, count);
        return absolute(gain ? p * load_part(gain + i, count) : p);
    };
    int64_t i = 0;
    for (; i + 2 * CPU1_LANES <= width; i += 2 * CPU1_LANES) {
        a = max16(value(i, CPU1_LANES), a);
        b = max16(value(i + CPU1_LANES, CPU1_LANES), b);
    }
    each16(width - i, [&](int64_t j, int64_t count) { a = max16(value(i + j, count), a); });
    return largest16(max16(a, b));
}

// Rounds x (* gain) * levels / peak to integers, store(block, integers) each 16; returns their sum.
template <class Store>
inline int32_t round_all(const float *x, const float *gain, int64_t width, float levels, float peak, const Store &put) {
    const F16 rate = set(levels / peak), most = set(levels), least = set(-levels);
    I16 total = zero();
    each16(width, [&](int64_t i, int64_t count) {
        F16 p = load_part(x + i, count);
        if (gain) p = p * load_part(gain + i, count);
        const I16 q = nearest(max16(min16(p * rate, most), least));
        total = total + q;
        put(i, q);
    });
    return sum16(total);
}

// A row of inputs is finite and not all zero, or its integers are zeros and its scale is 1, or NaN if it is not finite.
inline bool quiet(float peak, float power, int64_t bytes, uint8_t *out, cpu1_row *row) {
    if (peak >= silent && peak < INFINITY && power < INFINITY) return false;
    memset(out, 0, static_cast<size_t>(bytes));
    row->sum = 0;
    row->scale = peak < silent && power < INFINITY ? 1.0f : NAN;
    return true;
}

// BitNet b1.58 activations: q = round(p 127 / max|p|), p = x gain; the norm cancels in q and is in the scale.
void prepare_ternary(const float *x, const float *gain, int, int64_t width, uint8_t *out, cpu1_row *row) {
    const float peak = largest(x, gain, width), power = sum_of_squares(x, width);
    const int64_t bytes = (width + 15) / 16 * cpu1_prepared(CPU1_TERNARY);
    if (quiet(peak, power, bytes, out, row)) return;
    row->sum = round_all(x, gain, width, ternary_levels, peak, [&](int64_t i, I16 q) { store_int8(out + i, q); });
    const float inverse = 1.0f / sqrtf(power / static_cast<float>(width) + norm_epsilon);
    row->scale = (peak / ternary_levels) * inverse;
}

// Inputs of int8 weights keep about 15 bits, so that the product is exact in integers and loses next to nothing.
void prepare_int8(const float *x, const float *gain, int norm, int64_t width, uint8_t *out, cpu1_row *row) {
    const float peak = largest(x, gain, width), power = sum_of_squares(x, width);
    const int64_t bytes = (width + 15) / 16 * cpu1_prepared(CPU1_INT8);
    if (quiet(peak, power, bytes, out, row)) return;
    const float levels = static_cast<float>(cpu1_levels(width));
    row->sum = round_all(x, gain, width, levels, peak, [&](int64_t i, I16 q) { store_int16(out + 2 * i, q); });
    row->scale = peak / levels;
    if (norm) row->scale *= 1.0f / sqrtf(power / static_cast<float>(width) + norm_epsilon);
}

void prepare_float(const float *x, const float *gain, int norm, int64_t width, uint8_t *out, cpu1_row *row) {
    float *to = reinterpret_cast<float *>(out);
    const F16 inverse = set(norm ? inverse_rms(x, width) : 1.0f);
    each16(width, [&](int64_t i, int64_t count) {
        F16 y = load_part(x + i, count);
        if (norm) y = y * inverse;
        if (gain) y = y * load_part(gain + i, count);
        store(to + i, y);
    });
    *row = {1.0f, 0};
}

// ---- products ----------------------------------------------------------------------------------------------------

inline const uint8_t *group_of(const cpu1_product *p, int64_t block, int64_t group) {
    return static_cast<const uint8_t *>(p->weights) + (block * p->groups + group) * CPU1_GROUP;
}

// Of the next blocks: the processor does not see them coming while it reads these again and again for more rows.
template <int Rows>
inline void prefetch(const uint8_t *group) {
    if constexpr (Rows > 1) __builtin_prefetch(group);
}

inline const uint8_t *inputs_of(const cpu1_product *p, int64_t row) { return p->in + row * p->in_stride; }

// What is done with the 16 finished sums of a row.
__attribute__((noinline)) void finish_row(const cpu1_product *p, int64_t block, float *to, F16 y) {
    const int64_t first = block * CPU1_LANES;
    const int64_t count = p->outputs - first < CPU1_LANES ? p->outputs - first : int64_t{CPU1_LANES};
    if (p->bias) y = y + load(p->bias + first);
    if (p->activation == CPU1_SILU) y = silu(y);
    if (p->activation == CPU1_RELU2) y = max16(y, set(0.0f)) * max16(y, set(0.0f));
    if (p->accumulate) y = load_part(to, count) + y;
    store_part(to, y, count);
}

// value(m): the sums of row `row` + m.
template <int Rows, class Value>
inline void finish(const cpu1_product *p, int64_t block, int64_t row, const Value &value) {
    const int64_t first = block * CPU1_LANES;
    const bool plain = !p->bias && p->activation == CPU1_NONE && first + CPU1_LANES <= p->outputs;
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
        float *to = p->out + (p->slot ? p->slot[row + m] : row + m) * p->out_stride + first;
        if (!plain) finish_row(p, block, to, value(m));
        else store(to, p->accumulate ? load(to) + value(m) : value(m));
    }
}

template <int Rows, class Sums>
inline void finish_integers(const cpu1_product *p, int64_t block, int64_t row, const Sums &sums) {
    const F16 scale = load(p->scale + block * p->scale_step);
    finish<Rows>(p, block, row, [&](int m) { return (to_float(sums(m)) * set(p->row[row + m].scale)) * scale; });
}

// Stored weights are w + 1, so the sum of the inputs is taken off at the end.
struct TernaryProduct {
    static constexpr int blocks_one = TernarySums::blocks, blocks_many = ternary_tile_blocks;
    static constexpr int rows_many = ternary_tile_rows;

    template <int Blocks>
    static void one(const cpu1_product *p, int64_t block, int64_t row) {
        TernarySums sums[Blocks];
        const uint8_t *in = inputs_of(p, row), *weights[Blocks];
        for (int b = 0; b < Blocks; ++b) weights[b] = group_of(p, block + b, 0);
        for (int64_t g = 0; g < p->groups; g += TernarySums::run) {
            const int64_t end = g + TernarySums::run < p->groups ? g + TernarySums::run : p->groups;
            for (int64_t k = g; k < end; ++k) {
                const TernaryInputs inputs(in + 16 * k);
                for (int b = 0; b < Blocks; ++b) sums[b].add(weights[b] + CPU1_GROUP * k, inputs);
            }
            for (int b = 0; b < Blocks; ++b) sums[b].settle();
        }
        for (int b = 0; b < Blocks; ++b)
            finish_integers<1>(p, block + b, row, [&](int) { return sums[b].total() - set_int(p->row[row].sum); });
    }

    template <int Blocks, int Rows>
    static void many(const cpu1_product *p, int64_t block, int64_t row) {
        if constexpr (Rows == 1) return one<Blocks>(p, block, row);
        I16 totals[Blocks][Rows];
        const uint8_t *in[Rows];
        for (int m = 0; m < Rows; ++m) in[m] = inputs_of(p, row + m);
        for (int b = 0; b < Blocks; ++b)
            for (int m = 0; m < Rows; ++m) totals[b][m] = zero();
        for (int64_t g = 0; g < p->groups; g += PartialSums::run) {
            const int64_t end = g + PartialSums::run < p->groups ? g + PartialSums::run : p->groups;
            PartialSums sums[Blocks][Rows];
            for (int64_t k = g; k < end; ++k) {
                TernaryGroup weights[Blocks];
                for (int b = 0; b < Blocks; ++b) {
                    weights[b].open(group_of(p, block + b, k));
                    prefetch<Rows>(group_of(p, block + Blocks + b, k));
                }
                each_pair([&](auto pair) {
                    TernaryBytes bytes[Blocks];
                    for (int b = 0; b < Blocks; ++b) bytes[b] = weights[b].template bytes<pair.value>();
                    for (int m = 0; m < Rows; ++m) {
                        const FourInputs four(in[m] + 16 * k + 4 * pair.value);
                        for (int b = 0; b < Blocks; ++b) sums[b][m].add(bytes[b], four);
                    }
                });
            }
            for (int b = 0; b < Blocks; ++b)
                for (int m = 0; m < Rows; ++m) totals[b][m] = totals[b][m] + sums[b][m].total();
        }
        for (int b = 0; b < Blocks; ++b)
            finish_integers<Rows>(p, block + b, row,
                                  [&](int m) { return totals[b][m] - set_int(p->row[row + m].sum); });
    }

    template <int Value>
    struct Constant {
        static constexpr int value = Value;
    };
    template <class Body>
    static void each_pair(const Body &body) {
        body(Constant<0>{});
        body(Constant<1>{});
        body(Constant<2>{});
        body(Constant<3>{});
    }
};

struct Int8Product {
    static constexpr int blocks_one = int8_blocks, blocks_many = int8_tile_blocks, rows_many = int8_tile_rows;

    template <int Blocks, int Rows>
    static void many(const cpu1_product *p, int64_t block, int64_t row) {
        Int8Sums sums[Blocks][Rows];
        const uint8_t *in[Rows];
        for (int m = 0; m < Rows; ++m) in[m] = inputs_of(p, row + m);
        for (int64_t k = 0; k < p->groups; ++k) {
            Int8Bytes bytes[Blocks];
            for (int b = 0; b < Blocks; ++b) {
                bytes[b].open(group_of(p, block + b, k));
                prefetch<Rows>(group_of(p, block + Blocks + b, k));
            }
            for (int m = 0; m < Rows; ++m) {
                const Int16Inputs inputs(in[m] + 8 * k);
                for (int b = 0; b < Blocks; ++b) sums[b][m].add(bytes[b], inputs);
            }
        }
        for (int b = 0; b < Blocks; ++b)
            finish_integers<Rows>(p, block + b, row, [&](int m) { return sums[b][m].total(p->row[row + m].sum); });
    }
};

// Even and odd inputs have a chain of sums each: the same order in every tile.
template <class Pair>
struct FloatProduct {
    static constexpr int blocks_one = float_blocks, blocks_many = float_tile_blocks, rows_many = float_tile_rows;

    template <int Blocks, int Rows>
    static void many(const cpu1_product *p, int64_t block, int64_t row) {
        F16 even[Blocks][Rows], odd[Blocks][Rows];
        const float *in[Rows];
        for (int m = 0; m < Rows; ++m) in[m] = reinterpret_cast<const float *>(inputs_of(p, row + m));
        for (int b = 0; b < Blocks; ++b)
            for (int m = 0; m < Rows; ++m) even[b][m] = odd[b][m] = set(0.0f);
        const int64_t pairs = p->groups / Pair::groups;
        for (int64_t k = 0; k < pairs; ++k) {
            Pair weights[Blocks];
            for (int b = 0; b < Blocks; ++b) {
                weights[b].open(group_of(p, block + b, k * Pair::groups));
                for (int g = 0; g < Pair::groups; ++g)
                    prefetch<Rows>(group_of(p, block + Blocks + b, k * Pair::groups + g));
            }
            for (int m = 0; m < Rows; ++m) {
                const F16 first = set(in[m][2 * k]), second = set(in[m][2 * k + 1]);
                for (int b = 0; b < Blocks; ++b) {
                    even[b][m] = fma(weights[b].even, first, even[b][m]);
                    odd[b][m] = fma(weights[b].odd, second, odd[b][m]);
                }
            }
        }
        for (int b = 0; b < Blocks; ++b) finish<Rows>(p, block + b, row, [&](int m) { return even[b][m] + odd[b][m]; });
    }
};

struct Bf16Pair {
    static constexpr int groups = 1;
    F16 even, odd;
    void open(const uint8_t *group) { split_bf16(group, &even, &odd); }
};

struct Fp32Pair {
    static constexpr int groups = 2;
    F16 even, odd;
    void open(const uint8_t *group) {
        const float *weights = reinterpret_cast<const float *>(group);
        even = load(weights);
        odd = load(weights + CPU1_LANES);
    }
};

template <class Product, int Blocks, int Rows>
void rows_from(const cpu1_product *p, int64_t block, int64_t row) {
    for (; row + Rows <= p->rows; row += Rows) Product::template many<Blocks, Rows>(p, block, row);
    if constexpr (Rows > 1) rows_from<Product, Blocks, Rows / 2>(p, block, row);
}

template <class Product, int Blocks, int Rows>
void blocks_from(const cpu1_product *p, int64_t block, int64_t last) {
    for (; block + Blocks <= last; block += Blocks) rows_from<Product, Blocks, Rows>(p, block, 0);
    if constexpr (Blocks > 1) blocks_from<Product, Blocks / 2, Rows>(p, block, last);
}

template <class Product>
void product(const cpu1_product *p, int64_t first, int64_t last) {
    if (p->rows == 1) return blocks_from<Product, Product::blocks_one, 1>(p, first, last);
    blocks_from<Product, Product::blocks_many, Product::rows_many>(p, first, last);
}

}  // namespace
