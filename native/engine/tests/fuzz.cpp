// Mutated packed files through the loader, and what still loads through a short run. Every refusal must be an error
// with words; nothing may crash, hang, or allocate beyond the file's own scale. Build with CPU1_SANITIZE=ON, then:
// fuzz SEED_FILE RUNS [FIRST]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <atomic>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "api/cpu1.h"

namespace {

std::atomic<int64_t> live{0}, most{0};

double seconds() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

// A file may ask for more memory than there is; that must be an error with words as well.
extern "C" const char *__asan_default_options() { return "allocator_may_return_null=1"; }

// What the engine allocates, counted: the size is in front of each block.
void *operator new(size_t size) {
    char *block = static_cast<char *>(malloc(size + 16));
    if (!block) throw std::bad_alloc();
    memcpy(block, &size, sizeof size);
    const int64_t now = live += static_cast<int64_t>(size);
    if (now > most) most = now;
    return block + 16;
}
void *operator new(size_t size, const std::nothrow_t &) noexcept {
    try {
        return operator new(size);
    } catch (...) {
        return nullptr;
    }
}
void operator delete(void *pointer) noexcept {
    if (!pointer) return;
    char *block = static_cast<char *>(pointer) - 16;
    size_t size;
    memcpy(&size, block, sizeof size);
    live -= static_cast<int64_t>(size);
    free(block);
}
void operator delete(void *pointer, size_t) noexcept { operator delete(pointer); }
void operator delete(void *pointer, const std::nothrow_t &) noexcept { operator delete(pointer); }

namespace {

using Random = std::mt19937_64;

uint64_t below(Random &random, uint64_t n) { return random() % (n ? n : 1); }

uint64_t header_size(const std::string &file) {
    uint64_t size = 0;
    if (file.size() >= 8) memcpy(&size, file.data(), 8);
    return size;
}

std::string with_header(const std::string &header, const std::string &file) {
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char *>(&size), 8) + header + file.substr(8 + header_size(file));
}

void flip_bits(std::string &text, Random &random) {
    for (uint64_t i = below(random, 8) + 1; i > 0 && !text.empty(); --i)
        text[below(random, text.size())] ^= static_cast<char>(1 << below(random, 8));
}

// A number of the text becomes another one.
void change_number(std::string &text, Random &random) {
    static const char *const odd[] = {"0",
                                      "-1",
                                      "1",
                                      "3",
                                      "15",
                                      "16",
                                      "17",
                                      "255",
                                      "65536",
                                      "1048577",
                                      "4294967296",
                                      "9223372036854775807",
                                      "18446744073709551616",
                                      "1e300",
                                      "0.5",
                                      "null",
                                      "true",
                                      "[]",
                                      "\"x\""};
    const size_t from = text.find_first_of("0123456789", below(random, text.size()));
    if (from == std::string::npos) return;
    size_t end = from;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    const std::string small = std::to_string(below(random, 2000));
    text.replace(from, end - from, below(random, 3) ? small : odd[below(random, sizeof odd / sizeof *odd)]);
}

// A word of the text becomes another word of it.
void change_word(std::string &text, Random &random) {
    const auto word = [&](size_t &from, size_t &size) {
        from = text.find('"', below(random, text.size()));
        if (from == std::string::npos) return false;
        const size_t end = text.find('"', from + 1);
        size = end == std::string::npos ? 0 : end - from;
        return size > 0;
    };
    size_t a, a_size, b, b_size;
    if (word(a, a_size) && word(b, b_size)) text.replace(a, a_size, text.substr(b, b_size));
}

// A stretch from one brace or comma to another is taken out, or repeated.
void change_stretch(std::string &text, Random &random) {
    const size_t from = text.find_first_of("{[,", below(random, text.size()));
    const size_t end = from == std::string::npos ? from : text.find_first_of("}],", from + 1 + below(random, 200));
    if (end == std::string::npos) return;
    const std::string stretch = text.substr(from, end - from);
    if (below(random, 2)) text.erase(from, stretch.size());
    else
        for (uint64_t times = below(random, 3) ? 1 : below(random, 300); times > 0; --times) text.insert(from, stretch);
}

std::string mutated(const std::string &seed, Random &random) {
    std::string file = seed;
    const uint64_t kind = below(random, 10);
    if (kind == 0) {
        flip_bits(file, random);
    } else if (kind == 1) {
        file.resize(below(random, file.size()));
    } else if (kind == 2) {
        const uint64_t size = below(random, 2) ? random() : header_size(file) + below(random, 64) - 32;
        memcpy(file.data(), &size, 8);
    } else if (kind == 3) {
        for (uint64_t i = below(random, 64) + 1; i > 0; --i)
            file[8 + header_size(seed) + below(random, file.size() - 8 - header_size(seed))] =
                static_cast<char>(random());
    } else {
        std::string header = file.substr(8, header_size(file));
        for (uint64_t i = below(random, 4) + 1; i > 0 && !header.empty(); --i) {
            switch (below(random, 6)) {
                case 0:
                    flip_bits(header, random);
                    break;
                case 1:
                case 2:
                    change_number(header, random);
                    break;
                case 3:
                case 4:
                    change_word(header, random);
                    break;
                default:
                    change_stretch(header, random);
            }
        }
        file = with_header(header, file);
    }
    return file;
}

// Encodes, perhaps damages the code, and decodes by a stream that is elsewhere: other units, or a refusal.
void run_code(cpu1_session *session, const std::vector<uint32_t> &units, Random &random) {
    cpu1_error error{};
    const int64_t count = static_cast<int64_t>(units.size());
    cpu1_encoder *encoder = cpu1_encoder_new(&error);
    const uint8_t *code = nullptr;
    if (cpu1_session_encode(session, 0, encoder, units.data(), count, &error)) {
        const int64_t size = cpu1_encoder_finish(encoder, &code, &error);
        std::string damaged(reinterpret_cast<const char *>(code), static_cast<size_t>(size));
        if (below(random, 2)) flip_bits(damaged, random);
        std::vector<uint32_t> out(units.size());
        cpu1_decoder *decoder = cpu1_decoder_new(damaged.data(), static_cast<int64_t>(damaged.size()), &error);
        cpu1_session_decode(session, 0, decoder, count, out.data(), &error);
        cpu1_decoder_close(decoder);
    }
    cpu1_encoder_close(encoder);
}

void run_model(const cpu1_model *model, Random &random) {
    cpu1_error error{};
    const cpu1_facts facts = cpu1_model_facts(model);
    const int64_t streams = 1 + static_cast<int64_t>(below(random, 3));
    cpu1_session *session = cpu1_session_new(model, streams, 1, &error);
    if (!session) return;
    if (below(random, 2)) cpu1_session_learn(session, 10, &error);  // refused by models of tokens
    std::vector<uint32_t> units;
    for (int64_t i = 0; i < 3 * facts.patch + 1; ++i)
        units.push_back(static_cast<uint32_t>(below(random, static_cast<uint64_t>(facts.vocabulary))));
    const std::vector<const uint32_t *> rows(static_cast<size_t>(streams), units.data());
    const std::vector<int64_t> counts(static_cast<size_t>(streams), static_cast<int64_t>(units.size()));
    std::vector<double> nats(units.size());
    std::vector<uint32_t> out(static_cast<size_t>(streams * 9));
    std::vector<int64_t> made(static_cast<size_t>(streams));
    std::vector<cpu1_random> draws(static_cast<size_t>(streams), cpu1_random{{random(), random()}, {random(), 1}});
    const cpu1_sampling sampling = {0.8, static_cast<int64_t>(below(random, 5)), 0.9, 0.01, 0, 0};
    cpu1_session_advance(session, rows.data(), counts.data(), &error);
    cpu1_session_score(session, 0, units.data(), static_cast<int64_t>(units.size()), nats.data(), &error);
    cpu1_session_generate(session, &sampling, draws.data(), 9, out.data(), made.data(), &error);
    run_code(session, units, random);
    std::string state(static_cast<size_t>(cpu1_session_state_size(session, 0)), '\0');
    cpu1_session_save(session, 0, state.data());
    if (below(random, 2)) flip_bits(state, random);
    if (below(random, 4) == 0) state.resize(below(random, state.size()));
    if (cpu1_session_restore(session, streams - 1, state.data(), static_cast<int64_t>(state.size()), &error))
        cpu1_session_advance(session, rows.data(), counts.data(), &error);
    cpu1_session_close(session);
}

std::string read_all(const char *path) {
    std::string out;
    FILE *file = fopen(path, "rb");
    if (!file) return out;
    char part[65536];
    for (size_t got; (got = fread(part, 1, sizeof part, file)) > 0;) out.append(part, got);
    fclose(file);
    return out;
}

}  // namespace

int main(int count, char **words) {
    if (count < 3) return printf("fuzz SEED_FILE RUNS [FIRST]\n"), 2;
    const std::string seed = read_all(words[1]);
    const uint64_t runs = strtoull(words[2], nullptr, 10), first = count > 3 ? strtoull(words[3], nullptr, 10) : 0;
    uint64_t loaded = 0;
    double slowest = 0;
    int64_t largest = 0;
    for (uint64_t run = first; run < first + runs; ++run) {
        Random random(run);
        const std::string file = mutated(seed, random);
        const int64_t before = live;
        most = before;
        const double begin = seconds();
        cpu1_error error{};
        cpu1_model *model = cpu1_model_read(file.data(), static_cast<int64_t>(file.size()), nullptr, &error);
        if (!model && !error.text[0]) return printf("run %llu: refused without words\n", (unsigned long long)run), 1;
        const int64_t took = most - before;  // loading; a session has its own size
        if (model) {
            ++loaded;
            run_model(model, random);
            cpu1_model_close(model);
        }
        const double passed = seconds() - begin;
        slowest = passed > slowest ? passed : slowest;
        largest = took > largest ? took : largest;
        const int64_t fair = 32 * static_cast<int64_t>(file.size()) + (4 << 20);
        if (took > fair) return printf("run %llu: %lld bytes\n", (unsigned long long)run, (long long)took), 1;
        if (passed > 20) return printf("run %llu: %.1f seconds\n", (unsigned long long)run, passed), 1;
    }
    printf("%llu files, %llu of them loaded and run; slowest %.2f s, most memory to load %lld bytes\n",
           (unsigned long long)runs, (unsigned long long)loaded, slowest, (long long)largest);
    return 0;
}
