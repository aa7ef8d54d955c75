// libFuzzer on states of sessions: a real state with the input's changes is refused, or goes on and saves itself again.
// Memory of the document and learner are parts of it. See docs/fuzzing.md.
//
// Input: options, how many bytes are read before, those bytes, then changes: place (4 bytes), size (1 byte), bytes. A
// size above 8 cuts the state at the place instead.
#include <stdlib.h>

#include <algorithm>

#include "tests/exercise.h"

namespace {

constexpr int counts = 10;

cpu1_model *open(const char *name) {
    cpu1_error error{};
    cpu1_model *model = cpu1_model_open((std::string(CPU1_CORPUS "/packed/") + name).c_str(), nullptr, &error);
    if (!model) fprintf(stderr, "%s\n", error.text), abort();
    return model;
}

cpu1_session *session_of(const cpu1_model *model, bool learns) {
    cpu1_error error{};
    cpu1_session *session = cpu1_session_new(model, 1, 1, &error);
    if (!session || (learns && !cpu1_session_learn(session, counts, &error))) abort();
    return session;
}

std::string saved(cpu1_session *session) {
    std::string state(static_cast<size_t>(cpu1_session_state_size(session, 0)), '\0');
    cpu1_session_save(session, 0, &state[0]);
    return state;
}

bool read(cpu1_session *session, const std::string &text) {
    cpu1_error error{};
    std::vector<uint32_t> units;
    for (const char byte : text) units.push_back(static_cast<uint8_t>(byte));
    const uint32_t *row = units.data();
    const int64_t count = static_cast<int64_t>(units.size());
    if (cpu1_session_advance(session, &row, &count, &error)) return true;
    if (!error.text[0]) abort();
    return false;
}

void go_on(cpu1_session *session) {
    cpu1_error error{};
    Random random(1);
    const uint32_t units[] = {'a', 'n', 'd', ' ', 'a', 'n', 'd', ' ', 't'};
    double nats[9];
    uint32_t drawn[9];
    int64_t made;
    cpu1_random draws = cpu1_random_seed(7);
    const cpu1_sampling sampling = {0.8, 0, 1.0, 0.0, -1, 1};
    cpu1_session_score(session, 0, units, 9, nats, &error);
    cpu1_session_generate(session, &sampling, &draws, 9, drawn, &made, &error);
    run_code(session, {units, units + 9}, random);
    read(session, "once more");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static cpu1_model *const models[] = {open("18.cpu1"), open("10.cpu1"), open("19.cpu1")};
    if (size < 2) return 0;
    const bool learns = data[0] & 1;
    const cpu1_model *model = models[(data[0] >> 1) % 3];
    const size_t before = std::min<size_t>(data[1], size - 2);
    std::string text(reinterpret_cast<const char *>(data + 2), before);
    cpu1_session *session = session_of(model, learns);
    if (!read(session, text)) abort();
    std::string state = saved(session);
    for (size_t at = 2 + before; at + 5 <= size && !state.empty();) {
        uint32_t place;
        memcpy(&place, data + at, 4);
        place %= static_cast<uint32_t>(state.size());
        const size_t count = data[at + 4];
        at += 5;
        if (count > 8) {
            state.resize(place);
            continue;
        }
        for (size_t i = 0; i < count && at < size; ++i, ++at)
            state[(place + i) % state.size()] = static_cast<char>(data[at]);
    }
    cpu1_error error{};
    const std::string untouched = saved(session);
    if (cpu1_session_restore(session, 0, state.data(), static_cast<int64_t>(state.size()), &error)) {
        if (saved(session) != state) abort();  // saved again, it is the same
        go_on(session);
    } else {
        if (!error.text[0] || saved(session) != untouched) abort();  // a refusal has words, and changes nothing
        go_on(session);
    }
    cpu1_session_close(session);
    return 0;
}
