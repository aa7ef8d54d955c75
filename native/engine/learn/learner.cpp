#include "learn/learner.h"

#include <math.h>
#include <string.h>

#include <algorithm>

namespace cpu1 {

namespace {

constexpr int64_t contexts[learned_contexts] = {1, 2, 3, 4, 6, word_context};
constexpr int32_t most = 2816;     // 256 ln(p / (1 - p)) of the surest opinion
constexpr int32_t bias = 77;
constexpr int32_t one = 1 << 16;   // of a weight
constexpr int32_t most_weight = 64 * one;
constexpr int64_t levels = recall_levels;
constexpr int64_t sets[3] = {256, levels, 256};  // by the decision, by the level of the match, by the last byte
constexpr uint16_t most_seen = 255, most_trusted = 250;
constexpr int32_t least_chance = 13, most_chance = 65523;
constexpr uint32_t settled = 1 << 20;  // bytes after which rates stay
// Decisions less likely than one in 512 are left to the model: they cost time, and teach little.
constexpr uint64_t whole = uint64_t{1} << 32, worth_deciding = whole / 512;

struct Tables {
    uint16_t chance[2 * most + 1];   // of 65536, by 256 ln(p / (1 - p))
    int32_t log_chance[2 * most + 1];  // 65536 ln p
    int16_t opinion[65536];
    int32_t count_rate[most_seen + 1], trust_rate[most_trusted + 1], sureness[most_seen + 1];  // of 65536

    Tables() {
        int32_t filled = 0;
        for (int32_t d = -most; d <= most; ++d) {
            const double odds = exp(-d / 256.0);
            const int32_t value = static_cast<int32_t>(floor(65536 / (1 + odds) + 0.5));
            chance[d + most] = static_cast<uint16_t>(std::clamp(value, 1, 65535));
            log_chance[d + most] = static_cast<int32_t>(floor(-65536 * log1p(odds) + 0.5));
            for (; filled <= chance[d + most]; ++filled) opinion[filled] = static_cast<int16_t>(d);
        }
        for (; filled < 65536; ++filled) opinion[filled] = most;
        for (int32_t n = 0; n <= most_seen; ++n) {
            count_rate[n] = static_cast<int32_t>(131072 / (2 * n + 3));
            sureness[n] = static_cast<int32_t>(131072 * n / (2 * n + 3));
        }
        for (int32_t n = 0; n <= most_trusted; ++n) trust_rate[n] = static_cast<int32_t>(131072 / (2 * n + 19));
    }
};

const Tables &tables() {
    static const Tables made;
    return made;
}

int32_t chance_of(int32_t opinion) { return tables().chance[opinion + most]; }
int32_t bounded(int64_t opinion) { return static_cast<int32_t>(std::clamp<int64_t>(opinion, -most, most)); }

int32_t moved(int32_t chance, int bit, int32_t rate) {
    const int64_t step = (static_cast<int64_t>(bit ? 65535 : 0) - chance) * rate >> 16;
    return std::clamp(chance + static_cast<int32_t>(step), least_chance, most_chance);
}

}  // namespace

Learner::Learner(const cpu1_kernels &kernels, int64_t remembered, int size)
    : kernels_(&kernels), remembered_(remembered),
      opinions_((2 + 2 * learned_contexts + 2 * remembered + 15) / 16 * 16), size_(size),
      counts_(static_cast<size_t>(learned_contexts) << size, Count{32768, 0}),
      trusts_(static_cast<size_t>(remembered * 2 * levels * 8)), final_(3 * 256, one / 3), below_(257) {
    for (size_t i = 0; i < trusts_.size(); ++i) {
        const int32_t level = static_cast<int32_t>(i / 8 % levels), second = static_cast<int32_t>(i / 8 / levels % 2);
        trusts_[i] = {static_cast<uint16_t>(second ? 32768 : 39321 + 3277 * (level / 4)), 0};
    }
    weights_.resize(static_cast<size_t>((sets[0] + sets[1] + sets[2]) * opinions_));
    for (size_t i = 0; i < weights_.size(); i += static_cast<size_t>(opinions_)) weights_[i] = one;
    begin();
}

// The contexts of the next byte.
void Learner::begin() {
    for (int64_t i = 0; i < learned_contexts; ++i) hashes_[i] = contexts_.hash(contexts[i]);
    locate(1);
}

// Where a decision's counts lie. They are fetched long before they are read: each is somewhere else in memory.
void Learner::locate(int64_t node) {
    for (int64_t i = 0; i < learned_contexts; ++i) {
        const uint64_t hash = (hashes_[i] + static_cast<uint64_t>(node) * hash_factor) * hash_stir;
        const uint32_t place = static_cast<uint32_t>(static_cast<uint64_t>(i) << size_ | hash >> (64 - size_));
        places_[node][i] = place;
        __builtin_prefetch(&counts_[place]);
    }
}

// A node of the tree of decisions is 1 followed by the bits so far; `depth` of them are decided.
int32_t Learner::model_opinion(int64_t node, int depth) const {
    const int64_t size = 256 >> depth, first = (node << (8 - depth)) & 255;
    const double all = below_[static_cast<size_t>(first + size)] - below_[static_cast<size_t>(first)];
    const double upper = below_[static_cast<size_t>(first + size)] - below_[static_cast<size_t>(first + size / 2)];
    if (!(all > 0)) return 0;
    return tables().opinion[static_cast<size_t>(std::min(65535.0, 65536 * (upper / all)))];
}

void Learner::decide(int64_t node, const uint8_t *code, Decision &decision) {
    const int depth = 63 - __builtin_clzll(static_cast<uint64_t>(node));
    const Tables &known = tables();
    int32_t *opinion = decision.opinions;
    *opinion++ = model_opinion(node, depth);
    decision.trusted = 0;
    for (int64_t part = 0; part < 2 * remembered_; ++part) {
        const uint8_t *said = code + part / 2 * 3;
        const int64_t second = part % 2, level = said[2];
        const int64_t byte = said[second];
        *opinion = 0;
        if ((second ? level % 4 : level / 4) && (byte | 256) >> (8 - depth) == node) {
            Count *trust = &trusts_[static_cast<size_t>((part * levels + level) * 8 + depth)];
            const uint8_t bit = byte >> (7 - depth) & 1;
            decision.trusts[decision.trusted] = trust;
            decision.expected[decision.trusted++] = bit;
            *opinion = bit ? known.opinion[trust->chance] : -known.opinion[trust->chance];
        }
        ++opinion;
    }
    for (int64_t i = 0; i < learned_contexts; ++i) {
        Count *count = &counts_[places_[node][i]];
        decision.counts[i] = count;
        *opinion++ = known.opinion[count->chance];
        *opinion++ =
            static_cast<int32_t>((static_cast<int64_t>(count->chance) - 32768) * known.sureness[count->seen] >> 22);
    }
    *opinion++ = bias;
    std::fill(opinion, decision.opinions + opinions_, 0);

    const int64_t set[3] = {node, sets[0] + (remembered_ ? code[3 * remembered_ - 1] : 0),
                            sets[0] + sets[1] + static_cast<int64_t>(contexts_.recent & 255)};
    decision.final_weights = final_.data() + 3 * node;
    int64_t result = 0;
    for (int i = 0; i < 3; ++i) {
        decision.weights[i] = weights_.data() + set[i] * opinions_;
        decision.mixed[i] = bounded(kernels_->mix(decision.weights[i], decision.opinions, opinions_) >> 16);
        result += static_cast<int64_t>(decision.final_weights[i]) * decision.mixed[i];
    }
    decision.result = bounded(result >> 16);
}

void Learner::teach(Decision &decision, int bit, int64_t rate) {
    const int64_t target = bit ? one : 0;
    for (int i = 0; i < 3; ++i) {
        const int64_t error = target - chance_of(decision.mixed[i]);
        kernels_->adapt(decision.weights[i], decision.opinions, opinions_, static_cast<int32_t>(error * rate),
                        most_weight);
    }
    const int64_t step = (target - chance_of(decision.result)) * (rate * 5 >> 4);
    for (int i = 0; i < 3; ++i) {
        const int64_t next = decision.final_weights[i] + ((step * decision.mixed[i] + (1 << 19)) >> 20);
        decision.final_weights[i] = static_cast<int32_t>(std::clamp<int64_t>(next, -most_weight, most_weight));
    }
    const Tables &known = tables();
    for (int64_t i = 0; i < decision.trusted; ++i) {
        Count &trust = *decision.trusts[i];
        trust.seen = std::min<uint16_t>(static_cast<uint16_t>(trust.seen + 1), most_trusted);
        const int right = decision.expected[i] == bit;
        trust.chance = static_cast<uint16_t>(moved(trust.chance, right, known.trust_rate[trust.seen]));
    }
    for (Count *count : decision.counts) {
        count->chance = static_cast<uint16_t>(moved(count->chance, bit, known.count_rate[count->seen]));
        if (count->seen < most_seen) ++count->seen;
    }
}

void Learner::correct(float *logits, const uint8_t *code) {
    double weights[256];
    kernels_->weigh(logits, 256, 1.0, weights);
    below_[0] = 0;
    for (size_t i = 0; i < 256; ++i) below_[i + 1] = below_[i] + weights[i];

    const int32_t *log_chance = tables().log_chance + most;
    uint64_t mass[256];
    int32_t change[512];  // of the logits below each node, times 65536
    mass[1] = whole;
    change[1] = 0;
    Decision decision;
    for (int64_t node = 1; node < 256; ++node) {
        if (mass[node] < worth_deciding) {
            change[2 * node] = change[2 * node + 1] = change[node];
            if (node < 128) mass[2 * node] = mass[2 * node + 1] = 0;
            continue;
        }
        decide(node, code, decision);
        const int32_t before = decision.opinions[0], after = decision.result;
        change[2 * node] = change[node] + log_chance[-after] - log_chance[-before];
        change[2 * node + 1] = change[node] + log_chance[after] - log_chance[before];
        if (node < 128) {
            mass[2 * node + 1] = mass[node] * static_cast<uint64_t>(chance_of(after)) >> 16;
            mass[2 * node] = mass[node] - mass[2 * node + 1];
            for (int64_t child = 2 * node; child < 2 * node + 2; ++child)
                if (mass[child] >= worth_deciding) locate(child);
        }
    }
    for (int64_t i = 0; i < 256; ++i) logits[i] += static_cast<float>(change[256 + i]) * 0x1p-16f;
}

void Learner::learn(uint8_t byte, const uint8_t *code, bool own) {
    const int64_t rate = std::max<int64_t>(20, 62976 / (512 + static_cast<int64_t>(learned_)));
    uint64_t mass = own ? 0 : whole;
    Decision decision;
    for (int64_t node = 1; node < 256 && mass >= worth_deciding;) {
        locate(node);  // `correct` may have left it to the model: what the bits before have taught counts already
        decide(node, code, decision);
        const int bit = byte >> (7 - (63 - __builtin_clzll(static_cast<uint64_t>(node)))) & 1;
        const uint64_t upper = mass * static_cast<uint64_t>(chance_of(decision.result)) >> 16;
        mass = bit ? upper : mass - upper;
        teach(decision, bit, rate);
        node = 2 * node + bit;
    }
    if (!own) learned_ = std::min(learned_ + 1, settled);
    contexts_.read(byte);
    begin();
}

// ---- the state as bytes ------------------------------------------------------------------------------------------

int64_t Learner::state_size() const {
    return static_cast<int64_t>((counts_.size() + trusts_.size()) * sizeof(Count) +
                                (weights_.size() + final_.size()) * sizeof(int32_t) + sizeof contexts_ +
                                sizeof learned_);
}

void Learner::save(uint8_t *to) const {
    const auto put = [&](const void *from, size_t size) {
        if (size) memcpy(to, from, size);  // without a memory there is no trust in it
        to += size;
    };
    put(counts_.data(), counts_.size() * sizeof(Count));
    put(trusts_.data(), trusts_.size() * sizeof(Count));
    put(weights_.data(), weights_.size() * sizeof(int32_t));
    put(final_.data(), final_.size() * sizeof(int32_t));
    put(&contexts_, sizeof contexts_);
    put(&learned_, sizeof learned_);
}

bool Learner::restore(const uint8_t *from) {
    Learner next(*kernels_, remembered_, size_);
    const auto take = [&](void *to, size_t size) {
        if (size) memcpy(to, from, size);
        from += size;
    };
    take(next.counts_.data(), counts_.size() * sizeof(Count));
    take(next.trusts_.data(), trusts_.size() * sizeof(Count));
    take(next.weights_.data(), weights_.size() * sizeof(int32_t));
    take(next.final_.data(), final_.size() * sizeof(int32_t));
    take(&next.contexts_, sizeof contexts_);
    take(&next.learned_, sizeof learned_);
    const auto fits = [](int32_t weight) { return weight >= -most_weight && weight <= most_weight; };
    const auto counted = [](uint16_t limit) { return [limit](const Count &count) { return count.seen <= limit; }; };
    if (!std::all_of(next.counts_.begin(), next.counts_.end(), counted(most_seen)) ||
        !std::all_of(next.trusts_.begin(), next.trusts_.end(), counted(most_trusted)) ||
        !std::all_of(next.weights_.begin(), next.weights_.end(), fits) ||
        !std::all_of(next.final_.begin(), next.final_.end(), fits) || next.learned_ > settled)
        return false;
    next.begin();
    *this = std::move(next);
    return true;
}

}  // namespace cpu1
