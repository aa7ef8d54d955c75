// The closed set of operations. docs/operations.md describes what each computes. The table is written down once, in
// operations.py; generate.py makes `operations_table.h` (the limits, Code, and Fields with a member for each field) and the
// table itself from it at build time. The types here mirror those of the Python table.
#pragma once
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "operations_table.h"

namespace cpu1 {

// ---- the kinds of fields: which member of Fields each is read into, and what holds for its value. A size is a product
// of numbers and letters, "3*heads*head_size".

struct Read {
    Slice Fields::*to;
    const char *size;
    bool optional;
};
struct Write {
    Slice Fields::*to;
    const char *size;
    bool added;  // always added to what is there,
    bool Fields::*added_if;  // or where this flag is set; may be null
};
struct State {
    int Fields::*to;  // its index
    const char *size;
};
struct Tensor {
    std::string Fields::*to;  // its name; empty where it is absent
    std::vector<const char *> shape;
    bool ternary, optional;
    bool packed;  // rows of few bits a value
};
struct Parts {
    std::vector<int64_t> Fields::*to;
    const char *size;  // of all together
};
struct Number {
    int64_t Fields::*to;
    int64_t low, high, step;
    std::optional<int64_t> otherwise;  // where the field is absent
    bool power;  // of two
};
struct Numbers {
    std::vector<int64_t> Fields::*to;
    int64_t low, high;
    const char *count;  // the letter of how many they are
    int64_t most;
};
struct Flag {
    bool Fields::*to;
    std::optional<bool> otherwise;
};
struct Choice {
    void (*set)(Fields &, size_t word);
    std::vector<const char *> words;
    const char *otherwise;  // may be null
};
struct Target {
    int64_t Fields::*to;
};

struct Field {
    const char *name;
    std::variant<Read, Write, State, Tensor, Parts, Number, Numbers, Flag, Choice, Target> kind;
};

struct Operation {
    const char *name, *section;
    const char *level;  // of the units it reads; null: either, or none
    std::vector<Field> fields;  // in the order in which sizes are found
};

// In the order of Code.
const std::vector<Operation> &operations();

// The names of all operations, comma-separated.
std::string operation_names();

}  // namespace cpu1
