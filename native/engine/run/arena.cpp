#include "run/arena.h"

#include "format/errors.h"
#include "kernels/kernels.h"
#include "run/pages.h"

namespace cpu1 {

namespace {

constexpr int64_t huge_page = 2 << 20;

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

// Reserves addresses; memory is used as it is taken.
Arena::Arena(int64_t most) : size_(up(most + 2 * huge_page, huge_page)) {
    memory_ = reserve_pages(size_);
    require(memory_, "no memory for the weights");
    used_ = up(reinterpret_cast<intptr_t>(memory_), huge_page) - reinterpret_cast<intptr_t>(memory_);
}

Arena::~Arena() { release_pages(memory_, size_); }

uint8_t *Arena::take(int64_t bytes) {
    uint8_t *out = memory_ + used_;
    const int64_t rounded = up(bytes, CPU1_GROUP);
    require(rounded <= size_ - used_, "the tensors take more memory than the file can account for");
    used_ += rounded;
    return out;
}

void Arena::finish() { size_ = trim_pages(memory_, size_, used_); }

}  // namespace cpu1
