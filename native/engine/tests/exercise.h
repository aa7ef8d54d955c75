// A short run of a model, whatever file it came from. Calls may be refused, and nothing else may go wrong.
#pragma once
#include <stdint.h>
#include <stdio.h>

#include <string>
#include <vector>

#include "api/cpu1.h"
#include "tests/mutate.h"

namespace {

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
