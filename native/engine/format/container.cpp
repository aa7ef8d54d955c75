#include "format/container.h"

#include <string.h>

#include <algorithm>

#include "format/errors.h"
#include "format/json.h"

namespace cpu1 {

namespace {

constexpr int64_t largest_header = 16 << 20;
constexpr int64_t most_dimensions = 8;

class Memory : public Source {
  public:
    Memory(const void *bytes, int64_t size, bool lends)
        : bytes_(static_cast<const uint8_t *>(bytes)), size_(size), lends_(lends) {}
    int64_t size() const override { return size_; }
    void read(int64_t offset, int64_t size, void *to) const override {
        if (size > 0) memcpy(to, bytes_ + offset, static_cast<size_t>(size));
    }
    const uint8_t *lend(int64_t offset) const override { return lends_ ? bytes_ + offset : nullptr; }

  private:
    const uint8_t *bytes_;
    int64_t size_;
    bool lends_;
};

int64_t bytes_each(const std::string &place, const std::string &dtype) {
    if (dtype == "F32") return 4;
    if (dtype == "BF16") return 2;
    if (dtype == "I8" || dtype == "U8") return 1;
    refuse(place + ": unexpected type " + quoted(dtype));
}

StoredTensor read_tensor(const std::string &place, const Json &entry, int64_t data, int64_t size) {
    StoredTensor tensor;
    if (entry.kind != Json::object || entry.items.size() != 3)
        refuse(place + ": its entry is not dtype, shape and data_offsets");
    tensor.dtype = entry.get(place, "dtype", Json::string).text;
    int64_t bytes = bytes_each(place, tensor.dtype);
    const Json &shape = entry.get(place, "shape", Json::list);
    if (shape.items.size() > most_dimensions) refuse(place + ": too many dimensions");
    for (const Json &item : shape.items) {
        tensor.shape.push_back(item.whole_number(place + ": shape", 0, int64_t{1} << 40));
        if (__builtin_mul_overflow(bytes, tensor.shape.back(), &bytes)) refuse(place + ": a shape beyond all files");
    }
    const Json &offsets = entry.get(place, "data_offsets", Json::list);
    if (offsets.items.size() != 2) refuse(place + ": data_offsets are not two numbers");
    const int64_t begin = offsets.items[0].whole_number(place + ": data_offsets", 0, size - data);
    const int64_t end = offsets.items[1].whole_number(place + ": data_offsets", begin, size - data);
    if (end - begin != bytes) refuse(place + ": its shape and its bytes do not agree");
    tensor.offset = data + begin;
    tensor.bytes = bytes;
    return tensor;
}

}  // namespace

std::unique_ptr<Source> open_memory(const void *bytes, int64_t size, bool lends) {
    return std::make_unique<Memory>(bytes, size, lends);
}

Container read_container(const Source &source) {
    const int64_t size = source.size();
    require(size >= 8, "not a safetensors file, or cut short");
    uint8_t length[8];
    source.read(0, 8, length);
    uint64_t header_size = 0;
    for (int i = 7; i >= 0; --i) header_size = header_size << 8 | length[i];
    if (header_size > largest_header || static_cast<int64_t>(header_size) > size - 8)
        refuse("not a safetensors file, or cut short (header of " + std::to_string(header_size) + " bytes in " +
               std::to_string(size) + ")");
    std::string text(header_size, '\0');
    source.read(8, static_cast<int64_t>(header_size), text.data());

    const Json header = parse_json(text.data(), text.size());
    require(header.kind == Json::object, "the header is not an object");
    Container out;
    const int64_t data = 8 + static_cast<int64_t>(header_size);
    std::vector<std::pair<int64_t, int64_t>> spans;
    for (size_t i = 0; i < header.names.size(); ++i) {
        const std::string &name = header.names[i];
        if (name == "__metadata__") {
            out.about = header.items[i].get("not a model of cpu1: its header", "cpu1", Json::string).text;
            continue;
        }
        StoredTensor tensor = read_tensor("tensor " + quoted(name), header.items[i], data, size);
        spans.push_back({tensor.offset, tensor.offset + tensor.bytes});
        out.tensors.emplace(name, std::move(tensor));
    }
    // Each byte belongs to one tensor: so what is allocated stays within the file's own scale.
    std::sort(spans.begin(), spans.end());
    int64_t end = data;
    for (const auto &[first, last] : spans) {
        require(first == end, "tensors overlap or leave gaps");
        end = last;
    }
    require(end == size, "the file is cut short, or longer than its tensors");
    if (out.about.empty()) refuse("not a model of cpu1: its header has no entry cpu1");
    return out;
}

}  // namespace cpu1
