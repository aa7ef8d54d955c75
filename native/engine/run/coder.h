// Arithmetic coding of units by the probabilities that a model gives them (docs/compression.md). Integers alone once
// the frequencies stand; `cpu1/runtime/coder.py` is the same in Python.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "kernels/kernels.h"

namespace cpu1 {

// The part of the whole that a unit has: [begin, begin + size) of [0, total).
struct Share {
    uint64_t begin, size, total;
};

void check_finite(const cpu1_kernels &kernels, const float *logits, int64_t count);  // Invalid where they are not

// What each unit counts for: 1 + floor(2^32 exp(logit - the best logit)).
class Frequencies {
  public:
    Frequencies(const cpu1_kernels &kernels, int64_t vocabulary);

    void set(const float *logits);  // Invalid where they are not finite
    uint64_t total() const { return ends_.back(); }
    Share share(uint32_t unit) const;
    uint32_t at(uint64_t place) const;  // the unit whose share holds the place, < total

  private:
    const cpu1_kernels &kernels_;
    std::vector<double> weights_;
    std::vector<uint64_t> ends_;  // of the shares
};

// A range coder (Martin 1979, "Range encoding") of 64 bits: range_ >= 2^56 between units, and totals stay below 2^49.
class Encoder {
  public:
    void put(const Share &share);
    const std::vector<uint8_t> &finish();  // zeros at the end are left out: the decoder reads on in zeros

  private:
    void carry();

    uint64_t low_ = 0, range_ = ~uint64_t{0};
    std::vector<uint8_t> code_;
};

class Decoder {
  public:
    Decoder(const uint8_t *code, int64_t size);

    uint64_t place(uint64_t total);  // in the whole that the next unit had its share of; Invalid where no unit is there
    void take(const Share &share);

  private:
    uint8_t next() { return at_ < code_.size() ? code_[at_++] : 0; }

    std::vector<uint8_t> code_;
    size_t at_ = 0;
    uint64_t offset_ = 0, range_ = ~uint64_t{0}, unit_ = 0;  // unit_: what 1 of the total is of the range
};

}  // namespace cpu1
