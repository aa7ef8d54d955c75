// The C interface over the classes: no exception leaves it.
#include "api/cpu1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "format/errors.h"
#include "run/archive.h"
#include "run/batch.h"
#include "run/session.h"

struct cpu1_model {
    std::shared_ptr<const cpu1::Model> model;
};
struct cpu1_session {
    cpu1::Session session;
};
struct cpu1_batch {
    cpu1::Batch batch;
    const std::vector<cpu1::Written> *pieces = nullptr;
};
struct cpu1_encoder {
    cpu1::Encoder encoder;
};
struct cpu1_decoder {
    cpu1::Decoder decoder;
};

namespace {

// Calls body(); on failure fills `error` and returns `failed`.
template <class Result, class Body>
Result guarded(cpu1_error *error, Result failed, const Body &body) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        snprintf(error->text, sizeof error->text, "not enough memory");
    } catch (const std::exception &problem) {
        snprintf(error->text, sizeof error->text, "%s", problem.what());
    }
    return failed;
}

const cpu1_kernels *find_kernels(const char *isa) {
    const char *forced = isa ? isa : getenv("CPU1_ISA");
    const cpu1_kernels *kernels = cpu1_kernels_find(forced && *forced ? forced : nullptr);
    if (!kernels)
        cpu1::refuse("CPU1_ISA: no instruction set " + cpu1::quoted(forced) + " on this machine; it has " +
                     cpu1_kernels_names());
    return kernels;
}

cpu1::Sampling sampling_of(const cpu1_sampling &how) {
    return {how.temperature, how.top_k, how.top_p, how.min_p, how.end, how.may_end != 0};
}

cpu1_model *load(std::unique_ptr<cpu1::Source> source, const char *isa) {
    return new cpu1_model{cpu1::load_model(*source, find_kernels(isa))};
}

cpu1_fingerprint outside(const cpu1::Fingerprint &fingerprint) {
    cpu1_fingerprint out;
    std::copy(fingerprint.begin(), fingerprint.end(), out.bytes);
    return out;
}

cpu1::Fingerprint inside(const cpu1_fingerprint &fingerprint) {
    cpu1::Fingerprint out;
    std::copy(fingerprint.bytes, fingerprint.bytes + out.size(), out.begin());
    return out;
}

// Bytes of the caller's, who frees them.
int hand_over(const std::vector<uint8_t> &from, uint8_t **to, int64_t *size) {
    *to = static_cast<uint8_t *>(malloc(from.empty() ? 1 : from.size()));
    if (!*to) throw std::bad_alloc();
    std::copy(from.begin(), from.end(), *to);
    *size = static_cast<int64_t>(from.size());
    return 1;
}

}  // namespace

int cpu1_version(void) { return 1000 * CPU1_MAJOR + CPU1_MINOR; }

cpu1_model *cpu1_model_open(const char *path, const char *isa, cpu1_error *error) {
    return guarded(error, static_cast<cpu1_model *>(nullptr), [&] { return load(cpu1::open_file(path), isa); });
}

cpu1_model *cpu1_model_read(const void *bytes, int64_t size, const char *isa, cpu1_error *error) {
    return guarded(error, static_cast<cpu1_model *>(nullptr),
                   [&] { return load(cpu1::open_memory(bytes, size, false), isa); });
}

cpu1_model *cpu1_model_borrow(const void *bytes, int64_t size, const char *isa, cpu1_error *error) {
    return guarded(error, static_cast<cpu1_model *>(nullptr),
                   [&] { return load(cpu1::open_memory(bytes, size, true), isa); });
}

void cpu1_model_close(cpu1_model *model) { delete model; }

cpu1_facts cpu1_model_facts(const cpu1_model *model) {
    const cpu1::Model &m = *model->model;
    return {
        m.program.bytes,       m.program.patch,       m.program.vocabulary, m.program.width,
        m.program.separator(), m.about.c_str(),       m.tokenizer.data(),   static_cast<int64_t>(m.tokenizer.size()),
        m.kernels->isa,        m.kernels->arithmetic, m.weight_bytes,       m.trunk_products,
        m.head_products};
}

int64_t cpu1_model_separator(const cpu1_model *model) { return model->model->program.separator(); }

cpu1_session *cpu1_session_new(const cpu1_model *model, int64_t streams, int threads, cpu1_error *error) {
    return guarded(error, static_cast<cpu1_session *>(nullptr), [&] {
        cpu1::require(streams >= 1 && streams <= 65536, "streams must be a number from 1 to 65536");
        cpu1::require(threads >= 1 && threads <= 256, "threads must be a number from 1 to 256");
        return new cpu1_session{cpu1::Session(model->model, streams, threads)};
    });
}

void cpu1_session_close(cpu1_session *session) { delete session; }

int cpu1_session_learn(cpu1_session *session, int size, cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.learn(size), 1; });
}

int cpu1_session_advance(cpu1_session *session, const uint32_t *const *units, const int64_t *counts,
                         cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.advance(units, counts), 1; });
}

int cpu1_session_logits(cpu1_session *session, float *logits, cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.logits(logits), 1; });
}

int cpu1_session_score(cpu1_session *session, int64_t stream, const uint32_t *units, int64_t count, double *nats,
                       cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.score(stream, units, count, nats), 1; });
}

int cpu1_session_generate(cpu1_session *session, const cpu1_sampling *sampling, cpu1_random *random, int64_t count,
                          uint32_t *out, int64_t *made, cpu1_error *error) {
    return guarded(error, 0, [&] {
        const cpu1::Sampling how = sampling_of(*sampling);
        std::vector<cpu1::Random> draws(static_cast<size_t>(session->session.streams()));
        memcpy(draws.data(), random, draws.size() * sizeof *random);
        session->session.generate(how, draws.data(), count, out, made);
        memcpy(random, draws.data(), draws.size() * sizeof *random);
        return 1;
    });
}

cpu1_random cpu1_random_seed(uint64_t seed) {
    const cpu1::Random random = cpu1::seeded(seed);
    cpu1_random out;
    memcpy(&out, &random, sizeof out);
    return out;
}

int cpu1_session_draw(cpu1_session *session, int64_t stream, uint32_t unit, cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.draw(stream, unit), 1; });
}

int64_t cpu1_session_complete(cpu1_session *session, int64_t stream, int64_t most, int64_t width, int64_t longest,
                              const uint8_t *in_words, cpu1_word *words, cpu1_error *error) {
    return guarded(error, int64_t{-1}, [&] {
        cpu1::require(longest >= 1 && longest <= CPU1_LONGEST_WORD, "a word has 1 to 256 bytes");
        cpu1::require(most >= 1 && width >= 1 && width <= 1024, "a beam has 1 to 1024 beginnings");
        const std::vector<cpu1::Word> found = session->session.complete(stream, most, width, longest, in_words);
        for (const cpu1::Word &word : found) {
            memcpy(words->bytes, word.bytes.data(), word.bytes.size());
            words->size = static_cast<int64_t>(word.bytes.size());
            words++->probability = word.chance;
        }
        return static_cast<int64_t>(found.size());
    });
}

cpu1_batch *cpu1_batch_new(const cpu1_model *model, int threads, const uint8_t *const *spelling, const int64_t *sizes,
                           cpu1_error *error) {
    return guarded(error, static_cast<cpu1_batch *>(nullptr), [&] {
        cpu1::require(threads >= 1 && threads <= 256, "threads must be a number from 1 to 256");
        std::vector<std::string> tokens;
        for (int64_t i = 0; spelling && i < model->model->program.vocabulary; ++i)
            tokens.emplace_back(reinterpret_cast<const char *>(spelling[i]), static_cast<size_t>(sizes[i]));
        return new cpu1_batch{{model->model, threads, std::move(tokens)}};
    });
}

void cpu1_batch_close(cpu1_batch *batch) { delete batch; }

int cpu1_batch_start_from(cpu1_batch *batch, const void *state, int64_t size, int learn, cpu1_error *error) {
    return guarded(error, 0,
                   [&] { return batch->batch.start_from(static_cast<const uint8_t *>(state), size, learn), 1; });
}

int cpu1_batch_add(cpu1_batch *batch, int64_t stream, const cpu1_task *task, cpu1_error *error) {
    return guarded(error, 0, [&] {
        cpu1::Task made;
        made.prompt.assign(task->prompt, task->prompt + task->prompt_size);
        made.most = task->most;
        for (int64_t i = 0; i < task->stop_count; ++i) {
            cpu1::require(task->stop_sizes[i] > 0, "a stop string is empty");
            made.stops.emplace_back(reinterpret_cast<const char *>(task->stops[i]),
                                    static_cast<size_t>(task->stop_sizes[i]));
        }
        made.sampling = sampling_of(task->sampling);
        memcpy(&made.random, &task->random, sizeof made.random);
        made.learner_size = task->learn;
        made.bits = task->bits != 0;
        batch->batch.add(stream, std::move(made), static_cast<const uint8_t *>(task->state), task->state_size);
        return 1;
    });
}

int cpu1_batch_cancel(cpu1_batch *batch, int64_t stream, cpu1_error *error) {
    return guarded(error, 0, [&] { return batch->batch.cancel(stream), 1; });
}

int64_t cpu1_batch_step(cpu1_batch *batch, int64_t patches, cpu1_error *error) {
    return guarded(error, int64_t{-1}, [&] {
        batch->pieces = &batch->batch.step(patches);
        return static_cast<int64_t>(batch->pieces->size());
    });
}

cpu1_piece cpu1_batch_piece(const cpu1_batch *batch, int64_t index) {
    const cpu1::Written &piece = (*batch->pieces)[static_cast<size_t>(index)];
    return {piece.stream, reinterpret_cast<const uint8_t *>(piece.bytes.data()),
            static_cast<int64_t>(piece.bytes.size()), piece.bits.empty() ? nullptr : piece.bits.data(),
            static_cast<cpu1_ending>(piece.ending)};
}

cpu1_encoder *cpu1_encoder_new(cpu1_error *error) {
    return guarded(error, static_cast<cpu1_encoder *>(nullptr), [] { return new cpu1_encoder; });
}

void cpu1_encoder_close(cpu1_encoder *encoder) { delete encoder; }

int64_t cpu1_encoder_finish(cpu1_encoder *encoder, const uint8_t **code, cpu1_error *error) {
    return guarded(error, int64_t{-1}, [&] {
        const std::vector<uint8_t> &all = encoder->encoder.finish();
        *code = all.data();
        return static_cast<int64_t>(all.size());
    });
}

cpu1_decoder *cpu1_decoder_new(const void *code, int64_t size, cpu1_error *error) {
    return guarded(error, static_cast<cpu1_decoder *>(nullptr),
                   [&] { return new cpu1_decoder{cpu1::Decoder(static_cast<const uint8_t *>(code), size)}; });
}

void cpu1_decoder_close(cpu1_decoder *decoder) { delete decoder; }

int cpu1_session_encode(cpu1_session *session, int64_t stream, cpu1_encoder *encoder, const uint32_t *units,
                        int64_t count, cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.encode(stream, units, count, encoder->encoder), 1; });
}

int cpu1_session_decode(cpu1_session *session, int64_t stream, cpu1_decoder *decoder, int64_t count, uint32_t *out,
                        cpu1_error *error) {
    return guarded(error, 0, [&] { return session->session.decode(stream, decoder->decoder, count, out), 1; });
}

int cpu1_fingerprint_file(const char *path, cpu1_fingerprint *out, cpu1_error *error) {
    return guarded(error, 0, [&] { return *out = outside(cpu1::fingerprint_of(*cpu1::open_file(path))), 1; });
}

cpu1_fingerprint cpu1_fingerprint_bytes(const void *file, int64_t size) {
    return outside(cpu1::fingerprint_of(*cpu1::open_memory(file, size, true)));
}

int cpu1_compress(const cpu1_model *model, const cpu1_fingerprint *fingerprint, const void *text, int64_t size,
                  int learn, uint8_t **archive, int64_t *archive_size, cpu1_error *error) {
    return guarded(error, 0, [&] {
        const uint8_t *from = static_cast<const uint8_t *>(text);
        return hand_over(cpu1::compress(model->model, inside(*fingerprint), from, size, learn != 0), archive,
                         archive_size);
    });
}

int cpu1_decompress(const cpu1_model *model, const cpu1_fingerprint *fingerprint, const void *archive, int64_t size,
                    uint8_t **text, int64_t *text_size, cpu1_error *error) {
    return guarded(error, 0, [&] {
        const uint8_t *from = static_cast<const uint8_t *>(archive);
        return hand_over(cpu1::decompress(model->model, inside(*fingerprint), from, size), text, text_size);
    });
}

const char *cpu1_archive_arithmetic(const void *archive, int64_t size) {
    return cpu1::arithmetic_of(static_cast<const uint8_t *>(archive), size);
}

void cpu1_free(void *bytes) { free(bytes); }

int64_t cpu1_session_state_size(cpu1_session *session, int64_t stream) { return session->session.state_size(stream); }

void cpu1_session_save(cpu1_session *session, int64_t stream, void *bytes) {
    session->session.save(stream, static_cast<uint8_t *>(bytes));
}

int cpu1_session_restore(cpu1_session *session, int64_t stream, const void *bytes, int64_t size, cpu1_error *error) {
    return guarded(error, 0,
                   [&] { return session->session.restore(stream, static_cast<const uint8_t *>(bytes), size), 1; });
}

int cpu1_session_profile(cpu1_session *session, int on, cpu1_profile_row *rows, int most) {
    cpu1::Runner &runner = session->session.runner();
    if (on >= 0) {
        runner.profiling = on;
        runner.spent = {};
    }
    int count = 0;
    const auto &table = cpu1::operations();
    for (size_t i = 0; i < table.size() && count < most; ++i) {
        const cpu1::Spent &spent = runner.spent[i];
        if (spent.calls) rows[count++] = {table[i].name, spent.nanoseconds, spent.calls};
    }
    return count;
}

const char *cpu1_operations(void) {
    static const std::string names = cpu1::operation_names();
    return names.c_str();
}

const char *cpu1_isas(void) { return cpu1_kernels_names(); }

const char *cpu1_arithmetic(const char *isa) {
    const cpu1_kernels *kernels = cpu1_kernels_find(isa);
    return kernels ? kernels->arithmetic : nullptr;
}

const char *cpu1_isa_of(const char *arithmetic) {
    static const std::vector<std::string> sets = [] {
        std::vector<std::string> out;
        std::string all = cpu1_kernels_names(), name;
        for (const char c : all + ",") {
            if (c != ',') name += c;
            else out.push_back(std::move(name)), name.clear();
        }
        return out;
    }();
    for (const std::string &isa : sets)
        if (!strcmp(cpu1_kernels_find(isa.c_str())->arithmetic, arithmetic)) return isa.c_str();
    return nullptr;
}
