// libFuzzer on packed files: what still loads is run. See docs/fuzzing.md.
#include <stdlib.h>

#include "tests/exercise.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cpu1_error error{};
    cpu1_model *model = cpu1_model_read(data, static_cast<int64_t>(size), nullptr, &error);
    if (!model && !error.text[0]) abort();  // refused without words
    if (!model) return 0;
    Random random(size);
    run_model(model, random);
    cpu1_model_close(model);
    return 0;
}

// Half of the time as `fuzz` does it, else libFuzzer's own changes to the header or to the whole file.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    Random random(seed);
    const std::string file(reinterpret_cast<const char *>(data), size);
    const uint64_t header = header_size(file);
    const bool whole = size > 16 && header <= size - 8;
    if (!whole || below(random, 8) == 0) return LLVMFuzzerMutate(data, size, most);
    std::string next;
    if (below(random, 2)) {
        next = mutated(file, random);
    } else {
        std::string text = file.substr(8, header);
        text.resize(header + 256);
        text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(&text[0]), header, text.size()));
        next = with_header(text, file);
    }
    if (next.size() > most) next.resize(most);
    memcpy(data, next.data(), next.size());
    return next.size();
}
