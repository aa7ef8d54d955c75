// Where weights lie, and rows that are looked up.
#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "run/model.h"

namespace cpu1 {

namespace {

constexpr int64_t huge_page = 2 << 20;

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

float from_bf16(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

}  // namespace

// out += scale * row, of whatever width
void add_row(cpu1_kind kind, const uint8_t *from, float scale, int64_t width, float *out) {
    for (int64_t i = 0; i < width; ++i) {
        if (kind == CPU1_INT8) {
            out[i] += scale * static_cast<float>(static_cast<int8_t>(from[i]));
        } else if (kind == CPU1_BF16) {
            uint16_t bits;
            memcpy(&bits, from + 2 * i, sizeof bits);
            out[i] += from_bf16(bits);
        } else {
            float value;
            memcpy(&value, from + 4 * i, sizeof value);
            out[i] += value;
        }
    }
}

void Table::add_to(int64_t row, float *out) const {
    add_row(kind, rows + row * width * size_of(kind), scale ? scale[row] : 1, width, out);
}

void Table::copy_to(int64_t row, float *out) const {
    std::fill(out, out + width, 0.0f);
    add_to(row, out);
}

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
