// libFuzzer on JSON, and on the programs that it may hold: words or a tree, nothing else. See docs/fuzzing.md.
#include <stdlib.h>

#include "format/errors.h"
#include "format/program.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try {
        const cpu1::Json tree = cpu1::parse_json(reinterpret_cast<const char *>(data), size);
        cpu1::read_program(tree);
    } catch (const cpu1::Invalid &refusal) {
        if (!refusal.what()[0]) abort();
    }
    return 0;
}
