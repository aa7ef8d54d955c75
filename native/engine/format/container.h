// A safetensors file (https://huggingface.co/docs/safetensors): what its header says, and its bytes on demand.
#pragma once
#include <stdint.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace cpu1 {

// Where the bytes of a file come from: the disk, or memory.
class Source {
  public:
    virtual ~Source() = default;
    virtual int64_t size() const = 0;
    virtual void read(int64_t offset, int64_t size, void *to) const = 0;  // within the size
    // The bytes from `offset` on where they stay in memory for as long as the model is used, else null.
    virtual const uint8_t *lend(int64_t) const { return nullptr; }
};
std::unique_ptr<Source> open_file(const char *path);
std::unique_ptr<Source> open_memory(const void *bytes, int64_t size, bool lends);

struct StoredTensor {
    std::string dtype;  // F32, BF16, I8, U8
    std::vector<int64_t> shape;
    int64_t offset, bytes;  // in the file
};

struct Container {
    std::map<std::string, StoredTensor> tensors;
    std::string about;  // metadata `cpu1`
};

// Invalid where the header is damaged, or where tensors overlap, leave gaps or do not fill the file.
Container read_container(const Source &source);

}  // namespace cpu1
