// AVX-512 with VNNI: 16 lanes are one register, vpdpbusd adds four products of bytes to each.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

struct F16 {
    __m512 v;
};
struct I16 {
    __m512i v;
};

inline F16 set(float x) { return {_mm512_set1_ps(x)}; }
inline I16 set_int(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline I16 zero() { return {_mm512_setzero_si512()}; }
inline F16 load(const float *from) { return {_mm512_loadu_ps(from)}; }
inline void store(float *to, F16 x) { _mm512_storeu_ps(to, x.v); }
inline F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 min16(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F16 max16(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 absolute(F16 a) { return {_mm512_abs_ps(a.v)}; }
inline I16 operator+(I16 a, I16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline I16 operator-(I16 a, I16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline F16 to_float(I16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline I16 nearest(F16 a) { return {_mm512_cvtps_epi32(a.v)}; }
inline float sum16(F16 a) { return _mm512_reduce_add_ps(a.v); }
inline int32_t sum16(I16 a) { return _mm512_reduce_add_epi32(a.v); }
inline float largest16(F16 a) { return _mm512_reduce_max_ps(a.v); }

inline F16 power_of_two(F16 shifted) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted.v), 23);
    return {_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)))};
}

inline void split_bf16(const uint8_t *from, F16 *even, F16 *odd) {
    const __m512i pairs = _mm512_loadu_si512(from);
    even->v = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    odd->v = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000))));
}

inline void store_int8(uint8_t *to, I16 q) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm512_cvtepi32_epi8(q.v));
}

// For each four integers q = 256 high + low: four bytes of low, four of high.
inline void store_int16(uint8_t *to, I16 q) {
    const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(q.v, _mm512_set1_epi32(128)), 8);
    const __m128i lows = _mm512_cvtepi32_epi8(q.v), highs = _mm512_cvtepi32_epi8(high);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm_unpacklo_epi32(lows, highs));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to) + 1, _mm_unpackhi_epi32(lows, highs));
}

inline __m512i four_bytes(const uint8_t *from) {
    int32_t bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return _mm512_set1_epi32(bytes);
}

struct TernaryInputs {
    __m512i four[4];
    explicit TernaryInputs(const uint8_t *in)
        : four{four_bytes(in), four_bytes(in + 4), four_bytes(in + 8), four_bytes(in + 12)} {}
};

// Each bit pair is masked in place, and its sum shifted once at the end.
struct TernarySums {
    static constexpr int blocks = 4;
    static constexpr int64_t run = CPU1_MOST_INPUTS;  // groups between two calls of settle
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};

    void add(const uint8_t *group, const TernaryInputs &in) {
        const __m512i w = _mm512_loadu_si512(group);
        sum[0] = _mm512_dpbusd_epi32(sum[0], _mm512_and_si512(w, _mm512_set1_epi8(0x03)), in.four[0]);
        sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_and_si512(w, _mm512_set1_epi8(0x0c)), in.four[1]);
        sum[2] = _mm512_dpbusd_epi32(sum[2], _mm512_and_si512(w, _mm512_set1_epi8(0x30)), in.four[2]);
        sum[3] = _mm512_dpbusd_epi32(sum[3], _mm512_and_si512(w, _mm512_set1_epi8(-64)), in.four[3]);
    }
    void settle() {}
    I16 total() const {
        const __m512i low = _mm512_add_epi32(sum[0], _mm512_srai_epi32(sum[1], 2));
        const __m512i high = _mm512_add_epi32(_mm512_srai_epi32(sum[2], 4), _mm512_srai_epi32(sum[3], 6));
        return {_mm512_add_epi32(low, high)};
    }
};

constexpr int ternary_tile_blocks = 2, ternary_tile_rows = 8;

struct TernaryBytes {
    __m512i v;
};
struct TernaryGroup {
    __m512i w;
    void open(const uint8_t *group) { w = _mm512_loadu_si512(group); }
    template <int Pair>
    TernaryBytes bytes() const {
        return {_mm512_and_si512(_mm512_srli_epi32(w, 2 * Pair), _mm512_set1_epi8(0x03))};
    }
};
struct FourInputs {
    __m512i v;
    explicit FourInputs(const uint8_t *in) : v(four_bytes(in)) {}
};
struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    __m512i v = _mm512_setzero_si512();
    void add(TernaryBytes w, const FourInputs &in) { v = _mm512_dpbusd_epi32(v, w.v, in.v); }
    I16 total() const { return {v}; }
};

constexpr int int8_blocks = 4, int8_tile_blocks = 2, int8_tile_rows = 4;

struct Int16Inputs {
    __m512i low, high;
    explicit Int16Inputs(const uint8_t *in) : low(four_bytes(in)), high(four_bytes(in + 4)) {}
};
struct Int8Bytes {
    __m512i v;  // w + 128
    void open(const uint8_t *group) { v = _mm512_xor_si512(_mm512_loadu_si512(group), _mm512_set1_epi8(-128)); }
};
struct Int8Sums {
    __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    void add(Int8Bytes w, const Int16Inputs &in) {
        low = _mm512_dpbusd_epi32(low, w.v, in.low);
        high = _mm512_dpbusd_epi32(high, w.v, in.high);
    }
    I16 total(int32_t inputs) const {
        const __m512i offset = _mm512_slli_epi32(_mm512_set1_epi32(inputs), 7);
        return {_mm512_sub_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low), offset)};
    }
};

constexpr int sum_chains = 12;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 4, float_tile_blocks = 2, float_tile_rows = 4;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_avx512vnni = table_of("avx512vnni", "fma");
