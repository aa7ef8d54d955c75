// Patches that end behind words: where they end, and the row that a patch selects (docs/operations.md).
#pragma once
#include <stdint.h>

#include "lookups/contexts.h"

namespace cpu1 {

constexpr int64_t most_word_units = 8;
constexpr int64_t first_patch_context = 16;  // a patch of n units is hashed as the context of this number and n

// Whether a patch ends with unit `last` (from 0), of which no unit before it has ended it.
inline bool ends_word(const uint32_t *units, int64_t last) {
    if (last + 1 == most_word_units) return true;
    return last > 0 && in_word(lowered(units[last - 1])) && !in_word(lowered(units[last]));
}

// The row of a table of 2^bits rows.
inline int32_t patch_row(const uint32_t *units, int64_t count, int64_t bits) {
    uint64_t key = 0;
    for (int64_t i = 0; i < count; ++i) key = key << 8 | (units[i] & 255);
    return static_cast<int32_t>(stirred(key, first_patch_context + count) >> (64 - bits));
}

}  // namespace cpu1
