#include "run/coder.h"

#include <algorithm>

#include "format/errors.h"

namespace cpu1 {

namespace {

constexpr double best_frequency = 4294967296.0;  // 2^32: what a unit costs is not cut off below 32 bits
constexpr uint64_t least_range = uint64_t{1} << 56;

}  // namespace

void check_finite(const cpu1_kernels &kernels, const float *logits, int64_t count) {
    if (!kernels.finite(logits, count))
        refuse("the model's scores are not finite; training diverged or the model file is damaged");
}

Frequencies::Frequencies(const cpu1_kernels &kernels, int64_t vocabulary)
    : kernels_(kernels), weights_(static_cast<size_t>(vocabulary)), ends_(static_cast<size_t>(vocabulary)) {}

void Frequencies::set(const float *logits) {
    const int64_t count = static_cast<int64_t>(ends_.size());
    check_finite(kernels_, logits, count);
    kernels_.weigh(logits, count, 1.0, weights_.data());
    uint64_t end = 0;
    for (size_t i = 0; i < ends_.size(); ++i)
        ends_[i] = end += 1 + static_cast<uint64_t>(static_cast<int64_t>(weights_[i] * best_frequency));
}

Share Frequencies::share(uint32_t unit) const {
    const uint64_t begin = unit ? ends_[unit - 1] : 0;
    return {begin, ends_[unit] - begin, total()};
}

uint32_t Frequencies::at(uint64_t place) const {
    return static_cast<uint32_t>(std::upper_bound(ends_.begin(), ends_.end(), place) - ends_.begin());
}

void Encoder::put(const Share &share) {
    const uint64_t unit = range_ / share.total, add = unit * share.begin;
    low_ += add;
    if (low_ < add) carry();
    range_ = unit * share.size;
    for (; range_ < least_range; range_ <<= 8, low_ <<= 8) code_.push_back(static_cast<uint8_t>(low_ >> 56));
}

// low_ passed 2^64. The code is below 1 as a whole, so some byte takes it.
void Encoder::carry() {
    for (auto byte = code_.rbegin(); ++*byte == 0;) ++byte;
}

// The range holds a whole multiple of 2^56, which one byte names. Where it holds one of 2^64, that takes no byte.
const std::vector<uint8_t> &Encoder::finish() {
    if (low_ + (range_ - 1) < low_) {
        carry();
    } else if (low_) {
        code_.push_back(static_cast<uint8_t>((low_ + (least_range - 1)) >> 56));
    }
    while (!code_.empty() && code_.back() == 0) code_.pop_back();
    return code_;
}

Decoder::Decoder(const uint8_t *code, int64_t size) : code_(code, code + size) {
    for (int i = 0; i < 8; ++i) offset_ = offset_ << 8 | next();
}

uint64_t Decoder::place(uint64_t total) {
    unit_ = range_ / total;
    const uint64_t place = offset_ / unit_;
    require(place < total, "the code is damaged");
    return place;
}

void Decoder::take(const Share &share) {
    offset_ -= unit_ * share.begin;
    range_ = unit_ * share.size;
    for (; range_ < least_range; range_ <<= 8) offset_ = offset_ << 8 | next();
}

}  // namespace cpu1
