// The program of a packed file: read from JSON and checked, so that running it can go wrong nowhere.
// The set of operations and what each computes: docs/operations.md.
#pragma once
#include <stdint.h>

#include <map>
#include <string>
#include <vector>

#include "format/container.h"
#include "format/json.h"
#include "format/operations.h"

namespace cpu1 {

// One operation. Which fields mean something depends on its code.
struct Op : Fields {
    Code code;
    std::string place;  // for messages
    std::map<std::string, int64_t> sizes;  // the letters of the table
};

// Of a byte-level model: the bytes, and the separator of documents behind them. Older ones have the bytes alone.
constexpr int64_t byte_symbols = 257;

struct Program {
    bool bytes;  // else tokens
    int64_t patch, vocabulary, width;
    bool words;  // steps end behind words, and have at most `patch` units
    Slice x, s;
    int64_t values;  // of all registers, each padded to 16
    std::vector<int64_t> states;
    Op embed, head;
    std::vector<Op> trunk;
    std::vector<Op> lookups;  // the head's operations before its last

    // The unit between documents: NUL in older models of bytes, 0 among tokens.
    int64_t separator() const { return bytes && vocabulary == byte_symbols ? byte_symbols - 1 : 0; }
};

// Values of packed rows that share a byte.
inline int64_t values_a_byte(Bits bits) { return bits == Bits::two ? 4 : bits == Bits::four ? 2 : 1; }

Program read_program(const Json &program);
// Invalid unless all tensors that the program names are there, of shapes that fit.
void check_tensors(Program &program, const std::map<std::string, StoredTensor> &stored);

}  // namespace cpu1
