// The forms that weights have in memory.
#pragma once
#include <stdint.h>

#include <vector>

#include "kernels/kernels.h"

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

// Rows of few bits a value, as the file has them: a power of two, then the values, the first in the lowest bits.
struct PackedRows {
    int bits = 8;
    int64_t width = 0;  // values
    int64_t stride = 0;  // bytes of a row
    const uint8_t *bytes = nullptr;

    void copy_to(int64_t row, float *out) const;
};

}  // namespace cpu1
