// Where weights lie.
#pragma once
#include <stdint.h>

namespace cpu1 {

// Memory for weights: aligned, on huge pages where the system has them.
class Arena {
  public:
    explicit Arena(int64_t most);
    ~Arena();
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    uint8_t *take(int64_t bytes);
    void finish();  // gives back what was not taken

  private:
    uint8_t *memory_ = nullptr;
    int64_t size_ = 0, used_ = 0;
};

}  // namespace cpu1
