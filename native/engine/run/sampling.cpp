#include "run/sampling.h"

#include <algorithm>
#include <numeric>

#include "format/errors.h"

namespace cpu1 {

namespace {

using Wide = unsigned __int128;

constexpr Wide multiplier = (Wide{2549297995355413924u} << 64) | 4865540595714422341u;

// PCG64 (XSL-RR 128/64, O'Neill 2014) as numpy has it; a double of 53 bits in [0, 1).
double next_random(Random &random) {
    const Wide increment = (Wide{random.increment[0]} << 64) | random.increment[1];
    const Wide state = ((Wide{random.state[0]} << 64) | random.state[1]) * multiplier + increment;
    random.state[0] = static_cast<uint64_t>(state >> 64);
    random.state[1] = static_cast<uint64_t>(state);
    const uint64_t mixed = random.state[0] ^ random.state[1];
    const unsigned turn = static_cast<unsigned>(random.state[0] >> 58);
    const uint64_t bits = mixed >> turn | mixed << ((64 - turn) & 63);
    return static_cast<double>(bits >> 11) * 0x1p-53;
}

// numpy's SeedSequence (O'Neill, "Developing a seed_seq Alternative", 2015): eight words of one seed.
class SeedWords {
  public:
    explicit SeedWords(uint64_t seed) : pool_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), 0, 0} {
        uint32_t factor = 0x43b0d7e5;
        for (uint32_t &word : pool_) word = hashed(word, factor, 0x931e8875);
        for (int from = 0; from < 4; ++from)
            for (int to = 0; to < 4; ++to)
                if (from != to) pool_[to] = mixed(pool_[to], hashed(pool_[from], factor, 0x931e8875));
    }
    uint64_t next() {
        const uint64_t low = word();
        return low | uint64_t{word()} << 32;
    }

  private:
    static uint32_t hashed(uint32_t value, uint32_t &factor, uint32_t step) {
        value ^= factor;
        factor *= step;
        value *= factor;
        return value ^ value >> 16;
    }
    static uint32_t mixed(uint32_t x, uint32_t y) {
        const uint32_t out = 0xca01f9dd * x - 0x4973f715 * y;
        return out ^ out >> 16;
    }
    uint32_t word() { return hashed(pool_[at_++ % 4], factor_, 0x58f38ded); }

    uint32_t pool_[4], factor_ = 0x8b51f9dd;
    unsigned at_ = 0;
};

}  // namespace

Random seeded(uint64_t seed) {
    SeedWords words(seed);
    Wide start = Wide{words.next()} << 64;
    start |= words.next();
    Wide increment = Wide{words.next()} << 64;
    increment |= words.next();
    increment = increment << 1 | 1;
    const Wide state = (increment + start) * multiplier + increment;
    return {{static_cast<uint64_t>(state >> 64), static_cast<uint64_t>(state)},
            {static_cast<uint64_t>(increment >> 64), static_cast<uint64_t>(increment)}};
}

uint32_t Sampler::draw(const Sampling &sampling, const float *logits, int64_t count, Random &random) {
    if (!kernels_.finite(logits, count))
        refuse("the model's scores are not finite; training diverged or the model file is damaged");
    if (!sampling.may_end && sampling.end >= 0 && sampling.end < count) {
        allowed_.assign(logits, logits + count);
        allowed_[static_cast<size_t>(sampling.end)] = -1e30f;
        logits = allowed_.data();
    }
    if (sampling.temperature == 0) return static_cast<uint32_t>(std::max_element(logits, logits + count) - logits);
    weights_.resize(static_cast<size_t>(count));
    kernels_.weigh(logits, count, sampling.temperature, weights_.data());
    filter(sampling, logits, count);
    std::partial_sum(weights_.begin(), weights_.end(), weights_.begin());
    const double reach = next_random(random) * weights_.back();
    const auto found = std::upper_bound(weights_.begin(), weights_.end(), reach);
    return static_cast<uint32_t>(std::min<int64_t>(found - weights_.begin(), count - 1));
}

void Sampler::filter(const Sampling &sampling, const float *logits, int64_t count) {
    if (sampling.top_k > 0 || sampling.top_p < 1) {
        // By score, not by weight: a huge temperature makes weights equal that scores tell apart.
        best_first_.resize(static_cast<size_t>(count));
        std::iota(best_first_.begin(), best_first_.end(), 0u);
        std::sort(best_first_.begin(), best_first_.end(),
                  [&](uint32_t a, uint32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
        size_t kept = static_cast<size_t>(sampling.top_k > 0 ? std::min(sampling.top_k, count) : count);
        if (sampling.top_p < 1) {
            std::vector<double> mass;
            for (size_t i = 0; i < kept; ++i) mass.push_back((i ? mass.back() : 0) + weights_[best_first_[i]]);
            const auto enough = std::lower_bound(mass.begin(), mass.end(), sampling.top_p * mass.back());
            kept = std::min(kept, static_cast<size_t>(enough - mass.begin()) + 1);
        }
        for (size_t i = kept; i < best_first_.size(); ++i) weights_[best_first_[i]] = 0;
    }
    for (double &weight : weights_)
        if (weight < sampling.min_p) weight = 0;
}

}  // namespace cpu1
