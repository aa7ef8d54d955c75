// x86 before AVX2: SSSE3 multiplies bytes.
#include <tmmintrin.h>

#include "kernels/lanes_128.inl"

namespace {

inline I8 dot_bytes(I8 weights, I8 inputs) {
    return bits_of<I8>(_mm_maddubs_epi16(bits_of<__m128i>(weights), bits_of<__m128i>(inputs)));
}

}  // namespace

#include "kernels/products_bytes.inl"
//
#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_ssse3 = table_of("ssse3", "plain");
