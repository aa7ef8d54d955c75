// WebAssembly with relaxed SIMD: a dot product of four bytes, whose second factors have seven bits. Ternary weights have
// two, so that results are those of `portable` to the bit.
#include "kernels/lanes_128.inl"

namespace {

struct FourInputs {
    v128_t v;
    explicit FourInputs(const uint8_t *in) : v(wasm_v128_load32_splat(in)) {}
};
struct TernaryBytes {
    v128_t a, b, c, d;
};
struct TernaryGroup {
    Bytes16 w;
    void open(const uint8_t *group) { w = load_vector<Bytes16>(group); }
    template <int Pair>
    TernaryBytes bytes() const {
        return each_four<TernaryBytes>(
            [](I8 w) { return wasm_v128_and(wasm_u16x8_shr(bits_of<v128_t>(w), 2 * Pair), wasm_i8x16_splat(3)); }, w);
    }
};
struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(const TernaryBytes &w, const FourInputs &in) {
        sums = each_four<I16>([&](I4 s, v128_t bytes) {
            return bits_of<I4>(wasm_i32x4_relaxed_dot_i8x16_i7x16_add(in.v, bytes, bits_of<v128_t>(s)));
        }, sums, w);
    }
    I16 total() const { return sums; }
};

struct TernaryInputs {
    FourInputs four[4];
    explicit TernaryInputs(const uint8_t *in)
        : four{FourInputs(in), FourInputs(in + 4), FourInputs(in + 8), FourInputs(in + 12)} {}
};
// Sums of pairs stay in int16, which is one instruction less for each product: |sum| <= 2 * 2 * 127 for each of four.
struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = 16;  // groups: 16 * 4 * 508 < 2^15
    TernaryBytes pairs = {wasm_i16x8_splat(0), wasm_i16x8_splat(0), wasm_i16x8_splat(0), wasm_i16x8_splat(0)};
    I16 sums = zero();
    void add(const uint8_t *group, const TernaryInputs &in) {
        TernaryGroup w;
        w.open(group);
        add_pair(w.bytes<0>(), in.four[0]);
        add_pair(w.bytes<1>(), in.four[1]);
        add_pair(w.bytes<2>(), in.four[2]);
        add_pair(w.bytes<3>(), in.four[3]);
    }
    void add_pair(const TernaryBytes &w, const FourInputs &in) {
        pairs = each_four<TernaryBytes>([&](v128_t s, v128_t bytes) {
            return wasm_i16x8_add(s, wasm_i16x8_relaxed_dot_i8x16_i7x16(in.v, bytes));
        }, pairs, w);
    }
    void settle() {
        sums = each_four<I16>([](I4 s, v128_t p) {
            return bits_of<I4>(wasm_i32x4_add(bits_of<v128_t>(s), wasm_i32x4_extadd_pairwise_i16x8(p)));
        }, sums, pairs);
        pairs = each_four<TernaryBytes>([](v128_t) { return wasm_i16x8_splat(0); }, pairs);
    }
    I16 total() const { return sums; }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 1;
constexpr int sum_chains = 2;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 1, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_relaxed = table_of("relaxed", "plain");
