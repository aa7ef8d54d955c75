#include "lookups/recall.h"

#include <string.h>

#include <algorithm>

namespace cpu1 {

namespace {

constexpr uint32_t longest_match = 32;  // as far as agreement is counted
constexpr int64_t match_index = 14;     // entries of `last_`, as a power of two
constexpr int64_t match_key = 11;      // so that its hash is not that of a context
constexpr uint8_t most_runs = 15;
constexpr uint32_t worth_keeping = 16;  // agreed bytes for which a broken match goes on beside
constexpr uint32_t most_held = 8, most_missed = 8;

// Runs of 0, 1, 2, 3, 4-5, 6-9, 10-14 and 15.
constexpr uint8_t first_level[16] = {0, 1, 2, 3, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7};
constexpr uint8_t second_level[16] = {0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3};

uint8_t match_level(uint32_t agreed) {
    constexpr uint32_t from[] = {1, 8, 10, 12, 16, 24, 32};
    return static_cast<uint8_t>(std::upper_bound(from, from + 7, agreed) - from);
}

}  // namespace

Recall::Recall(const RecallShape &shape)
    : shape_(shape), history_mask_((uint32_t{1} << shape.history) - 1),
      slots_(std::vector<Slot>(shape.contexts.size() << shape.slots)), history_(size_t{1} << shape.history),
      last_(std::vector<uint32_t>(size_t{1} << match_index)), found_(shape.contexts.size()) {
    find();
}

void Recall::look(uint8_t *code) const {
    for (const Found &found : found_) {
        const Slot slot = found.known ? (*slots_)[found.slot] : Slot{};
        const uint8_t parts[3] = {slot.first, slot.second,
                                  static_cast<uint8_t>(4 * first_level[slot.runs & 15] + second_level[slot.runs >> 4])};
        code = std::copy_n(parts, 3, code);
    }
    code[0] = agreed_ ? place(ahead_) : 0;
    code[1] = missed_ ? place(beside_) : 0;
    const int beside = missed_ == 0 ? 0 : held_ == most_held ? 3 : held_ ? 2 : 1;
    code[2] = static_cast<uint8_t>(4 * match_level(agreed_) + beside);
}

void Recall::read(uint8_t byte, bool own) {
    if (!own) {
        std::vector<Slot> &slots = slots_.own();
        for (const Found &found : found_) {
            if (!found.known) slots[found.slot] = {};
            learn(slots[found.slot], found.check, byte);
        }
    }
    contexts_.read(byte);
    follow(byte, own);
    find();
}

void Recall::read(const uint8_t *bytes, int64_t count, bool own, uint8_t *codes) {
    for (int64_t i = 0; i < count; ++i) {
        look(codes + i * shape_.code_size());
        read(bytes[i], own);
    }
}

// The slots of the next byte's contexts. Each may lie in two places; a new one takes that with the shorter run.
void Recall::find() {
    const std::vector<Slot> &slots = *slots_;
    for (size_t i = 0; i < found_.size(); ++i) {
        const uint64_t hash = contexts_.hash(shape_.contexts[i]);
        const uint32_t base = static_cast<uint32_t>(i << shape_.slots);
        const uint32_t one = static_cast<uint32_t>(hash >> (64 - shape_.slots)), other = one ^ 1;
        const uint8_t check = static_cast<uint8_t>(hash >> (56 - shape_.slots));
        const auto is = [&](uint32_t at) {
            const Slot &slot = slots[base + at];
            return (slot.runs & 15) != 0 && slot.check == check;
        };
        if (is(one)) found_[i] = {base + one, check, true};
        else if (is(other)) found_[i] = {base + other, check, true};
        else {
            const bool first = (slots[base + one].runs & 15) <= (slots[base + other].runs & 15);
            found_[i] = {base + (first ? one : other), check, false};
        }
    }
}

void Recall::learn(Slot &slot, uint8_t check, uint8_t byte) const {
    const uint8_t first = slot.runs & 15, second = slot.runs >> 4;
    slot.check = check;
    if (first == 0 || slot.first == byte) {
        slot.first = byte;
        if (first < most_runs) ++slot.runs;
        return;
    }
    // a byte that comes back keeps half of its run
    const uint8_t again = slot.second == byte && second > 1 ? (second + 1) / 2 : 1;
    slot.second = slot.first;
    slot.first = byte;
    slot.runs = static_cast<uint8_t>(first << 4 | again);
}

// The matches go on, or one is looked for where the last bytes stood before.
void Recall::follow(uint8_t byte, bool own) {
    if (missed_) {
        const bool right = place(beside_++) == byte;
        held_ = right ? std::min(held_ + 1, most_held) : 0;
        if (!right && ++missed_ > most_missed) missed_ = 0;
    }
    if (agreed_ && place(ahead_++) == byte) {
        agreed_ = std::min(agreed_ + 1, longest_match);
    } else {
        if (agreed_ >= worth_keeping) {
            beside_ = ahead_;
            missed_ = 1;
            held_ = 0;
        }
        agreed_ = 0;
    }
    place(position_++) = byte;
    if (position_ < shape_.match) return;
    const uint64_t key = contexts_.recent & (~uint64_t{0} >> (64 - 8 * shape_.match));
    const size_t entry = stirred(key, match_key) >> (64 - match_index);
    const uint32_t last = (*last_)[entry];
    if (!agreed_ && last && position_ - last <= history_mask_ - longest_match) {
        uint32_t same = 0;
        while (same < longest_match && same < last && place(last - 1 - same) == place(position_ - 1 - same)) ++same;
        if (same >= shape_.match) {
            agreed_ = same;
            ahead_ = last;
            if (beside_ == ahead_) missed_ = 0;
        }
    }
    if (!own) last_.own()[entry] = position_;
}

// ---- the state as bytes ------------------------------------------------------------------------------------------

int64_t Recall::state_size() const {
    return static_cast<int64_t>(slots_->size() * sizeof(Slot) + history_.size() + last_->size() * sizeof(uint32_t) +
                                sizeof contexts_ + 6 * sizeof(uint32_t));
}

void Recall::save(uint8_t *to) const {
    const auto put = [&](const void *from, size_t size) {
        memcpy(to, from, size);
        to += size;
    };
    put(slots_->data(), slots_->size() * sizeof(Slot));
    put(history_.data(), history_.size());
    put(last_->data(), last_->size() * sizeof(uint32_t));
    put(&contexts_, sizeof contexts_);
    const uint32_t numbers[6] = {position_, ahead_, agreed_, beside_, held_, missed_};
    put(numbers, sizeof numbers);
}

bool Recall::restore(const uint8_t *from) {
    Recall next(shape_);
    const auto take = [&](void *to, size_t size) {
        memcpy(to, from, size);
        from += size;
    };
    take(next.slots_.own().data(), next.slots_->size() * sizeof(Slot));
    take(next.history_.data(), next.history_.size());
    take(next.last_.own().data(), next.last_->size() * sizeof(uint32_t));
    take(&next.contexts_, sizeof next.contexts_);
    uint32_t numbers[6];
    take(numbers, sizeof numbers);
    next.position_ = numbers[0];
    next.ahead_ = numbers[1];
    next.agreed_ = numbers[2];
    next.beside_ = numbers[3];
    next.held_ = numbers[4];
    next.missed_ = numbers[5];
    if (next.agreed_ > longest_match || next.held_ > most_held || next.missed_ > most_missed) return false;
    next.find();
    *this = std::move(next);
    return true;
}

}  // namespace cpu1
