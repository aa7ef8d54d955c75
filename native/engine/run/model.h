// A program with its weights, ready to run. Read-only once loaded: all sessions share it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "format/program.h"

namespace cpu1 {

// A run of blocks of a panel whose scales are found the same way.
struct Piece {
    int64_t first, last;
    const float *scale;  // of block b at scale + b * step
    int64_t step;
};

// A matrix as a panel (kernels.h).
struct Matrix {
    cpu1_kind kind = CPU1_FP32;
    int64_t outputs = 0, inputs = 0, groups = 0, blocks = 0;
    const uint8_t *panel = nullptr;
    std::vector<Piece> pieces;
};

inline int64_t size_of(cpu1_kind kind) { return kind == CPU1_INT8 ? 1 : kind == CPU1_BF16 ? 2 : 4; }
void add_row(cpu1_kind kind, const uint8_t *from, float scale, int64_t width, float *out);  // out += the row

// Rows that are looked up, at the width at which the file has them.
struct Table {
    cpu1_kind kind = CPU1_FP32;
    int64_t width = 0;
    const uint8_t *rows = nullptr;
    const float *scale = nullptr;  // int8: one a row

    void add_to(int64_t row, float *out) const;
    void copy_to(int64_t row, float *out) const;
};

// An operation with what its tensors are; which members mean something depends on its code.
struct BoundOp {
    const Op *op;
    Matrix weight, down, output;  // up of gates and decoders stands in `weight`; slots in `slots`
    Matrix slots;
    Table table;                  // embeddings; `back` of the decoder
    const float *gain = nullptr, *bias = nullptr, *down_bias = nullptr, *output_bias = nullptr;  // padded to 16
    const float *start = nullptr, *taps = nullptr, *decay = nullptr, *vector = nullptr;
    int64_t place = 0;  // of its state in a stream's values, or of its cache among the caches
    int64_t turns = 0;  // attend: which table of angles
    bool joins = false; // skipped rows may come back before this one
};

// Memory for weights: aligned, on huge pages where the system has them.
class Arena {
  public:
    explicit Arena(int64_t most);
    ~Arena();
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    uint8_t *take(int64_t bytes);
    uint64_t mark(uint64_t (*rule)(const uint8_t *, int64_t)) const;  // of all that was taken
    void finish();  // gives back what was not taken

  private:
    uint8_t *memory_ = nullptr;
    int64_t size_ = 0, used_ = 0;
};

struct Model {
    const cpu1_kernels *kernels;
    Program program;
    std::unique_ptr<Arena> arena;
    BoundOp embed, head;
    std::vector<BoundOp> trunk;
    int64_t state_values = 0;             // of a stream, each state padded to 16
    std::vector<const BoundOp *> caches;  // attend operations
    std::vector<int64_t> head_sizes;      // distinct
    int64_t widest_input = 0;             // bytes of a prepared row
    std::string about;                    // the header's own part, JSON
    std::string tokenizer;
    int64_t weight_bytes = 0;   // of all matrices: what a step reads
    int64_t trunk_products = 0, head_products = 0;  // multiply-adds a step
    uint64_t mark = 0;  // tells models apart when states are restored
};

// Reads and checks a file; Invalid says what is wrong with it.
std::shared_ptr<const Model> load_model(const Source &source, const cpu1_kernels *kernels);

}  // namespace cpu1
