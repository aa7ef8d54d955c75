// Streams of units through a model: what is read, what comes next, what it cost, and its position.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "run/coder.h"
#include "run/runner.h"
#include "run/sampling.h"

namespace cpu1 {

// Units that a stream reads.
struct Reading {
    Stream *stream;
    const uint32_t *units;
    int64_t count;
};

// A word that may come next, and its probability (completion.cpp).
struct Word {
    std::string bytes;
    double chance;
};

// Streams of its own, and the steps of streams that others hold.
class Session {
  public:
    Session(std::shared_ptr<const Model> model, int64_t streams, int threads);

    int64_t streams() const { return static_cast<int64_t>(streams_.size()); }
    const Model &model() const { return *model_; }
    Runner &runner() { return runner_; }

    // From now on all streams learn from what they read, with so many counts (learner.h). Invalid for tokens.
    void learn(int size);
    void advance(const uint32_t *const *units, const int64_t *counts);
    void logits(float *out);
    void score(int64_t stream, const uint32_t *units, int64_t count, double *nats);
    void encode(int64_t stream, const uint32_t *units, int64_t count, Encoder &encoder);
    void decode(int64_t stream, Decoder &decoder, int64_t count, uint32_t *out);
    void generate(const Sampling &sampling, Random *random, int64_t count, uint32_t *out, int64_t *made);

    void draw(int64_t stream, uint32_t unit);  // reads it as if it had drawn it
    // The `most` likeliest words, likeliest first. `in_words` (256): which bytes words are made of; `width`: how many
    // beginnings of each length are followed. Invalid for tokens.
    std::vector<Word> complete(int64_t stream, int64_t most, int64_t width, int64_t longest, const uint8_t *in_words);

    int64_t state_size(int64_t stream) const;
    void save(int64_t stream, uint8_t *to) const;
    void restore(int64_t stream, const uint8_t *from, int64_t size);

    // ---- streams that others hold ----
    Stream begin() const;  // at the start of a document
    Stream learning(Stream stream, int size) const;  // the stream, which from now on learns
    Stream restored(const uint8_t *from, int64_t size, int learner_size) const;  // learner_size 0: it does not learn
    void check_units(const uint32_t *units, int64_t count) const;
    void next_logits(const std::vector<Stream *> &streams, std::vector<float *> out);
    // A unit of a step; once the step is whole, `run` has to run it.
    void put(Stream &stream, uint32_t unit, bool own) const;
    bool is_whole(const Stream &stream) const;
    Row row(Stream &stream) const {
        return {&stream, stream.begun.data(), static_cast<int64_t>(stream.begun.size()), stream.s.data()};
    }
    // Units in the whole steps, at most so many, with which a text of units begins.
    int64_t whole_units(const uint32_t *units, int64_t count, int64_t steps) const;
    void run(const std::vector<Row> &rows);
    // Reads units; `rows` of other streams are run with them.
    void read(const std::vector<Reading> &readings, std::vector<Row> rows);

  private:
    // Units of the step that begins a text, 0 if it does not end within `count` units.
    int64_t step_size(const uint32_t *units, int64_t count) const;
    // The places at which up to so many whole steps begin, and the end of the last.
    std::vector<int64_t> whole_steps(const uint32_t *units, int64_t count, int64_t most) const;
    void take(Stream &stream, const uint32_t *step, int64_t count);
    void push(const std::vector<std::pair<Stream *, uint32_t>> &units, bool own);
    void find(const Stream &stream, uint8_t *record) const;
    void look_at(Stream &stream, uint32_t unit, bool own) const;
    const uint8_t *remembered(const uint8_t *record) const { return record + model_->memory_place; }
    void correct(Stream &stream, float *logits, const uint8_t *record) const;
    Question question(const Stream &stream, const float *ahead, const uint32_t *step, int64_t place,
                      const uint8_t *found, float *out) const;
    // Reads units; each(i, logits) of unit i, before it is read.
    using Each = std::function<void(int64_t, const float *)>;
    void predict(Stream &stream, const uint32_t *units, int64_t count, const Each &each);
    void predict_steps(Stream &stream, const uint32_t *units, const std::vector<int64_t> &places, const Each &each);
    Stream fresh() const;
    Stream &at(int64_t stream) { return streams_[static_cast<size_t>(stream)]; }

    int64_t remembered_parts() const;

    std::shared_ptr<const Model> model_;
    int learner_size_ = 0;  // of sessions that learn
    Runner runner_;
    Stream first_;  // all streams begin alike
    std::vector<Stream> streams_;
};

}  // namespace cpu1
