// A program with its weights, ready to run. Read-only once loaded: all sessions share it.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/program.h"
#include "lookups/recall.h"
#include "run/arena.h"
#include "run/weights.h"

namespace cpu1 {

// An operation with what its tensors are; which members mean something depends on its code. Tensors keep the names of
// their fields.
struct BoundOp {
    const Op *op;
    Matrix weight, up, down, output, slots;
    Table table, back;
    const float *gain = nullptr, *bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;  // padded to 16
    const float *output_bias = nullptr, *start = nullptr, *taps = nullptr, *decay = nullptr;
    const float *down_row = nullptr;  // `down` of a gate, which has one row
    PackedRows rows;                                      // table_rows
    const float *first = nullptr, *second = nullptr;      // recall: (bytes, contexts, width)
    const float *first_gains = nullptr, *second_gains = nullptr, *offsets = nullptr;
    int64_t place = 0;  // of its state among a stream's, its cache among the caches, what a lookup found in its record
    int64_t turns = 0;  // attend: which table of angles
    bool joins = false;  // skipped rows may come back before this one

    // All of them, to count what a step costs.
    std::array<const Matrix *, 5> matrices() const { return {&weight, &up, &down, &output, &slots}; }
};

struct Model {
    const cpu1_kernels *kernels;
    Program program;
    std::unique_ptr<Arena> arena;
    BoundOp embed, head;
    std::vector<BoundOp> trunk, lookups;
    int64_t record = 0;  // bytes that lookups find for a unit
    std::optional<RecallShape> memory;  // of the document
    int64_t memory_place = 0;  // of what it says in a record
    int64_t state_values = 0;  // of a stream, each state padded to 16
    std::vector<const BoundOp *> caches;  // attend operations
    std::vector<int64_t> head_sizes;  // distinct
    int64_t widest_input = 16;  // bytes of a prepared row
    std::string about;  // the header's own part, JSON
    std::string tokenizer;
    int64_t weight_bytes = 0;  // of all matrices: what a step reads
    int64_t trunk_products = 0, head_products = 0;  // multiply-adds a step
    uint64_t mark = 0;  // distinguishes models when states are restored
};

// Reads and checks a file; Invalid names what is wrong with it.
std::shared_ptr<const Model> load_model(const Source &source, const cpu1_kernels *kernels);

}  // namespace cpu1
