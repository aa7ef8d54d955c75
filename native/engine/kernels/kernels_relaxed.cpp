// WebAssembly with relaxed SIMD, whose product of bytes takes second factors of seven bits: ternary weights have two. So
// results are those of `portable` to the bit.
#include "kernels/lanes_128.inl"

namespace {

inline I8 dot_bytes(I8 weights, I8 inputs) {
    return bits_of<I8>(wasm_i16x8_relaxed_dot_i8x16_i7x16(bits_of<v128_t>(inputs), bits_of<v128_t>(weights)));
}

}  // namespace

#include "kernels/products_bytes.inl"
//
#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_relaxed = table_of("relaxed", "plain");
