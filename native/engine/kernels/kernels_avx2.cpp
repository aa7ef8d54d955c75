// AVX2: vpmaddubsw adds pairs of products in 16 bits, widened before they can overflow.
#include "kernels/lanes_256.inl"

namespace {

// GCC would multiply for all rows of a tile first, and keep their sums in memory. So a row's are finished before the next.
inline void finish_sums(__m256i &a, __m256i &b) { __asm__ volatile("" : "+x"(a), "+x"(b)); }

inline __m256i widen(__m256i words) { return _mm256_madd_epi16(words, _mm256_set1_epi16(1)); }

// Pairs 0 and 2 are summed with weights up to 2, |sum| <= 508 a group and register; pairs 1 and 3 where they stand
// shifted by 2, weights up to 8, <= 2032 each, 4064 together: 8 groups stay within 32512.
struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = 8;
    __m256i even[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, odd[2] = {even[0], even[0]};
    I16 evens = zero(), odds = zero();

    void add_half(int half, const uint8_t *group, const TernaryInputs &in) {
        const __m256i w = load_half(group), upper = _mm256_srli_epi32(w, 4);
        const __m256i low = _mm256_set1_epi8(0x03), high = _mm256_set1_epi8(0x0c);
        even[half] = _mm256_add_epi16(even[half], _mm256_maddubs_epi16(_mm256_and_si256(w, low), in.four[0]));
        odd[half] = _mm256_add_epi16(odd[half], _mm256_maddubs_epi16(_mm256_and_si256(w, high), in.four[1]));
        even[half] = _mm256_add_epi16(even[half], _mm256_maddubs_epi16(_mm256_and_si256(upper, low), in.four[2]));
        odd[half] = _mm256_add_epi16(odd[half], _mm256_maddubs_epi16(_mm256_and_si256(upper, high), in.four[3]));
    }
    void add(const uint8_t *group, const TernaryInputs &in) {
        add_half(0, group, in);
        add_half(1, group + 32, in);
    }
    void settle() {
        evens = evens + I16{widen(even[0]), widen(even[1])};
        odds = odds + I16{widen(odd[0]), widen(odd[1])};
        even[0] = even[1] = odd[0] = odd[1] = _mm256_setzero_si256();
    }
    I16 total() const { return evens + I16{_mm256_srai_epi32(odds.a, 2), _mm256_srai_epi32(odds.b, 2)}; }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 4;

// Weights up to 2: 4 pairs a group, 508 each, 16 groups stay within 32512.
struct PartialSums {
    static constexpr int64_t run = 16;
    __m256i a = _mm256_setzero_si256(), b = _mm256_setzero_si256();
    void add(TernaryBytes w, const FourInputs &in) {
        __m256i left = _mm256_add_epi16(a, _mm256_maddubs_epi16(w.a, in.v));
        __m256i right = _mm256_add_epi16(b, _mm256_maddubs_epi16(w.b, in.v));
        finish_sums(left, right);
        a = left;
        b = right;
    }
    I16 total() const { return {widen(a), widen(b)}; }
};

// Inputs stand as int16 in the order 0, 2, 1, 3 of each four: bytes 0 and 2 of a lane of weights are widened
// together, and so are 1 and 3.
inline void store_int16(uint8_t *to, I16 q) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                           0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm256_shuffle_epi8(narrow16(q), order));
}

constexpr int int8_blocks = 2, int8_tile_blocks = 1, int8_tile_rows = 4;

struct Int16Inputs {
    __m256i even, odd;
    explicit Int16Inputs(const uint8_t *in) : even(four_bytes(in)), odd(four_bytes(in + 4)) {}
};
struct Int8Bytes {
    __m256i even[2], odd[2];
    void open(const uint8_t *group) {
        for (int half = 0; half < 2; ++half) {
            const __m256i w = load_half(group + 32 * half);
            even[half] = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
            odd[half] = _mm256_srai_epi16(w, 8);
        }
    }
};
struct Int8Sums {
    I16 sums = zero();
    void add(const Int8Bytes &w, const Int16Inputs &in) {
        sums = sums + I16{_mm256_madd_epi16(w.even[0], in.even), _mm256_madd_epi16(w.even[1], in.even)};
        sums = sums + I16{_mm256_madd_epi16(w.odd[0], in.odd), _mm256_madd_epi16(w.odd[1], in.odd)};
    }
    I16 total(int32_t) const { return sums; }
};

constexpr int sum_chains = 5;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 2, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_avx2 = table_of("avx2", "fma");
