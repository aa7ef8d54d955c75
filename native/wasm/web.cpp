// The engine for web pages: one model, its texts and its archives, in types that JavaScript passes without wrapping.
//
// WebAssembly built by zig has no C++ exceptions. What the engine refuses ends the instance: `refused` throws an error
// of JavaScript's with the message, and the page makes another instance.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "api/cpu1.h"

// What pages call as `name`; the prefix keeps it apart from C functions of that name.
#define WEB(type, name) __attribute__((export_name(#name))) type web_##name

extern "C" {

__attribute__((import_module("page"), import_name("refused"))) [[noreturn]] void refused(const char *words);

void *__cxa_allocate_exception(size_t size) { return malloc(size); }
// All that the engine throws is a std::exception.
[[noreturn]] void __cxa_throw(void *thrown, void *, void (*)(void *)) {
    refused(static_cast<std::exception *>(thrown)->what());
}

}  // extern "C"

namespace {

constexpr int counts = 16;  // 2^16 for each context, as archives have it
cpu1_model *model = nullptr;
cpu1_fingerprint fingerprint;
cpu1_error error;

struct Text {
    cpu1_session *session;
    cpu1_random random;
};

std::vector<uint32_t> units_of(const uint8_t *bytes, int32_t size) { return {bytes, bytes + size}; }

// What the C interface reports by its error is thrown as well.
template <class Value>
Value checked(Value value) {
    if (!value) refused(error.text);
    return value;
}

}  // namespace

extern "C" {

WEB(void *, allocate)(int32_t size) { return malloc(static_cast<size_t>(std::max(size, 1))); }
WEB(void, release)(void *memory) { free(memory); }

// The bytes of a packed file, which stay where they are as long as the instance lives.
WEB(void, open)(const uint8_t *bytes, int32_t size) {
    model = checked(cpu1_model_borrow(bytes, size, nullptr, &error));
    fingerprint = cpu1_fingerprint_bytes(bytes, size);
}
WEB(const char *, about)() { return cpu1_model_facts(model).about; }
WEB(const char *, arithmetic)() { return cpu1_model_facts(model).arithmetic; }
WEB(int32_t, symbols)() { return static_cast<int32_t>(cpu1_model_facts(model).vocabulary); }
WEB(int32_t, is_bytes)() { return cpu1_model_facts(model).is_bytes; }

WEB(Text *, begin)(int32_t learns) {
    cpu1_session *session = checked(cpu1_session_new(model, 1, 1, &error));
    if (learns) checked(cpu1_session_learn(session, counts, &error));
    return new Text{session, cpu1_random_seed(0)};
}
WEB(void, end)(Text *text) {
    cpu1_session_close(text->session);
    delete text;
}
WEB(void, seed)(Text *text, int32_t number) { text->random = cpu1_random_seed(static_cast<uint32_t>(number)); }

WEB(void, read)(Text *text, const uint8_t *bytes, int32_t size) {
    const std::vector<uint32_t> units = units_of(bytes, size);
    const uint32_t *row = units.data();
    const int64_t count = size;
    checked(cpu1_session_advance(text->session, &row, &count, &error));
}
// nats (size): what each byte cost
WEB(void, score)(Text *text, const uint8_t *bytes, int32_t size, double *nats) {
    const std::vector<uint32_t> units = units_of(bytes, size);
    checked(cpu1_session_score(text->session, 0, units.data(), size, nats, &error));
}
// logits (symbols) of the next byte
WEB(void, logits)(Text *text, float *out) { checked(cpu1_session_logits(text->session, out, &error)); }

// Writes at most `count` bytes to `out`, fewer where the text ends; returns how many.
WEB(int32_t, generate)(Text *text, double temperature, int32_t top_k, double top_p, double min_p, int32_t count,
                       uint8_t *out) {
    const cpu1_sampling sampling = {temperature, top_k, top_p, min_p, cpu1_model_separator(model), 1};
    std::vector<uint32_t> units(static_cast<size_t>(count));
    int64_t made = 0;
    checked(cpu1_session_generate(text->session, &sampling, &text->random, count, units.data(), &made, &error));
    int32_t written = 0;
    while (written < made && units[static_cast<size_t>(written)] < 256) {
        out[written] = static_cast<uint8_t>(units[static_cast<size_t>(written)]);
        ++written;
    }
    return written;
}

// Both return the size of `*to`, which is to be released.
WEB(int32_t, compress)(const uint8_t *text, int32_t size, int32_t learns, uint8_t **to) {
    int64_t archive_size = 0;
    checked(cpu1_compress(model, &fingerprint, text, size, learns, to, &archive_size, &error));
    return static_cast<int32_t>(archive_size);
}
WEB(int32_t, decompress)(const uint8_t *archive, int32_t size, uint8_t **to) {
    int64_t text_size = 0;
    checked(cpu1_decompress(model, &fingerprint, archive, size, to, &text_size, &error));
    return static_cast<int32_t>(text_size);
}

}  // extern "C"
