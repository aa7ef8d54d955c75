// Arithmetic on 16 lanes that every kernel uses: exp, partial vectors, root mean squares.
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

namespace {

constexpr float norm_epsilon = 1e-6f;
constexpr float silent = 7.888609052210118e-31f;  // 2^-100: a row with no larger value quantises to zeros
constexpr int ternary_levels = 127;

// 1.5 * 2^23: adding it rounds to an integer (ties to even), which is then in the low bits of the sum.
constexpr float to_integer = 12582912.0f;

// exp by 2^n p(r), r in +-ln 2 / 2; polynomial and split of ln 2 from Cephes' expf (Moshier). Relative error < 2e-7
// on [-87, 88]; infinity above 89, exp(-87) below.
inline F16 exp16(F16 x) {
    x = max16(set(-87.0f), min16(set(89.0f), x));  // in this order NaN stays NaN
    const F16 shifted = fma(x, set(1.44269504f), set(to_integer));
    const F16 n = shifted - set(to_integer);
    const F16 r = fma(n, set(2.12194440e-4f), fma(n, set(-0.693359375f), x));
    F16 p = set(1.9875691500e-4f);
    p = fma(p, r, set(1.3981999507e-3f));
    p = fma(p, r, set(8.3334519073e-3f));
    p = fma(p, r, set(4.1665795894e-2f));
    p = fma(p, r, set(1.6666665459e-1f));
    p = fma(p, r, set(5.0000001201e-1f));
    p = fma(p, r * r, r) + set(1.0f);
    return p * power_of_two(shifted);
}

inline F16 sigmoid(F16 x) { return set(1.0f) / (set(1.0f) + exp16(set(0.0f) - x)); }
inline F16 silu(F16 x) { return x * sigmoid(x); }

// body(lanes, i, count) for each 16 of `width` values, `count` of them there.
template <class Body>
inline void each16(int64_t width, const Body &body) {
    int64_t i = 0;
    for (; i + CPU1_LANES <= width; i += CPU1_LANES) body(i, int64_t{CPU1_LANES});
    if (i < width) body(i, width - i);
}

inline F16 load_part(const float *from, int64_t count) {
    if (count == CPU1_LANES) return load(from);
    float lanes[CPU1_LANES] = {0};
    memcpy(lanes, from, static_cast<size_t>(count) * sizeof *from);
    return load(lanes);
}

inline void store_part(float *to, F16 value, int64_t count) {
    if (count == CPU1_LANES) return store(to, value);
    float lanes[CPU1_LANES];
    store(lanes, value);
    memcpy(to, lanes, static_cast<size_t>(count) * sizeof *to);
}

inline float sum_of_squares(const float *x, int64_t width) {
    F16 even = set(0.0f), odd = set(0.0f);
    int64_t i = 0;
    for (; i + 2 * CPU1_LANES <= width; i += 2 * CPU1_LANES) {
        const F16 a = load(x + i), b = load(x + i + CPU1_LANES);
        even = fma(a, a, even);
        odd = fma(b, b, odd);
    }
    each16(width - i, [&](int64_t j, int64_t count) {
        const F16 a = load_part(x + i + j, count);
        even = fma(a, a, even);
    });
    return sum16(even + odd);
}

inline float inverse_rms(const float *x, int64_t width) {
    return 1.0f / sqrtf(sum_of_squares(x, width) / static_cast<float>(width) + norm_epsilon);
}

void rms_norm(const float *x, const float *gain, float *out, int64_t width) {
    const F16 inverse = set(inverse_rms(x, width));
    each16(width, [&](int64_t i, int64_t count) {
        F16 y = load_part(x + i, count) * inverse;
        if (gain) y = y * load_part(gain + i, count);
        store_part(out + i, y, count);
    });
}

}  // namespace
