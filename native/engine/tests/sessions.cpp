// Many sessions of one model in many threads, some with threads of their own: all say what a lone one says. Build with
// CPU1_SANITIZE_THREADS=ON, then: sessions MODEL [ROUNDS]
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "api/cpu1.h"

namespace {

constexpr int sessions = 6;
constexpr int64_t streams = 2, text = 160, drawn = 24;

std::string said(const cpu1_model *model, int threads, int learns) {
    cpu1_error error{};
    cpu1_session *session = cpu1_session_new(model, streams, threads, &error);
    if (!session) return error.text;
    std::vector<uint32_t> units;
    for (int64_t i = 0; i < text; ++i) units.push_back(static_cast<uint32_t>("the same words again "[i % 21]));
    const std::vector<const uint32_t *> rows(streams, units.data());
    const std::vector<int64_t> counts(streams, text);
    std::vector<double> nats(text);
    std::vector<uint32_t> out(streams * drawn);
    std::vector<int64_t> made(streams);
    std::vector<cpu1_random> random(streams, cpu1_random_seed(3));
    const cpu1_sampling how = {0.9, 40, 0.95, 0.0, -1, 1};
    bool fine = !learns || cpu1_session_learn(session, 10, &error);
    fine = fine && cpu1_session_advance(session, rows.data(), counts.data(), &error) &&
           cpu1_session_score(session, 1, units.data(), text, nats.data(), &error) &&
           cpu1_session_generate(session, &how, random.data(), drawn, out.data(), made.data(), &error);
    std::string state;
    if (fine) {
        state.resize(static_cast<size_t>(cpu1_session_state_size(session, 1)));
        cpu1_session_save(session, 1, &state[0]);
        fine = cpu1_session_restore(session, 0, state.data(), static_cast<int64_t>(state.size()), &error);
    }
    cpu1_session_close(session);
    if (!fine) return error.text;
    const char *const costs = reinterpret_cast<const char *>(nats.data());
    return std::string(costs, nats.size() * sizeof nats[0]) + state;
}

}  // namespace

int main(int count, char **words) {
    if (count < 2) return printf("sessions MODEL [ROUNDS]\n"), 2;
    const int rounds = count > 2 ? atoi(words[2]) : 3;
    cpu1_error error{};
    cpu1_model *model = cpu1_model_open(words[1], nullptr, &error);
    if (!model) return fprintf(stderr, "%s\n", error.text), 1;
    std::atomic<int> different{0};
    for (int learns = 0; learns < 2; ++learns) {
        std::vector<std::thread> threads;
        std::vector<std::string> all(sessions);
        for (int i = 0; i < sessions; ++i)
            threads.emplace_back([&, i] {
                for (int round = 0; round < rounds; ++round) {
                    std::string next = said(model, 1 + i % 3, learns);
                    if (round && next != all[static_cast<size_t>(i)]) ++different;
                    all[static_cast<size_t>(i)] = std::move(next);
                }
            });
        for (std::thread &thread : threads) thread.join();
        const std::string alone = said(model, 1, learns);
        for (const std::string &one : all) different += one != alone;
    }
    cpu1_model_close(model);
    printf("%d sessions, %d differ\n", 2 * sessions * rounds, different.load());
    return different ? 1 : 0;
}
