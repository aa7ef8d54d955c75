// NEON without dot products, for older 64-bit ARM processors: bytes are multiplied to int16.
#include "kernels/lanes_neon.inl"

namespace {

// Sums of a register's products in int16, as long as they fit.
struct Words {
    int16x8_t low = vdupq_n_s16(0), high = low;
    void add(int8x16_t w, int8x16_t in) {
        low = vmlal_s8(low, vget_low_s8(w), vget_low_s8(in));
        high = vmlal_high_s8(high, w, in);
    }
    I4 total() const { return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)); }
};

// Sums of the four registers of a group.
template <class Sum>
struct FourSums {
    Sum a, b, c, d;
    void add(const TernaryBytes &w, const FourInputs &in) {
        a.add(w.a, in.v);
        b.add(w.b, in.v);
        c.add(w.c, in.v);
        d.add(w.d, in.v);
    }
    I16 total() const { return {a.total(), b.total(), c.total(), d.total()}; }
};

// A product of a ternary weight, 0 to 2, is at most 254: 128 of them stay within 32512.
struct PartialSums : FourSums<Words> {
    static constexpr int64_t run = 32;  // groups of four
};

struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = PartialSums::run;
    PartialSums words;
    I16 sums = zero();
    void add(const uint8_t *group, const TernaryInputs &in) {
        TernaryGroup w;
        w.open(group);
        words.add(w.bytes<0>(), in.four[0]);
        words.add(w.bytes<1>(), in.four[1]);
        words.add(w.bytes<2>(), in.four[2]);
        words.add(w.bytes<3>(), in.four[3]);
    }
    void settle() {
        sums = sums + words.total();
        words = PartialSums{};
    }
    I16 total() const { return sums; }
};

// Of weights of a whole byte, two products are added before they are widened.
struct Pairs {
    I4 low = vdupq_n_s32(0), high = low;
    void add(int8x16_t w, int8x16_t in) {
        low = vpadalq_s16(low, vmull_s8(vget_low_s8(w), vget_low_s8(in)));
        high = vpadalq_s16(high, vmull_high_s8(w, in));
    }
    I4 total() const { return vpaddq_s32(low, high); }
};
struct Int8Sums {
    FourSums<Pairs> low, high;
    void add(const Int8Bytes &bytes, const Int16Inputs &in) {
        low.add(bytes.w, in.low);
        high.add(bytes.w, in.high);
    }
    I16 total(int32_t) const {
        return each_four<I16>([](I4 l, I4 h) { return vaddq_s32(l, vshlq_n_s32(h, 8)); }, low.total(), high.total());
    }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 2;
constexpr int int8_blocks = 1, int8_tile_blocks = 1, int8_tile_rows = 1;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_armv8 = table_of("armv8", "fma");
