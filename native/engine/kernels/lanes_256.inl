// 16 lanes as two registers of 256 bits: what AVX2 and AVX-VNNI share.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

struct F16 {
    __m256 a, b;
};
struct I16 {
    __m256i a, b;
};

inline F16 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline I16 set_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline I16 zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline F16 load(const float *from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float *to, F16 x) {
    _mm256_storeu_ps(to, x.a);
    _mm256_storeu_ps(to + 8, x.b);
}
inline F16 operator+(F16 x, F16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F16 operator-(F16 x, F16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline F16 operator*(F16 x, F16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F16 operator/(F16 x, F16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F16 fma(F16 x, F16 y, F16 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline F16 min16(F16 x, F16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline F16 max16(F16 x, F16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline F16 absolute(F16 x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline I16 operator+(I16 x, I16 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
inline I16 operator-(I16 x, I16 y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
inline F16 to_float(I16 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline I16 nearest(F16 x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }

inline float sum16(F16 x) {
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline int32_t sum16(I16 x) {
    const __m256i eight = _mm256_add_epi32(x.a, x.b);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
inline float largest16(F16 x) {
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

inline __m256 power_of_two(__m256 shifted) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
}
inline F16 power_of_two(F16 shifted) { return {power_of_two(shifted.a), power_of_two(shifted.b)}; }

inline __m256i load_half(const uint8_t *from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)); }

inline void split_bf16(const uint8_t *from, F16 *even, F16 *odd) {
    const __m256i a = load_half(from), b = load_half(from + 32), upper = _mm256_set1_epi32(~0xffff);
    *even = {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
    *odd = {_mm256_castsi256_ps(_mm256_and_si256(a, upper)), _mm256_castsi256_ps(_mm256_and_si256(b, upper))};
}

// Sixteen int32 in order as int16, saturated.
inline __m256i narrow16(I16 q) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(q.a, q.b), 0xd8); }
inline __m128i narrow8(I16 q) {
    const __m256i words = narrow16(q);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
inline void store_int8(uint8_t *to, I16 q) { _mm_storeu_si128(reinterpret_cast<__m128i *>(to), narrow8(q)); }

inline __m256i four_bytes(const uint8_t *from) {
    int32_t bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

template <int Pair>
inline __m256i ternary_bytes(__m256i w) {
    return _mm256_and_si256(_mm256_srli_epi32(w, 2 * Pair), _mm256_set1_epi8(0x03));
}

struct TernaryBytes {
    __m256i a, b;
};
struct TernaryGroup {
    __m256i a, b;
    void open(const uint8_t *group) {
        a = load_half(group);
        b = load_half(group + 32);
    }
    template <int Pair>
    TernaryBytes bytes() const {
        return {ternary_bytes<Pair>(a), ternary_bytes<Pair>(b)};
    }
};
struct FourInputs {
    __m256i v;
    explicit FourInputs(const uint8_t *in) : v(four_bytes(in)) {}
};
struct TernaryInputs {
    __m256i four[4];
    explicit TernaryInputs(const uint8_t *in)
        : four{four_bytes(in), four_bytes(in + 4), four_bytes(in + 8), four_bytes(in + 12)} {}
};

}  // namespace
