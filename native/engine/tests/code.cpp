// The code that a packed model makes of a file, through the C interface alone: code MODEL FILE ISA > CODE
#include <stdio.h>

#include <string>
#include <vector>

#include "api/cpu1.h"

int main(int count, char **words) {
    if (count != 4) return fprintf(stderr, "code MODEL FILE ISA > CODE\n"), 2;
    cpu1_error error{};
    FILE *file = fopen(words[2], "rb");
    if (!file) return perror(words[2]), 1;
    std::vector<uint32_t> units;
    for (int byte; (byte = getc(file)) != EOF;) units.push_back(static_cast<uint32_t>(byte));
    fclose(file);

    cpu1_model *model = cpu1_model_open(words[1], words[3], &error);
    cpu1_session *session = model ? cpu1_session_new(model, 1, 1, &error) : nullptr;
    cpu1_encoder *encoder = session ? cpu1_encoder_new(&error) : nullptr;
    const uint8_t *code = nullptr;
    int64_t size = -1;
    if (encoder && cpu1_session_encode(session, 0, encoder, units.data(), static_cast<int64_t>(units.size()), &error))
        size = cpu1_encoder_finish(encoder, &code, &error);
    if (size < 0) return fprintf(stderr, "%s\n", error.text), 1;
    const bool written = fwrite(code, 1, static_cast<size_t>(size), stdout) == static_cast<size_t>(size);
    cpu1_encoder_close(encoder);
    cpu1_session_close(session);
    cpu1_model_close(model);
    return written ? 0 : 1;
}
