// 16 lanes as four registers of 128 bits, by the vector types of GCC and Clang: SSE2, NEON without dot products, WASM's
// SIMD, or whatever a processor has.
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace {

typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));
typedef uint32_t U4 __attribute__((vector_size(16)));
typedef int16_t I8 __attribute__((vector_size(16)));

struct F16 {
    F4 a, b, c, d;
};
struct I16 {
    I4 a, b, c, d;
};

// One rule for four registers.
template <class Out, class Rule, class... In>
inline Out each_four(const Rule &rule, const In &...in) {
    return {rule(in.a...), rule(in.b...), rule(in.c...), rule(in.d...)};
}

template <class Vector>
inline Vector load_vector(const void *from) {
    Vector v;
    memcpy(&v, from, sizeof v);
    return v;
}
template <class Out, class In>
inline Out bits_of(In v) {
    static_assert(sizeof(Out) == sizeof(In), "the same bits");
    Out out;
    memcpy(&out, &v, sizeof out);
    return out;
}

// Sums wrap around on their way, which signed arithmetic is not allowed to.
inline I4 wrapped_add(I4 x, I4 y) { return bits_of<I4>(bits_of<U4>(x) + bits_of<U4>(y)); }
inline I4 wrapped_subtract(I4 x, I4 y) { return bits_of<I4>(bits_of<U4>(x) - bits_of<U4>(y)); }

// clang-format off
inline F4 all_four(float x) { return F4{x, x, x, x}; }
inline I4 all_four(int32_t x) { return I4{x, x, x, x}; }
inline F16 set(float x) { return {all_four(x), all_four(x), all_four(x), all_four(x)}; }
inline I16 set_int(int32_t x) { return {all_four(x), all_four(x), all_four(x), all_four(x)}; }
inline I16 zero() { return set_int(0); }
inline F16 load(const float *p) { return load_vector<F16>(p); }
inline void store(float *to, F16 x) { memcpy(to, &x, sizeof x); }
inline F16 operator+(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return p + q; }, x, y); }
inline F16 operator-(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return p - q; }, x, y); }
inline F16 operator*(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return p * q; }, x, y); }
inline F16 operator/(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return p / q; }, x, y); }
inline F16 fma(F16 x, F16 y, F16 z) { return each_four<F16>([](F4 p, F4 q, F4 r) { return p * q + r; }, x, y, z); }
inline F16 min16(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return p < q ? p : q; }, x, y); }
inline F16 max16(F16 x, F16 y) { return each_four<F16>([](F4 p, F4 q) { return p > q ? p : q; }, x, y); }
inline F16 absolute(F16 x) {
    return each_four<F16>([](F4 p) { return bits_of<F4>(bits_of<U4>(p) & 0x7fffffffu); }, x);
}
inline I16 operator+(I16 x, I16 y) { return each_four<I16>([](I4 p, I4 q) { return wrapped_add(p, q); }, x, y); }
inline I16 operator-(I16 x, I16 y) { return each_four<I16>([](I4 p, I4 q) { return wrapped_subtract(p, q); }, x, y); }
inline F16 to_float(I16 x) { return each_four<F16>([](I4 p) { return __builtin_convertvector(p, F4); }, x); }
// clang-format on

// |x| < 2^22: adding 1.5 * 2^23 rounds to the nearest integer, ties to even.
inline I16 nearest(F16 x) {
    return each_four<I16>([](F4 p) { return __builtin_convertvector((p + 12582912.0f) - 12582912.0f, I4); }, x);
}

// In the order of the other sets: halves are added until one lane is left.
inline float sum16(F16 x) {
    const F4 four = (x.a + x.c) + (x.b + x.d);
    return (four[0] + four[2]) + (four[1] + four[3]);
}
inline int32_t sum16(I16 x) {
    const U4 four = bits_of<U4>(wrapped_add(wrapped_add(x.a, x.c), wrapped_add(x.b, x.d)));
    return static_cast<int32_t>(four[0] + four[1] + four[2] + four[3]);
}
inline float largest16(F16 x) {
    const auto larger = [](F4 p, F4 q) { return p > q ? p : q; };
    const F4 four = larger(larger(x.a, x.c), larger(x.b, x.d));
    const auto largest = [](float p, float q) { return p > q ? p : q; };
    return largest(largest(four[0], four[2]), largest(four[1], four[3]));
}

inline F16 power_of_two(F16 shifted) {
    return each_four<F16>([](F4 p) { return bits_of<F4>((bits_of<U4>(p) << 23) + 0x3f800000u); }, shifted);
}

inline void split_bf16(const uint8_t *from, F16 *even, F16 *odd) {
    struct Pairs {
        U4 a, b, c, d;
    };
    const Pairs pairs = load_vector<Pairs>(from);
    *even = each_four<F16>([](U4 p) { return bits_of<F4>(p << 16); }, pairs);
    *odd = each_four<F16>([](U4 p) { return bits_of<F4>(p & 0xffff0000u); }, pairs);
}

inline void store_int8(uint8_t *to, I16 q) {
    int32_t lanes[CPU1_LANES];
    memcpy(lanes, &q, sizeof lanes);
    for (int i = 0; i < CPU1_LANES; ++i) to[i] = static_cast<uint8_t>(static_cast<int8_t>(lanes[i]));
}

// ---- products of int8 weights: pairs of int16, which most processors have an instruction for ----

// For each of four lanes: x[0] y[0] + x[1] y[1] of its two int16.
inline I4 dot_pairs(I8 x, I8 y) {
#if defined(__SSE2__)
    return bits_of<I4>(_mm_madd_epi16(bits_of<__m128i>(x), bits_of<__m128i>(y)));
#elif defined(__wasm_simd128__)
    return bits_of<I4>(wasm_i32x4_dot_i16x8(bits_of<v128_t>(x), bits_of<v128_t>(y)));
#else
    const I4 p = bits_of<I4>(x), q = bits_of<I4>(y);
    return (p << 16 >> 16) * (q << 16 >> 16) + (p >> 16) * (q >> 16);
#endif
}

// Two int16 in each of four lanes.
inline I8 pair(int16_t first, int16_t second) {
    const uint32_t both = static_cast<uint16_t>(first) | static_cast<uint32_t>(static_cast<uint16_t>(second)) << 16;
    return bits_of<I8>(all_four(static_cast<int32_t>(both)));
}

// Bytes 0 and 2 of a lane, and bytes 1 and 3, as int16: what is multiplied with the inputs of the same places.
struct Pairs {
    I8 even, odd;
};
inline Pairs signed_pairs(I8 bytes) { return {static_cast<I8>(bytes << 8) >> 8, bytes >> 8}; }
struct PairsOfGroup {
    Pairs a, b, c, d;
};
struct Bytes16 {
    I8 a, b, c, d;
};

inline void store_int16(uint8_t *to, I16 q) {
    int32_t lanes[CPU1_LANES];
    int16_t words[CPU1_LANES];
    memcpy(lanes, &q, sizeof lanes);
    for (int i = 0; i < CPU1_LANES; ++i) words[i] = static_cast<int16_t>(lanes[i]);
    memcpy(to, words, sizeof words);
}
struct Int16Inputs {
    I8 even, odd;
    explicit Int16Inputs(const uint8_t *in) {
        int16_t x[4];
        memcpy(x, in, sizeof x);
        even = pair(x[0], x[2]);
        odd = pair(x[1], x[3]);
    }
};
struct Int8Bytes {
    PairsOfGroup w;
    void open(const uint8_t *group) { w = each_four<PairsOfGroup>(signed_pairs, load_vector<Bytes16>(group)); }
};
struct Int8Sums {
    I16 sums = zero();
    void add(const Int8Bytes &bytes, const Int16Inputs &in) {
        sums = each_four<I16>([&](I4 s, const Pairs &p) {
            return s + dot_pairs(p.even, in.even) + dot_pairs(p.odd, in.odd);
        }, sums, bytes.w);
    }
    I16 total(int32_t) const { return sums; }
};

constexpr int int8_blocks = 1, int8_tile_blocks = 1, int8_tile_rows = 1;

}  // namespace
