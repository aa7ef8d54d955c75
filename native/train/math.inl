// Scalar arithmetic that compilers turn into vectors, and the loop over tasks.
//
// Contraction is off (-ffp-contract=off): products that must round as torch rounds them do, and `fma` says where
// they need not. NaN goes through every function here.
#pragma once
#include <stdint.h>

#include "train.h"

#define SIMD _Pragma("omp simd")
#define SIMD_SUM(...) _Pragma(SIMD_TEXT(omp simd reduction(+ : __VA_ARGS__)))
#define SIMD_MAX(...) _Pragma(SIMD_TEXT(omp simd reduction(max : __VA_ARGS__)))
#define SIMD_PEAK(sum, peak) _Pragma(SIMD_TEXT(omp simd reduction(+ : sum) reduction(max : peak)))
#define SIMD_TEXT(...) #__VA_ARGS__

namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

inline uint32_t to_bits(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float from_bits(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

inline float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

// 1.5 * 2^23: adding it rounds to an integer (ties to even), which is then in the low bits of the sum.
constexpr float to_integer = 12582912.0f;

// exp by 2^n p(r), r in ±ln 2 / 2; polynomial and split of ln 2 from Cephes' expf (Moshier). Relative error < 2e-7
// on [-87, 88]; infinity above (so that sigmoid ends at 0), exp(-87) below.
inline float exp(float x) {
    x = x > 89.0f ? 89.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float shifted = fma(x, 1.44269504f, to_integer);
    const float n = shifted - to_integer;
    const float r = fma(n, 2.12194440e-4f, fma(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = fma(p, r, 1.3981999507e-3f);
    p = fma(p, r, 8.3334519073e-3f);
    p = fma(p, r, 4.1665795894e-2f);
    p = fma(p, r, 1.6666665459e-1f);
    p = fma(p, r, 5.0000001201e-1f);
    p = fma(p, r * r, r) + 1.0f;
    return p * from_bits((to_bits(shifted) << 23) + 0x3f800000u);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

// d/dx [x sigmoid(x)], given sigmoid(x)
inline float silu_slope(float x, float sigmoid) { return sigmoid * fma(x, 1.0f - sigmoid, 1.0f); }

inline float root_mean(float squares, int64_t width, float eps) {
    return 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
}

inline cpu1_bf16 to_bf16(float x) {
    const uint32_t bits = to_bits(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<cpu1_bf16>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

inline float to_float(cpu1_bf16 x) { return from_bits(static_cast<uint32_t>(x) << 16); }
inline float to_float(float x) { return x; }
inline void store(cpu1_bf16 *to, float x) { *to = to_bf16(x); }
inline void store(float *to, float x) { *to = x; }

// body(i, worker) for every i of [0, tasks); two bodies that run at once have different workers of [0, threads)
template <class Body>
inline void parallel_workers(int threads, int64_t tasks, const Body &body) {
    cpu1_parallel(threads, tasks, [](const void *context, int64_t i, int worker) {
        (*static_cast<const Body *>(context))(i, worker);
    }, &body);
}

// body(i) for every i of [0, tasks)
template <class Body>
inline void parallel(int threads, int64_t tasks, const Body &body) {
    parallel_workers(threads, tasks, [&](int64_t i, int) { body(i); });
}

// rows of about 8192 elements: enough to hide what a task costs
inline int64_t row_block(int64_t width) { return width < 8192 ? 8192 / (width + 1) + 1 : 1; }

// body(first, last) for blocks of rows
template <class Body>
inline void parallel_rows(int threads, int64_t rows, int64_t width, const Body &body) {
    const int64_t block = row_block(width);
    parallel(threads, blocks_of(rows, block), [&](int64_t i) { body(i * block, smaller(rows, (i + 1) * block)); });
}

}  // namespace
