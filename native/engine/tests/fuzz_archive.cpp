// libFuzzer on archives: an input becomes one of this model with a true check, so that its blocks are reached; and as
// a text it must come back from its own archive. See docs/fuzzing.md.
#include <stdlib.h>

#include <algorithm>

#include "format/digest.h"
#include "tests/exercise.h"

namespace {

constexpr size_t head = 28, most_text = 128;

void open(const cpu1_model *model, const cpu1_fingerprint &of, const std::string &archive) {
    cpu1_error error{};
    uint8_t *text = nullptr;
    int64_t size = 0;
    cpu1_archive_arithmetic(archive.data(), static_cast<int64_t>(archive.size()));
    if (cpu1_decompress(model, &of, archive.data(), static_cast<int64_t>(archive.size()), &text, &size, &error))
        cpu1_free(text);
    else if (!error.text[0]) abort();
}

// Sizes are kept small: how long a block takes is up to what it says.
std::string made_valid(std::string archive, const cpu1_fingerprint &of) {
    if (archive.size() < head) return archive;
    memcpy(&archive[0], "cpu1z", 5);
    archive[6] = archive[6] & 8 ? archive[6] : 1;  // the arithmetic of the portable set
    memcpy(&archive[7], of.bytes, 8);
    uint64_t size;
    memcpy(&size, &archive[19], 8);
    if (size >> 62 == 0) size %= most_text;
    memcpy(&archive[19], &size, 8);
    cpu1::Sha256 sha;
    sha.add(reinterpret_cast<const uint8_t *>(archive.data()), static_cast<int64_t>(archive.size()));
    const auto check = sha.finish();
    return archive + std::string(reinterpret_cast<const char *>(check.data()), 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const path = CPU1_CORPUS "/packed/18.cpu1";
    static cpu1_fingerprint of;
    static cpu1_model *const model = [] {
        cpu1_error error{};
        cpu1_model *opened = cpu1_model_open(path, "portable", &error);
        if (!opened || !cpu1_fingerprint_file(path, &of, &error)) fprintf(stderr, "%s\n", error.text), abort();
        return opened;
    }();
    const std::string input(reinterpret_cast<const char *>(data), size);
    open(model, of, input);
    open(model, of, made_valid(input, of));

    const size_t count = std::min(size, size_t{24});
    uint8_t *archive = nullptr, *text = nullptr;
    int64_t archive_size = 0, text_size = 0;
    cpu1_error error{};
    if (!cpu1_compress(model, &of, data, static_cast<int64_t>(count), size & 1, &archive, &archive_size, &error) ||
        !cpu1_decompress(model, &of, archive, archive_size, &text, &text_size, &error))
        fprintf(stderr, "%s\n", error.text), abort();
    if (std::string(reinterpret_cast<char *>(text), static_cast<size_t>(text_size)) != input.substr(0, count)) abort();
    cpu1_free(archive);
    cpu1_free(text);
    return 0;
}
