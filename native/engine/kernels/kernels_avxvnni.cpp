// AVX-VNNI: vpdpbusd on 256 bits, for processors without AVX-512.
#include "kernels/lanes_256.inl"

namespace {

inline __m256i dot(__m256i sums, __m256i weights, __m256i inputs) {
    return _mm256_dpbusd_avx_epi32(sums, weights, inputs);
}

// Each bit pair is masked in place, and its sum shifted once at the end.
struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = CPU1_MOST_INPUTS;  // groups between two calls of settle
    I16 sum[4] = {zero(), zero(), zero(), zero()};

    template <int Pair>
    void add_pair(__m256i a, __m256i b, const TernaryInputs &in) {
        const __m256i mask = _mm256_set1_epi8(static_cast<int8_t>(0x03 << (2 * Pair)));
        sum[Pair].a = dot(sum[Pair].a, _mm256_and_si256(a, mask), in.four[Pair]);
        sum[Pair].b = dot(sum[Pair].b, _mm256_and_si256(b, mask), in.four[Pair]);
    }
    void add(const uint8_t *group, const TernaryInputs &in) {
        const __m256i a = load_half(group), b = load_half(group + 32);
        add_pair<0>(a, b, in);
        add_pair<1>(a, b, in);
        add_pair<2>(a, b, in);
        add_pair<3>(a, b, in);
    }
    void settle() {}
    template <int Pair>
    I16 shifted() const {
        return {_mm256_srai_epi32(sum[Pair].a, 2 * Pair), _mm256_srai_epi32(sum[Pair].b, 2 * Pair)};
    }
    I16 total() const { return sum[0] + shifted<1>() + shifted<2>() + shifted<3>(); }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 4;

struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(TernaryBytes w, const FourInputs &in) { sums = {dot(sums.a, w.a, in.v), dot(sums.b, w.b, in.v)}; }
    I16 total() const { return sums; }
};

// For each four integers q = 256 high + low: four bytes of low, four of high.
inline void store_int16(uint8_t *to, I16 q) {
    const __m256i half = _mm256_set1_epi32(128);
    const I16 high = {_mm256_srai_epi32(_mm256_add_epi32(q.a, half), 8),
                      _mm256_srai_epi32(_mm256_add_epi32(q.b, half), 8)};
    const I16 low = q - I16{_mm256_slli_epi32(high.a, 8), _mm256_slli_epi32(high.b, 8)};
    const __m128i lows = narrow8(low), highs = narrow8(high);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm_unpacklo_epi32(lows, highs));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to) + 1, _mm_unpackhi_epi32(lows, highs));
}

constexpr int int8_blocks = 2, int8_tile_blocks = 1, int8_tile_rows = 2;

struct Int16Inputs {
    __m256i low, high;
    explicit Int16Inputs(const uint8_t *in) : low(four_bytes(in)), high(four_bytes(in + 4)) {}
};
struct Int8Bytes {
    __m256i a, b;  // w + 128
    void open(const uint8_t *group) {
        a = _mm256_xor_si256(load_half(group), _mm256_set1_epi8(-128));
        b = _mm256_xor_si256(load_half(group + 32), _mm256_set1_epi8(-128));
    }
};
struct Int8Sums {
    I16 low = zero(), high = zero();
    void add(Int8Bytes w, const Int16Inputs &in) {
        low = {dot(low.a, w.a, in.low), dot(low.b, w.b, in.low)};
        high = {dot(high.a, w.a, in.high), dot(high.b, w.b, in.high)};
    }
    I16 total(int32_t inputs) const {
        const __m256i offset = _mm256_slli_epi32(_mm256_set1_epi32(inputs), 7);
        return low + I16{_mm256_slli_epi32(high.a, 8), _mm256_slli_epi32(high.b, 8)} - I16{offset, offset};
    }
};

constexpr int sum_chains = 6;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 2, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_avxvnni = table_of("avxvnni", "fma");
