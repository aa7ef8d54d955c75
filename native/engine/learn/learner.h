// What learns while it reads: a model's distribution of the next byte, corrected by what this text has shown so far
// (docs/lookups.md).
//
// A byte is eight decisions, from its highest bit. For each there are opinions: the model's own, those of the memory
// of the document as far as they have proved right, and counts of short contexts. Three sets of weights mix the
// opinions in the domain of ln(p / (1 - p)), and a fourth mixes the three; all learn from every bit. So do lpaq and its kin
// (Mahoney, "Adaptive Weighing of Context Models for Lossless Data Compression", 2005). Everything is in integers, so
// all processors learn the same.
#pragma once
#include <stdint.h>

#include <vector>

#include "kernels/kernels.h"
#include "lookups/recall.h"

namespace cpu1 {

constexpr int64_t learned_contexts = 6;
constexpr int least_counts = 10, most_counts = 22;  // of a context, as powers of two
constexpr int64_t most_opinions = (2 + 2 * learned_contexts + 2 * (most_contexts + 1) + 15) / 16 * 16;

class Learner {
  public:
    // `remembered`: the parts of a code (recall.h), 0 without a memory of the document. `size`: how many counts each
    // context has, as a power of two.
    Learner(const cpu1_kernels &kernels, int64_t remembered, int size);

    // logits of the model, of which those of the 256 bytes are corrected in place; `code` is what the memory says of the next byte.
    void correct(float *logits, const uint8_t *code);
    // The byte came, after `correct` for it. Nothing is learned from the model's `own`.
    void learn(uint8_t byte, const uint8_t *code, bool own);

    int64_t state_size() const;
    void save(uint8_t *to) const;
    bool restore(const uint8_t *from);  // false, and nothing is changed, for what no text leads to

  private:
    struct Count {
        uint16_t chance;  // that a bit is 1, or that a byte of the memory is right, of 65536
        uint16_t seen;
    };
    // One decision: the opinions, and what they and the mixers came to, as 256 ln(p / (1 - p)).
    struct Decision {
        int32_t opinions[most_opinions];
        Count *counts[learned_contexts];
        Count *trusts[2 * (most_contexts + 1)];  // of the memory's bytes that still fit
        uint8_t expected[2 * (most_contexts + 1)];  // the bit that each of these expects
        int64_t trusted;
        int32_t *weights[3], *final_weights;
        int32_t mixed[3], result;
    };

    void begin();
    void locate(int64_t node);
    void decide(int64_t node, const uint8_t *code, Decision &decision);
    void teach(Decision &decision, int bit, int64_t rate);
    int32_t model_opinion(int64_t node, int depth) const;

    const cpu1_kernels *kernels_;
    int64_t remembered_, opinions_;  // the latter a multiple of 16, the last ones zero
    int size_;
    std::vector<Count> counts_, trusts_;
    std::vector<int32_t> weights_, final_;
    Contexts contexts_;
    uint32_t learned_ = 0;  // bytes, as far as rates care
    uint64_t hashes_[learned_contexts];  // of the next byte's contexts
    uint32_t places_[256][learned_contexts];  // of the counts of decisions that `correct` takes, while it takes them
    std::vector<double> below_;  // the model's mass of all bytes below each (257), for the next byte
};

}  // namespace cpu1
