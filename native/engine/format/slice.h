// A part of a step's registers.
#pragma once
#include <stdint.h>

namespace cpu1 {

// `size` values of the registers' memory from `first` on.
struct Slice {
    int64_t first = 0, size = 0;
};

}  // namespace cpu1
