// Lanes of NEON, which every 64-bit ARM processor has: 16 lanes are four registers. How bytes are multiplied is left to
// the set that includes this.
#pragma once
#include <arm_neon.h>

#include "kernels/kernels.h"

namespace {

struct F16 {
    float32x4_t a, b, c, d;
};
struct I16 {
    int32x4_t a, b, c, d;
};

// One rule for four registers.
template <class Out, class Rule, class... In>
inline Out each_four(const Rule &rule, const In &...in) {
    return {rule(in.a...), rule(in.b...), rule(in.c...), rule(in.d...)};
}
template <class Vector, class Rule>
inline auto fold(const Vector &x, const Rule &rule) {
    return rule(rule(x.a, x.b), rule(x.c, x.d));
}

inline F16 set(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline I16 set_int(int32_t x) { return {vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x)}; }
inline I16 zero() { return set_int(0); }
inline F16 load(const float *p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
inline void store(float *to, F16 x) {
    vst1q_f32(to, x.a);
    vst1q_f32(to + 4, x.b);
    vst1q_f32(to + 8, x.c);
    vst1q_f32(to + 12, x.d);
}
using F4 = float32x4_t;
using I4 = int32x4_t;
// clang-format off
inline F16 operator+(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return vaddq_f32(p, q); }, x, y); }
inline F16 operator-(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return vsubq_f32(p, q); }, x, y); }
inline F16 operator*(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return vmulq_f32(p, q); }, x, y); }
inline F16 operator/(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return vdivq_f32(p, q); }, x, y); }
inline F16 fma(F16 x, F16 y, F16 z) {
    return each_four<F16>([](F4 p, F4 q, F4 r) { return vfmaq_f32(r, p, q); }, x, y, z);
}
inline F16 min16(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return vminq_f32(p, q); }, x, y); }
inline F16 max16(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return vmaxq_f32(p, q); }, x, y); }
inline F16 absolute(F16 x) { return each_four<F16>([](F4 p) { return vabsq_f32(p); }, x); }
inline I16 operator+(I16 x, I16 y) { return each_four<I16>([](I4 p, I4 q) { return vaddq_s32(p, q); }, x, y); }
inline I16 operator-(I16 x, I16 y) { return each_four<I16>([](I4 p, I4 q) { return vsubq_s32(p, q); }, x, y); }
inline F16 to_float(I16 x) { return each_four<F16>([](I4 p) { return vcvtq_f32_s32(p); }, x); }
inline I16 nearest(F16 x) { return each_four<I16>([](F4 p) { return vcvtnq_s32_f32(p); }, x); }
// clang-format on
inline float sum16(F16 x) {  // in the order of the x86 sets, which makes results theirs to the bit
    const F4 four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    return vaddv_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}
// clang-format off
inline int32_t sum16(I16 x) { return vaddvq_s32(fold(x, [](I4 p, I4 q) { return vaddq_s32(p, q); })); }
inline float largest16(F16 x) { return vmaxvq_f32(fold(x, [](F4 p, F4 q) { return vmaxq_f32(p, q); })); }
// clang-format on

inline F16 power_of_two(F16 shifted) {
    return each_four<F16>([](F4 p) {
        const I4 exponent = vshlq_n_s32(vreinterpretq_s32_f32(p), 23);
        return vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(0x3f800000)));
    }, shifted);
}

inline void split_bf16(const uint8_t *from, F16 *even, F16 *odd) {
    const auto pairs = [&](int i) { return vreinterpretq_u32_u8(vld1q_u8(from + 16 * i)); };
    const auto low = [](uint32x4_t p) { return vreinterpretq_f32_u32(vshlq_n_u32(p, 16)); };
    const auto high = [](uint32x4_t p) { return vreinterpretq_f32_u32(vandq_u32(p, vdupq_n_u32(0xffff0000u))); };
    *even = {low(pairs(0)), low(pairs(1)), low(pairs(2)), low(pairs(3))};
    *odd = {high(pairs(0)), high(pairs(1)), high(pairs(2)), high(pairs(3))};
}

inline int8x16_t narrow8(I16 q) {
    const int16x8_t first = vcombine_s16(vmovn_s32(q.a), vmovn_s32(q.b));
    const int16x8_t second = vcombine_s16(vmovn_s32(q.c), vmovn_s32(q.d));
    return vcombine_s8(vmovn_s16(first), vmovn_s16(second));
}
inline void store_int8(uint8_t *to, I16 q) { vst1q_s8(reinterpret_cast<int8_t *>(to), narrow8(q)); }

// For each four integers q = 256 high + low: four bytes of low, four of high.
inline void store_int16(uint8_t *to, I16 q) {
    const I16 high = each_four<I16>([](I4 p) { return vshrq_n_s32(vaddq_s32(p, vdupq_n_s32(128)), 8); }, q);
    const I16 low = each_four<I16>([](I4 p, I4 h) { return vsubq_s32(p, vshlq_n_s32(h, 8)); }, q, high);
    const int32x4_t lows = vreinterpretq_s32_s8(narrow8(low)), highs = vreinterpretq_s32_s8(narrow8(high));
    vst1q_s8(reinterpret_cast<int8_t *>(to), vreinterpretq_s8_s32(vzip1q_s32(lows, highs)));
    vst1q_s8(reinterpret_cast<int8_t *>(to) + 16, vreinterpretq_s8_s32(vzip2q_s32(lows, highs)));
}

inline int8x16_t four_bytes(const uint8_t *from) {
    int32_t bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return vreinterpretq_s8_s32(vdupq_n_s32(bytes));
}

struct TernaryBytes {
    int8x16_t a, b, c, d;
};
struct TernaryGroup {
    uint8x16_t a, b, c, d;
    void open(const uint8_t *group) {
        a = vld1q_u8(group);
        b = vld1q_u8(group + 16);
        c = vld1q_u8(group + 32);
        d = vld1q_u8(group + 48);
    }
    template <int Pair>
    TernaryBytes bytes() const {
        return each_four<TernaryBytes>([](uint8x16_t w) {
            if constexpr (Pair > 0) w = vshrq_n_u8(w, 2 * Pair);
            return vreinterpretq_s8_u8(vandq_u8(w, vdupq_n_u8(3)));
        }, *this);
    }
};
struct FourInputs {
    int8x16_t v;
    explicit FourInputs(const uint8_t *in) : v(four_bytes(in)) {}
};
struct TernaryInputs {
    FourInputs four[4];
    explicit TernaryInputs(const uint8_t *in)
        : four{FourInputs(in), FourInputs(in + 4), FourInputs(in + 8), FourInputs(in + 12)} {}
};
struct Int16Inputs {
    FourInputs low, high;
    explicit Int16Inputs(const uint8_t *in) : low(in), high(in + 4) {}
};
struct Int8Bytes {
    TernaryBytes w;
    void open(const uint8_t *group) {
        TernaryGroup bytes;
        bytes.open(group);
        w = each_four<TernaryBytes>([](uint8x16_t v) { return vreinterpretq_s8_u8(v); }, bytes);
    }
};

constexpr int sum_chains = 6;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 2, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace
