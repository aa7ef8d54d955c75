// Plain C++ for every processor: 16 lanes are an array, which compilers turn into what vectors they may use.
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

namespace {

template <class Value>
struct Lanes {
    Value v[CPU1_LANES];
};
using F16 = Lanes<float>;
using I16 = Lanes<int32_t>;

template <class Result, class Rule>
inline Lanes<Result> each_lane(const Rule &rule) {
    Lanes<Result> out;
    for (int i = 0; i < CPU1_LANES; ++i) out.v[i] = rule(i);
    return out;
}

// Sums that may pass through 2^31 on their way: signed arithmetic is not allowed to.
inline int32_t wrapped_add(int32_t a, int32_t b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

// clang-format off
inline F16 set(float x) { return each_lane<float>([&](int) { return x; }); }
inline I16 set_int(int32_t x) { return each_lane<int32_t>([&](int) { return x; }); }
inline I16 zero() { return set_int(0); }
inline F16 load(const float *from) { return each_lane<float>([&](int i) { return from[i]; }); }
inline void store(float *to, F16 x) { memcpy(to, x.v, sizeof x.v); }
inline F16 operator+(F16 a, F16 b) { return each_lane<float>([&](int i) { return a.v[i] + b.v[i]; }); }
inline F16 operator-(F16 a, F16 b) { return each_lane<float>([&](int i) { return a.v[i] - b.v[i]; }); }
inline F16 operator*(F16 a, F16 b) { return each_lane<float>([&](int i) { return a.v[i] * b.v[i]; }); }
inline F16 operator/(F16 a, F16 b) { return each_lane<float>([&](int i) { return a.v[i] / b.v[i]; }); }
inline F16 fma(F16 a, F16 b, F16 c) { return each_lane<float>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
inline F16 min16(F16 a, F16 b) { return each_lane<float>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline F16 max16(F16 a, F16 b) { return each_lane<float>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline F16 absolute(F16 a) { return each_lane<float>([&](int i) { return fabsf(a.v[i]); }); }
inline I16 operator+(I16 a, I16 b) { return each_lane<int32_t>([&](int i) { return wrapped_add(a.v[i], b.v[i]); }); }
inline I16 operator-(I16 a, I16 b) { return each_lane<int32_t>([&](int i) { return a.v[i] - b.v[i]; }); }
inline F16 to_float(I16 a) { return each_lane<float>([&](int i) { return static_cast<float>(a.v[i]); }); }
// clang-format on

// |a| < 2^22: adding 1.5 * 2^23 rounds to the nearest integer, ties to even.
inline I16 nearest(F16 a) {
    return each_lane<int32_t>([&](int i) { return static_cast<int32_t>((a.v[i] + 12582912.0f) - 12582912.0f); });
}

template <class Value, class Rule>
inline Value halve(Lanes<Value> a, const Rule &rule) {
    for (int half = CPU1_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) a.v[i] = rule(a.v[i], a.v[i + half]);
    return a.v[0];
}
inline float sum16(F16 a) {
    return halve(a, [](float x, float y) { return x + y; });
}
inline int32_t sum16(I16 a) { return halve(a, wrapped_add); }
inline float largest16(F16 a) {
    return halve(a, [](float x, float y) { return x > y ? x : y; });
}

inline F16 power_of_two(F16 shifted) {
    return each_lane<float>([&](int i) {
        uint32_t bits;
        memcpy(&bits, &shifted.v[i], sizeof bits);
        bits = (bits << 23) + 0x3f800000u;
        float power;
        memcpy(&power, &bits, sizeof power);
        return power;
    });
}

inline void split_bf16(const uint8_t *from, F16 *even, F16 *odd) {
    uint32_t pairs[CPU1_LANES], upper[CPU1_LANES];
    memcpy(pairs, from, sizeof pairs);
    for (int i = 0; i < CPU1_LANES; ++i) {
        upper[i] = pairs[i] & 0xffff0000u;
        pairs[i] <<= 16;
    }
    memcpy(even->v, pairs, sizeof pairs);
    memcpy(odd->v, upper, sizeof upper);
}

inline void store_int8(uint8_t *to, I16 q) {
    for (int i = 0; i < CPU1_LANES; ++i) to[i] = static_cast<uint8_t>(static_cast<int8_t>(q.v[i]));
}

inline void store_int16(uint8_t *to, I16 q) {
    int16_t words[CPU1_LANES];
    for (int i = 0; i < CPU1_LANES; ++i) words[i] = static_cast<int16_t>(q.v[i]);
    memcpy(to, words, sizeof words);
}

struct FourInputs {
    int8_t v[4];
    explicit FourInputs(const uint8_t *in) { memcpy(v, in, sizeof v); }
};

struct TernaryBytes {
    uint32_t v[CPU1_LANES];
};
struct TernaryGroup {
    uint32_t w[CPU1_LANES];
    void open(const uint8_t *group) { memcpy(w, group, sizeof w); }
    template <int Pair>
    TernaryBytes bytes() const {
        TernaryBytes out;
        for (int i = 0; i < CPU1_LANES; ++i) out.v[i] = (w[i] >> (2 * Pair)) & 0x03030303u;
        return out;
    }
};

struct PartialSums {
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    I16 sums = zero();
    void add(const TernaryBytes &w, const FourInputs &in) {
        for (int i = 0; i < CPU1_LANES; ++i) {
            const uint32_t bytes = w.v[i];
            sums.v[i] += static_cast<int32_t>(bytes & 3) * in.v[0] + static_cast<int32_t>((bytes >> 8) & 3) * in.v[1] +
                         static_cast<int32_t>((bytes >> 16) & 3) * in.v[2] +
                         static_cast<int32_t>(bytes >> 24) * in.v[3];
        }
    }
    I16 total() const { return sums; }
};

struct TernaryInputs {
    FourInputs four[4];
    explicit TernaryInputs(const uint8_t *in)
        : four{FourInputs(in), FourInputs(in + 4), FourInputs(in + 8), FourInputs(in + 12)} {}
};

struct TernarySums {
    static constexpr int blocks = 1;
    static constexpr int64_t run = CPU1_MOST_INPUTS;
    PartialSums sums;
    void add(const uint8_t *group, const TernaryInputs &in) {
        TernaryGroup w;
        w.open(group);
        sums.add(w.bytes<0>(), in.four[0]);
        sums.add(w.bytes<1>(), in.four[1]);
        sums.add(w.bytes<2>(), in.four[2]);
        sums.add(w.bytes<3>(), in.four[3]);
    }
    void settle() {}
    I16 total() const { return sums.total(); }
};

constexpr int ternary_tile_blocks = 1, ternary_tile_rows = 2;
constexpr int int8_blocks = 1, int8_tile_blocks = 1, int8_tile_rows = 2;

struct Int16Inputs {
    int16_t v[4];
    explicit Int16Inputs(const uint8_t *in) { memcpy(v, in, sizeof v); }
};
struct Int8Bytes {
    int8_t w[CPU1_GROUP];
    void open(const uint8_t *group) { memcpy(w, group, sizeof w); }
};
struct Int8Sums {
    I16 sums = zero();
    void add(const Int8Bytes &bytes, const Int16Inputs &in) {
        for (int i = 0; i < CPU1_LANES; ++i) {
            const int8_t *w = bytes.w + 4 * i;
            sums.v[i] += w[0] * in.v[0] + w[1] * in.v[1] + w[2] * in.v[2] + w[3] * in.v[3];
        }
    }
    I16 total(int32_t) const { return sums; }
};

constexpr int sum_chains = 1;  // sums in registers that hide how long a product takes
constexpr int float_blocks = 1, float_tile_blocks = 1, float_tile_rows = 2;

}  // namespace

#include "kernels/kernels.inl"

extern const cpu1_kernels cpu1_kernels_portable = table_of("portable", "plain");
