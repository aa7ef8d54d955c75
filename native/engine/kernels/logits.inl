// What is done with logits, and what a bench asks of the machine.

namespace {

inline float highest(const float *x, int64_t count) {
    F16 peak = set(-INFINITY);
    int64_t i = 0;
    for (; i + CPU1_LANES <= count; i += CPU1_LANES) peak = max16(load(x + i), peak);
    float most = largest16(peak);
    for (; i < count; ++i) most = x[i] > most ? x[i] : most;
    return most;
}

double nats(const float *logits, int64_t count, int64_t target) {
    const float peak = highest(logits, count);
    double total = 0;
    for (int64_t i = 0; i < count; i += CPU1_LANES) {
        const int64_t here = count - i < CPU1_LANES ? count - i : int64_t{CPU1_LANES};
        float lanes[CPU1_LANES];
        store(lanes, exp16(load_part(logits + i, here) - set(peak)));
        float sum = 0;
        for (int64_t j = 0; j < here; ++j) sum += lanes[j];
        total += sum;
    }
    return log(total) + static_cast<double>(peak) - static_cast<double>(logits[target]);
}

// exp of x <= 0 to about a rounding: 2^n p(r), r in +-ln 2 / 2, p Taylor's series. 0 below -708.
inline double exp_double(double x) {
    const double to_whole = 6755399441055744.0;  // 1.5 * 2^52, as to_integer
    const double low = x < -708.0 ? -708.0 : x;
    const double shifted = low * 1.4426950408889634 + to_whole, n = shifted - to_whole;
    const double r = (low - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 52) + 0x3ff0000000000000u;
    double power;
    memcpy(&power, &bits, sizeof power);
    return x < -708.0 ? 0.0 : p * power;
}

// In double, as the sampler of the Python package has it: equal seeds draw equal units.
void weigh(const float *logits, int64_t count, double temperature, double *weights) {
    const double peak = highest(logits, count);
    for (int64_t i = 0; i < count; ++i) weights[i] = exp_double((static_cast<double>(logits[i]) - peak) / temperature);
}

int finite(const float *x, int64_t count) {
    F16 any = set(0.0f);
    each16(count, [&](int64_t i, int64_t here) { any = fma(load_part(x + i, here), set(0.0f), any); });
    return sum16(any) == 0;  // 0 * NaN and 0 * infinity are NaN
}

// ---- what the machine can do -------------------------------------------------------------------------------------

float read_all(const void *from, int64_t bytes) {
    const float *at = static_cast<const float *>(from);
    F16 most[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
    for (int64_t i = 0; i + 256 <= bytes; i += 256, at += 64)
        for (int part = 0; part < 4; ++part) most[part] = max16(load(at + 16 * part), most[part]);
    return largest16(max16(max16(most[0], most[1]), max16(most[2], most[3])));
}

// Sums that a compiler keeps in registers, which it would not do with an array.
template <int Count>
struct Chains {
    PartialSums first;
    Chains<Count - 1> rest;
    void begin(const TernaryBytes &w, const uint8_t *each) {  // each chain has another start, or they were one
        first.add(w, FourInputs(each));
        rest.begin(w, each + 4);
    }
    void add(const TernaryBytes &w, uint8_t (&in)[CPU1_GROUP]) {
        asm volatile("" : "+m"(in));  // other inputs, as far as the compiler knows, or all chains had one product
        first.add(w, FourInputs(in));
        rest.add(w, in);
    }
    I16 total() const { return first.total() + rest.total(); }
};
template <>
struct Chains<0> {
    void begin(const TernaryBytes &, const uint8_t *) {}
    void add(const TernaryBytes &, uint8_t (&)[CPU1_GROUP]) {}
    I16 total() const { return zero(); }
};

int64_t multiply_adds(int64_t rounds) {
    uint8_t bytes[CPU1_GROUP] = {1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1};
    asm volatile("" : "+m"(bytes));  // anything, as far as the compiler knows
    TernaryGroup group;
    group.open(bytes);
    Chains<sum_chains> sums;
    sums.begin(group.template bytes<1>(), bytes);
    for (int64_t round = 0; round < rounds; ++round) {
        asm volatile("" : "+m"(bytes));  // so that no round can be left out
        group.open(bytes);
        sums.add(group.template bytes<0>(), bytes);
    }
    return sum16(sums.total()) >= 0 ? rounds * sum_chains * CPU1_GROUP : 0;
}

}  // namespace
