// Runs a model's operations on rows: consecutive steps of one stream, single steps of many, or any mix. A row's
// result does not depend on the rows beside it.
#pragma once
#include <stdint.h>

#include <array>
#include <optional>
#include <vector>

#include "learn/learner.h"
#include "run/model.h"
#include "run/pool.h"

namespace cpu1 {

// Keys and values of the steps that a later one may look at.
struct Cache {
    std::vector<float> keys, values;  // an entry is heads * padded head
    std::vector<int64_t> positions;
    int64_t dropped = 0;  // entries at the front that no later step sees
};

// The last units of whole steps, latest first; as many count as the head looks back.
using History = std::array<uint32_t, most_look_back>;
constexpr uint32_t absent = ~0u;  // before the document

constexpr History no_history() {
    History out{};
    for (size_t i = 0; i < out.size(); ++i) out[i] = absent;
    return out;
}

// The position of one stream.
struct Stream {
    std::vector<float> values;  // all states but caches
    std::vector<Cache> caches;
    int64_t position = 0;  // steps run
    std::vector<float> s;  // predicts the next step
    std::vector<float> ahead;  // what the head makes of s: slots of the decoder, or all logits
    bool looked = false;       // whether `ahead` is of this s
    Contexts contexts;             // of what tables look up
    std::optional<Recall> recall;  // the memory of the document
    std::optional<Learner> learner;  // of a session that learns
    std::vector<uint8_t> found;    // what the lookups find for the next unit
    History recent = no_history();
    std::vector<uint32_t> begun;  // units of the step that is not whole yet
};

struct Row {
    Stream *stream;
    const uint32_t *units;  // null: the start of a document
    int64_t count;          // of them
    float *s;               // where the result goes
};

// One unit to be predicted.
struct Question {
    const float *slot;  // decoder: its part of `ahead`
    History before;
    const uint8_t *found;  // what lookups found for it: a record
    float *logits;
};

struct Spent {
    int64_t nanoseconds = 0, calls = 0;
};

class Runner {
  public:
    Runner(const Model &model, int threads);

    int64_t rows() const { return capacity_; }
    const Model &model() const { return model_; }
    void steps(const std::vector<Row> &rows);
    // `ahead` of each s
    void look(const std::vector<std::pair<const float *, float *>> &pairs);
    void decode(const std::vector<Question> &questions);
    int64_t ahead_size() const;

    bool profiling = false;
    std::array<Spent, operation_count> spent{};  // by Code

  private:
    struct Input {  // a prepared input of a product
        const uint8_t *bytes;
        int64_t stride;
        const cpu1_row *row;
        int64_t rows;
    };
    struct Output {
        float *base;
        int64_t stride;
        const int32_t *slots;
        const float *bias;
        cpu1_activation activation;
        bool accumulate;
    };

    void chunk(const Row *rows, int64_t count);
    void embed(const Row &row, float *x) const;
    void embed_words(const Row *rows, int64_t count);
    void run_op(const BoundOp &bound);
    void gate(const BoundOp &bound);
    void look_up(const BoundOp &bound, const Question *question, int64_t count);
    void attend(const BoundOp &bound);
    void turn(int64_t slot);
    void activate();

    template <class Source>
    Input prepare(const Matrix &matrix, const float *gain, bool norm, int64_t count, const Source &row_at);
    void multiply(const Matrix &matrix, const Input &in, const Output &out);
    template <class Body>
    void each_row(int64_t count, int64_t cost, const Body &body);

    float *at(int64_t slot, const Slice &slice) { return registers_.data() + slot * stride_ + slice.first; }
    float *scratch(int index) { return scratch_[static_cast<size_t>(index)].data(); }

    const Model &model_;
    const cpu1_kernels &kernels_;
    Pool pool_;
    int64_t capacity_, stride_;
    std::vector<float> registers_;
    std::vector<uint8_t> prepared_;
    std::vector<cpu1_row> row_;
    std::vector<const Row *> slot_row_;
    std::vector<int64_t> position_, resume_;
    std::vector<int32_t> active_;
    std::vector<std::vector<float>> turns_;         // by head size: (slots, 2 head size)
    std::array<std::vector<float>, 3> scratch_;     // of the head, and of attention
};

}  // namespace cpu1
