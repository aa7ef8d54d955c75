// Memory of a document: which bytes followed the same contexts before (docs/lookups.md).
//
// For each context a table of slots, each with the byte that followed last and the one before that, and for the whole
// text the place where its last bytes stood before. What it says of the next byte is a `code`: three bytes a context,
// and three of the match (first byte, second byte, level).
#pragma once
#include <stdint.h>

#include <vector>

#include "lookups/contexts.h"
#include "lookups/shared.h"

namespace cpu1 {

constexpr int64_t recall_levels = 32;  // 4 times that of the first byte, plus that of the second; 0: nothing is known

struct RecallShape {
    std::vector<int64_t> contexts;  // 1 to 10
    int64_t slots = 14;  // of each context, as a power of two
    int64_t history = 16;  // bytes that matches are looked for in, as a power of two
    int64_t match = 6;  // bytes that must agree

    int64_t code_size() const { return 3 * static_cast<int64_t>(contexts.size() + 1); }
};

// Copies share what has been learned until one of them learns more.
class Recall {
  public:
    explicit Recall(const RecallShape &shape);

    void look(uint8_t *code) const;  // what is said of the next byte
    // A byte that the model has drawn itself is its `own`: it is where the text goes on, but nothing is learned from it.
    void read(uint8_t byte, bool own = false);
    void read(const uint8_t *bytes, int64_t count, bool own, uint8_t *codes);  // and what was said of each of them
    const RecallShape &shape() const { return shape_; }

    // The state as bytes: always so many.
    int64_t state_size() const;
    void save(uint8_t *to) const;
    // False, and nothing is changed, where no text leads to these bytes.
    bool restore(const uint8_t *from);

  private:
    struct Slot {
        uint8_t check, first, second;
        uint8_t runs;  // low half: of `first`, 0 in an empty slot; high half: of `second`
    };

    void find();
    void learn(Slot &slot, uint8_t check, uint8_t byte) const;
    void follow(uint8_t byte, bool own);
    uint8_t &place(uint32_t position) { return history_[position & history_mask_]; }
    uint8_t place(uint32_t position) const { return history_[position & history_mask_]; }

    RecallShape shape_;
    uint32_t history_mask_;
    Shared<std::vector<Slot>> slots_;
    std::vector<uint8_t> history_;
    Shared<std::vector<uint32_t>> last_;  // by the hash of `match` bytes: the position after them; 0: none
    Contexts contexts_;
    uint32_t position_ = 0;  // bytes read
    uint32_t ahead_ = 0;  // the position of the byte that the match predicts
    uint32_t agreed_ = 0;  // bytes that agree before it; 0: no match
    uint32_t beside_ = 0;  // the same of a long match that a byte has broken, and that may yet go on
    uint32_t held_ = 0;  // bytes it was right about since it was last wrong
    uint32_t missed_ = 0;  // bytes it was wrong about; 0: there is none

    // Of the next byte: found when the last one was read.
    struct Found {
        uint32_t slot;
        uint8_t check;
        bool known;  // else the slot is another context's, and will be taken
    };
    std::vector<Found> found_;
};

}  // namespace cpu1
