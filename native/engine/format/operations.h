// The closed set of operations, in one table: docs/operations.md says what each computes, cpu1/operations.py is the
// same table in Python. All checks of a program follow from it.
#pragma once
#include <stdint.h>

#include <string>
#include <vector>

namespace cpu1 {

enum class Code {
    embed_bytes, embed_token,
    rms_norm, ternary_linear, dense_linear, gate_scan, silu_mul, attend, leaky_scan, delete_gate, add,
    local_decode, patch_heads,
};

enum class Kind { read, write, state, tensor, ternary, optional, parts, number, flag, choice, target };

struct Field {
    const char *name;
    Kind kind;
    const char *size = "";  // a product of letters; of a tensor one for each dimension, comma-separated
    int64_t low = 0, high = 0, step = 1;
};

struct Operation {
    const char *name, *section;
    std::vector<Field> fields;  // in the order in which sizes are found
};

// In the order of Code.
const std::vector<Operation> &operations();

// The names of all operations, comma-separated.
std::string operation_names();

}  // namespace cpu1
