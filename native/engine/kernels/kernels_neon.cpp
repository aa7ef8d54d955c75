// NEON with the dot product of ARMv8.2.
#include "kernels/lanes_neon.inl"

namespace {

struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(const TernaryBytes &w, const FourInputs &in) {
        sums = each_four<I16>([&](I4 s, int8x16_t bytes) { return vdotq_s32(s, bytes, in.v); }, sums, w);
    }
    I16 total() const { return sums; }
};

// Two chains of sums, so that one dot product need not wait for the last.
struct TernarySums {
    static constexpr int blocks = 2;
    static constexpr int64_t run = CPU1_MOST_INPUTS;  // groups between two calls of settle
    PartialSums even, odd;
    void add(const uint8_t *group, const TernaryInputs &in) {
        TernaryGroup w;
        w.open(group);
        even.add(w.bytes<0>(), in.four[0]);
        odd.add(w.bytes<1>(), in.four[1]);
        even.add(w.bytes<2>(), in.four[2]);
        odd.add(w.bytes<3>(), in.four[3]);
    }
    void settle() {}
    I16 total() const { return even.total() + odd.total(); }
};

struct Int8Sums {
    PartialSums low, high;
    void add(const Int8Bytes &bytes, const Int16Inputs &in) {
        low.add(bytes.w, in.low);
        high.add(bytes.w, in.high);
    }
    I16 total(int32_t) const {
        return each_four<I16>([](I4 l, I4 h) { return vaddq_s32(l, vshlq_n_s32(h, 8)); }, low.total(), high.total());
    }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 4;
constexpr int int8_blocks = 2, int8_tile_blocks = 1, int8_tile_rows = 2;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_neon = table_of("neon", "fma");
