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
// Sums of pairs stay in int16 for a while: |sum| <= 2 * 2 * 127 for each of a group's four.
struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = 16;  // groups: 16 * 4 * 508 < 2^15
    Bytes16 pairs = {};
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
        pairs = each_four<Bytes16>([&](I8 s, I8 bytes) { return s + dot_bytes(bytes, in.v); }, pairs, w);
    }
    void settle() {
        sums = widened(sums, pairs);
        pairs = Bytes16{};
    }
    I16 total() const { return sums; }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 1;
constexpr int sum_chains = 2;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 1, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace
