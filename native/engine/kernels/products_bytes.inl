// Ternary products by an instruction that multiplies bytes and adds pairs to int16, on the lanes of lanes_128.inl.
// A set defines it as `dot_bytes(weights, inputs)`: weights are 0 to 2, inputs signed.

namespace {

struct FourInputs {
    I8 v;
    explicit FourInputs(const uint8_t *in) {
        int32_t four;
        memcpy(&four, in, sizeof four);
        v = bits_of<I8>(all_four(four));
    }
};
using TernaryBytes = Bytes16;
struct TernaryGroup {
    Bytes16 w;
    void open(const uint8_t *group) { w = load_vector<Bytes16>(group); }
    template <int Pair>
    TernaryBytes bytes() const {
        return each_four<TernaryBytes>([](I8 w) { return (w >> (2 * Pair)) & 0x0303; }, w);
    }
};

// Sums of pairs as int32.
inline I16 widened(const I16 &sums, const Bytes16 &pairs) {
    const I8 ones = {1, 1, 1, 1, 1, 1, 1, 1};
    return each_four<I16>([&](I4 s, I8 p) { return s + dot_pairs(p, ones); }, sums, pairs);
}

struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(const TernaryBytes &w, const FourInputs &in) {
        sums = widened(sums, each_four<Bytes16>([&](I8 bytes) { return dot_bytes(bytes, in.v); }, w));
    }
    I16 total() const { return sums; }
};

struct TernaryInputs {
    FourInputs four[4];
    explicit TernaryInputs(const uint8_t *in)
        : four{FourInputs(in), FourInputs(in + 4), FourInputs(in + 8), FourInputs(in + 12)} {}
};
// Sums of pairs stay in int16 for a while. Pairs 1 and 3 stay where they are in their byte, which makes them fourfold:
// |sum| <= 2 * 2 * 508 a group of the others, 2 * 4 * 508 of these.
struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = 8;  // groups: 8 * 4064 < 2^15
    Bytes16 even = {}, odd = {};
    I16 evens = zero(), odds = zero();
    void add(const uint8_t *group, const TernaryInputs &in) {
        add_quarter(group, in, &even.a, &odd.a);
        add_quarter(group + 16, in, &even.b, &odd.b);
        add_quarter(group + 32, in, &even.c, &odd.c);
        add_quarter(group + 48, in, &even.d, &odd.d);
    }
    static void add_quarter(const uint8_t *quarter, const TernaryInputs &in, I8 *even, I8 *odd) {
        const I8 w = load_vector<I8>(quarter), upper = w >> 4;
        *even = *even + dot_bytes(w & 0x0303, in.four[0].v) + dot_bytes(upper & 0x0303, in.four[2].v);
        *odd = *odd + dot_bytes(w & 0x0c0c, in.four[1].v) + dot_bytes(upper & 0x0c0c, in.four[3].v);
    }
    void settle() {
        evens = widened(evens, even);
        odds = widened(odds, odd);
        even = odd = Bytes16{};
    }
    I16 total() const {
        return each_four<I16>([](I4 p, I4 q) { return p + (q >> 2); }, evens, odds);
    }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 1;
constexpr int sum_chains = 2;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 1, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace
