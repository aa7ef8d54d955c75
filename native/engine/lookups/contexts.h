// What the last bytes of a text are looked up by: one hash of each context (docs/lookups.md).
#pragma once
#include <stdint.h>

namespace cpu1 {

constexpr int64_t longest_order = 8;  // contexts 1 to 8: so many bytes
constexpr int64_t word_context = 9;   // the word so far
constexpr int64_t pair_context = 10;  // the word so far and the word before it
constexpr int64_t most_contexts = 16;

constexpr uint64_t hash_factor = 0x9e3779b97f4a7c15u;
constexpr uint64_t hash_stir = 0xd6e8feb86659fd93u;

// The hash of a context's key.
inline uint64_t stirred(uint64_t key, int64_t context) {
    uint64_t h = (key + static_cast<uint64_t>(context) * hash_stir) * hash_factor;
    h ^= h >> 32;
    return h * hash_stir;
}

// Whether words are made of it: letters, digits and bytes above 127; capitals are given as small letters.
inline bool in_word(uint32_t lower) {
    return (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') || (lower >= 128 && lower < 256);
}

inline uint32_t lowered(uint32_t unit) { return unit >= 'A' && unit <= 'Z' ? unit + 32 : unit; }

// The last bytes of one text. Bytes before its beginning count as zeros.
struct Contexts {
    uint64_t recent = 0;  // the last eight bytes, the latest lowest
    uint64_t word = 0;    // of the letters of the word so far; 0 between words
    uint64_t before = 0;  // the same of the word before it

    void read(uint8_t byte) {
        recent = recent << 8 | byte;
        const uint32_t lower = lowered(byte);
        if (in_word(lower)) {
            word = word * hash_factor + lower + 1;
        } else if (word) {
            before = word;
            word = 0;
        }
    }

    uint64_t hash(int64_t context) const {
        uint64_t key;
        if (context < longest_order) key = recent & ((uint64_t{1} << 8 * context) - 1);
        else if (context == longest_order) key = recent;
        else key = (word ? word : recent & 255) + (context == pair_context ? before * hash_stir : 0);
        return stirred(key, context);
    }

    // The row of tables of 2^bits rows each, one below the other, that the context of table `number` selects.
    int32_t row(int64_t context, int64_t number, int64_t bits) const {
        return static_cast<int32_t>(number << bits | static_cast<int64_t>(hash(context) >> (64 - bits)));
    }
};

}  // namespace cpu1
