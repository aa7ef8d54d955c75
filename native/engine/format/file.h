// A file on the disk that is read at any place.
#pragma once
#include <stdint.h>

#include "format/container.h"

namespace cpu1 {

// Its name is UTF-8 on Windows, and bytes elsewhere. Invalid says why it cannot be read.
class File : public Source {
  public:
    explicit File(const char *path);
    ~File() override;
    File(const File &) = delete;
    File &operator=(const File &) = delete;

    int64_t size() const override { return size_; }
    void read(int64_t offset, int64_t size, void *to) const override;

  private:
    intptr_t handle_;
    int64_t size_ = 0;
};

}  // namespace cpu1
