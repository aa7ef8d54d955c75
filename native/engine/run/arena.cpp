#include "run/arena.h"

#include <sys/mman.h>

#include "format/errors.h"
#include "kernels/kernels.h"

namespace cpu1 {

namespace {

constexpr int64_t huge_page = 2 << 20;

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

// Reserves addresses; memory is used as it is taken.
Arena::Arena(int64_t most) : size_(up(most + 2 * huge_page, huge_page)) {
    void *memory = mmap(nullptr, static_cast<size_t>(size_), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(memory != MAP_FAILED, "no memory for the weights");
    memory_ = static_cast<uint8_t *>(memory);
    used_ = up(reinterpret_cast<intptr_t>(memory_), huge_page) - reinterpret_cast<intptr_t>(memory_);
#ifdef MADV_HUGEPAGE
    madvise(memory_, static_cast<size_t>(size_), MADV_HUGEPAGE);
#endif
}

Arena::~Arena() { munmap(memory_, static_cast<size_t>(size_)); }

uint8_t *Arena::take(int64_t bytes) {
    uint8_t *out = memory_ + used_;
    const int64_t rounded = up(bytes, CPU1_GROUP);
    require(rounded <= size_ - used_, "the tensors take more memory than the file can account for");
    used_ += rounded;
    return out;
}

uint64_t Arena::mark(uint64_t (*rule)(const uint8_t *, int64_t)) const {
    const int64_t first = up(reinterpret_cast<intptr_t>(memory_), huge_page) - reinterpret_cast<intptr_t>(memory_);
    return rule(memory_ + first, used_ - first);
}

void Arena::finish() {
    const int64_t kept = up(used_, 4096);
    if (kept < size_ && munmap(memory_ + kept, static_cast<size_t>(size_ - kept)) == 0) size_ = kept;
}

}  // namespace cpu1
