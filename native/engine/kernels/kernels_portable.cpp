// For every processor: ternary weights are widened to int16.
#include "kernels/lanes_128.inl"

namespace {

struct FourInputs {
    I8 even, odd;
    explicit FourInputs(const uint8_t *in)
        : even(pair(static_cast<int8_t>(in[0]), static_cast<int8_t>(in[2]))),
          odd(pair(static_cast<int8_t>(in[1]), static_cast<int8_t>(in[3]))) {}
};

using TernaryBytes = PairsOfGroup;
struct TernaryGroup {
    Bytes16 w;
    void open(const uint8_t *group) { w = load_vector<Bytes16>(group); }
    template <int Pair>
    TernaryBytes bytes() const {
        return each_four<TernaryBytes>([](I8 w) { return Pairs{(w >> (2 * Pair)) & 3, (w >> (8 + 2 * Pair)) & 3}; }, w);
    }
};

struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(const TernaryBytes &w, const FourInputs &in) {
        sums = each_four<I16>(
            [&](I4 s, const Pairs &p) { return s + dot_pairs(p.even, in.even) + dot_pairs(p.odd, in.odd); }, sums, w);
    }
    I16 total() const { return sums; }
};

// Inputs of pair P are 4^(3 - P)-fold here and its weights are left where they are, 4^P-fold: 64-fold sums need no shifts.
struct TernaryInputs {
    I8 even[4], odd[4];
    explicit TernaryInputs(const uint8_t *in) {
        const I8 folds = {64, 64, 16, 16, 4, 4, 1, 1};
        const Pairs pairs = signed_pairs(load_vector<I8>(in));
        const I4 first = bits_of<I4>(pairs.even * folds), second = bits_of<I4>(pairs.odd * folds);
        for (int i = 0; i < 4; ++i) {
            even[i] = bits_of<I8>(all_four(first[i]));
            odd[i] = bits_of<I8>(all_four(second[i]));
        }
    }
};
struct TernarySums {
    static constexpr int blocks = 2;
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(const uint8_t *group, const TernaryInputs &in) {
        TernaryGroup w;
        w.open(group);
        sums = each_four<I16>([&](I4 s, I8 bytes) {
            const I8 upper = bits_of<I8>(bits_of<U4>(bytes) >> 8);
            for (int i = 0; i < 4; ++i) {
                const int16_t mask = static_cast<int16_t>(3 << (2 * i));
                s += dot_pairs(bytes & mask, in.even[i]) + dot_pairs(upper & mask, in.odd[i]);
            }
            return s;
        }, sums, w.w);
    }
    void settle() {}
    I16 total() const {
        return each_four<I16>([](I4 s) { return s >> 6; }, sums);
    }
};

constexpr int ternary_tile_blocks = 2, ternary_tile_rows = 1;

constexpr int sum_chains = 2;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 1, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_portable = table_of("portable", "plain");
