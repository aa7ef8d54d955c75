#include "run/runner.h"

#include <math.h>
#include <string.h>

#include <algorithm>
#include <chrono>

#include "lookups/patches.h"

namespace cpu1 {

namespace {

constexpr int64_t most_rows = 32;             // weights are read once for that many
constexpr int64_t register_memory = 1 << 20;   // floats, for all rows together
constexpr int64_t worth_sharing = 1 << 17;     // bytes of weights times rows: about a microsecond

cpu1_activation activation_of(Activation activation) {
    switch (activation) {
        case Activation::silu:
            return CPU1_SILU;
        case Activation::relu2:
            return CPU1_RELU2;
        default:
            return CPU1_NONE;
    }
}

int64_t up16(int64_t n) { return (n + 15) / 16 * 16; }

class Clock {
  public:
    Clock(Runner &runner, Code code) : spent_(runner.profiling ? &runner.spent[static_cast<size_t>(code)] : nullptr) {
        if (spent_) begin_ = std::chrono::steady_clock::now();
    }
    ~Clock() {
        if (!spent_) return;
        const auto passed = std::chrono::steady_clock::now() - begin_;
        spent_->nanoseconds += std::chrono::duration_cast<std::chrono::nanoseconds>(passed).count();
        ++spent_->calls;
    }

  private:
    Spent *spent_;
    std::chrono::steady_clock::time_point begin_;
};

int64_t rows_for(const Model &model) {
    const int64_t fit = register_memory / std::max<int64_t>(model.program.values, 1);
    return std::clamp<int64_t>(fit, 1, most_rows);
}

}  // namespace

// A stride that is no power of two, so that the rows of a register do not share cache sets.
Runner::Runner(const Model &model, int threads)
    : model_(model), kernels_(*model.kernels), pool_(threads), capacity_(rows_for(model)),
      stride_(model.program.values + CPU1_LANES) {
    const size_t rows = static_cast<size_t>(capacity_);
    registers_.resize(rows * static_cast<size_t>(stride_));
    prepared_.resize(rows * static_cast<size_t>(model.widest_input + 64));
    row_.resize(rows);
    slot_row_.resize(rows);
    position_.resize(rows);
    resume_.resize(rows);
    active_.reserve(rows);
    for (const int64_t size : model.head_sizes) turns_.emplace_back(2 * rows * static_cast<size_t>(size));
}

void Runner::steps(const std::vector<Row> &rows) {
    const int64_t count = static_cast<int64_t>(rows.size());
    for (int64_t i = 0; i < count; i += capacity_) chunk(rows.data() + i, std::min(capacity_, count - i));
}

void Runner::chunk(const Row *rows, int64_t count) {
    for (int64_t slot = 0; slot < count; ++slot) {
        const size_t i = static_cast<size_t>(slot);
        slot_row_[i] = rows + slot;
        position_[i] = rows[slot].stream->position++;
        resume_[i] = 0;
        embed(rows[slot], at(slot, model_.program.x));
        if (!turns_.empty()) turn(slot);
    }
    if (model_.program.words) embed_words(rows, count);
    active_.resize(static_cast<size_t>(count));
    activate();
    int64_t index = 0;
    for (const BoundOp &bound : model_.trunk) {
        if (bound.joins) {
            for (int64_t slot = 0; slot < count; ++slot)
                if (resume_[static_cast<size_t>(slot)] == index) resume_[static_cast<size_t>(slot)] = 0;
            active_.resize(static_cast<size_t>(count));
            activate();
        }
        ++index;
        if (active_.empty()) continue;
        const Clock clock(*this, bound.op->code);
        run_op(bound);
    }
    for (int64_t slot = 0; slot < count; ++slot)
        memcpy(rows[slot].s, at(slot, model_.program.s), static_cast<size_t>(model_.program.width) * sizeof(float));
}

// The slots that run: those that no gate has sent ahead. `active_` holds as many entries as there are slots.
void Runner::activate() {
    const size_t count = active_.size();
    active_.clear();
    for (size_t slot = 0; slot < count; ++slot)
        if (resume_[slot] == 0) active_.push_back(static_cast<int32_t>(slot));
}

void Runner::embed(const Row &row, float *x) const {
    const BoundOp &bound = model_.embed;
    const int64_t quarter = bound.table.width, patch = model_.program.patch;
    if (bound.op->code == Code::embed_token) {
        bound.table.copy_to(row.units ? row.units[0] : 0, x);
        return;
    }
    if (!row.units) {
        memcpy(x, bound.start, static_cast<size_t>(patch * quarter) * sizeof *x);
        return;
    }
    for (int64_t j = 0; j < row.count; ++j) bound.table.copy_to(row.units[j], x + j * quarter);
    std::fill(x + row.count * quarter, x + patch * quarter, 0.0f);
    // Backwards, so that the vectors a mix looks back at are still themselves.
    for (int64_t j = patch - 1; j >= 0 && (bound.taps || bound.bias); --j) {
        for (int64_t i = 0; i < quarter; ++i) {
            float mixed = x[j * quarter + i] + (bound.bias ? bound.bias[i] : 0);
            for (int64_t back = 0; bound.taps && back <= j; ++back)
                mixed += x[(j - back) * quarter + i] * bound.taps[back * quarter + i];
            x[j * quarter + i] = mixed;
        }
    }
}

// Adds to each patch what its hash selects. The start of a document has no patch, and is run by itself.
void Runner::embed_words(const Row *rows, int64_t count) {
    if (!rows[0].units) return;
    const BoundOp &bound = model_.embed;
    const Clock clock(*this, bound.op->code);
    const int64_t width = bound.rows.width, bits = __builtin_ctzll(static_cast<uint64_t>(bound.op->table_size));
    scratch_[0].resize(static_cast<size_t>(capacity_ * width));
    for (int64_t m = 0; m < count; ++m)
        bound.rows.copy_to(patch_row(rows[m].units, rows[m].count, bits), scratch(0) + m * width);
    multiply(bound.weight,
             prepare(bound.weight, nullptr, false, count, [&](int64_t m) { return scratch(0) + m * width; }),
             {at(0, model_.program.x), stride_, nullptr, nullptr, CPU1_NONE, true});
}

// Angles in double: far into a text fp32 would have lost the fraction of a turn.
void Runner::turn(int64_t slot) {
    for (size_t i = 0; i < turns_.size(); ++i) {
        const int64_t size = model_.head_sizes[i], half = size / 2;
        float *turns = turns_[i].data() + 2 * slot * size;
        for (int64_t pair = 0; pair < half; ++pair) {
            const double rate = exp(static_cast<double>(pair) * (-log(10000.0) / static_cast<double>(half)));
            const double angle = static_cast<double>(position_[static_cast<size_t>(slot)]) * rate;
            const float cosine = static_cast<float>(cos(angle)), sine = static_cast<float>(sin(angle));
            const float matrix[4] = {cosine, -sine, sine, cosine};
            std::copy_n(matrix, 4, turns + 4 * pair);
        }
    }
}

template <class Body>
void Runner::each_row(int64_t count, int64_t cost, const Body &body) {
    if (pool_.threads() == 1 || count == 1 || count * cost < worth_sharing / 8) {
        for (int64_t m = 0; m < count; ++m) body(m);
        return;
    }
    const int shares = pool_.threads();
    pool_.run([&](int share) {
        for (int64_t m = count * share / shares; m < count * (share + 1) / shares; ++m) body(m);
    });
}

template <class Source>
Runner::Input Runner::prepare(const Matrix &matrix, const float *gain, bool norm, int64_t count, const Source &row_at) {
    const int64_t stride = up16(matrix.inputs) / 16 * cpu1_prepared(matrix.kind) + 64;
    each_row(count, matrix.inputs, [&](int64_t m) {
        kernels_.prepare[matrix.kind](row_at(m), gain, norm, matrix.inputs, prepared_.data() + m * stride,
                                      row_.data() + m);
    });
    return {prepared_.data(), stride, row_.data(), count};
}

void Runner::multiply(const Matrix &matrix, const Input &in, const Output &out) {
    cpu1_product product = {matrix.panel, matrix.groups,  matrix.outputs, nullptr,  0,
                            out.bias,     out.activation, out.accumulate, in.rows,  in.bytes,
                            in.stride,    in.row,         out.slots,      out.base, out.stride};
    const auto blocks = [&](int64_t first, int64_t last) {
        cpu1_product part = product;
        for (const Piece &piece : matrix.pieces) {
            const int64_t from = std::max(first, piece.first), to = std::min(last, piece.last);
            if (from >= to) continue;
            part.scale = piece.scale;
            part.scale_step = piece.step;
            kernels_.product[matrix.kind](&part, from, to);
        }
    };
    if (pool_.threads() == 1 || matrix.blocks * matrix.groups * CPU1_GROUP * in.rows < worth_sharing)
        return blocks(0, matrix.blocks);
    const int shares = pool_.threads();
    pool_.run([&](int share) {
        blocks(matrix.blocks * share / shares, matrix.blocks * (share + 1) / shares);
    });
}

void Runner::run_op(const BoundOp &bound) {
    const Op &op = *bound.op;
    const int64_t count = static_cast<int64_t>(active_.size());
    const auto slot_of = [&](int64_t m) { return static_cast<int64_t>(active_[static_cast<size_t>(m)]); };
    const auto in = [&](int64_t m) { return at(slot_of(m), op.in); };
    const auto out = [&](int64_t m) { return at(slot_of(m), op.out); };
    const auto state = [&](int64_t m) {
        return slot_row_[static_cast<size_t>(slot_of(m))]->stream->values.data() + bound.place;
    };
    switch (op.code) {
        case Code::rms_norm:
            each_row(count, op.in.size, [&](int64_t m) { kernels_.rms_norm(in(m), bound.gain, out(m), op.in.size); });
            break;
        case Code::ternary_linear:
        case Code::dense_linear: {
            const Input input = prepare(bound.weight, bound.gain, false, count, in);
            multiply(bound.weight, input,
                     {at(0, op.out), stride_, active_.data(), bound.bias, activation_of(op.activation), op.accumulate});
            break;
        }
        case Code::gate_scan:
            for (int64_t m = 0; m < count; ++m) kernels_.gate_scan(in(m), state(m), out(m), op.out.size);
            break;
        case Code::leaky_scan:
            for (int64_t m = 0; m < count; ++m) kernels_.leaky_scan(in(m), bound.decay, state(m), out(m), op.out.size);
            break;
        case Code::silu_mul:
            each_row(count, 4 * op.out.size, [&](int64_t m) {
                kernels_.silu_mul(at(slot_of(m), op.a), at(slot_of(m), op.b), out(m), op.out.size);
            });
            break;
        case Code::add:
            each_row(count, op.out.size, [&](int64_t m) { kernels_.add(in(m), out(m), op.out.size); });
            break;
        case Code::attend:
            attend(bound);
            break;
        case Code::delete_gate:
            gate(bound);
            break;
        default:
            break;  // embeddings and heads do not stand in the trunk
    }
}

void Runner::gate(const BoundOp &bound) {
    const Op &op = *bound.op;
    const int64_t count = static_cast<int64_t>(active_.size()), hidden = bound.up.outputs;
    scratch_[0].resize(static_cast<size_t>(capacity_ * hidden));
    const Input input =
        prepare(bound.up, nullptr, true, count, [&](int64_t m) { return at(active_[static_cast<size_t>(m)], op.in); });
    multiply(bound.up, input, {scratch(0), hidden, nullptr, bound.up_bias, CPU1_SILU, false});
    for (int64_t m = 0; m < count; ++m) {
        const float score = kernels_.dot(scratch(0) + m * hidden, bound.down_row, hidden) + bound.down_bias[0];
        if (score < 0) resume_[static_cast<size_t>(active_[static_cast<size_t>(m)])] = op.skip_to;
    }
    active_.erase(std::remove_if(active_.begin(), active_.end(),
                                 [&](int32_t slot) { return resume_[static_cast<size_t>(slot)] != 0; }),
                  active_.end());
}

void Runner::attend(const BoundOp &bound) {
    const Op &op = *bound.op;
    const int64_t padded = up16(op.head_size), entry = op.heads * padded;
    scratch_[0].resize(static_cast<size_t>(padded));
    for (const int32_t slot : active_) {
        Cache &cache = slot_row_[static_cast<size_t>(slot)]->stream->caches[static_cast<size_t>(bound.place)];
        const int64_t position = position_[static_cast<size_t>(slot)];
        while (op.segment && cache.dropped < static_cast<int64_t>(cache.positions.size()) &&
               position / op.segment - cache.positions[static_cast<size_t>(cache.dropped)] / op.segment > 1)
            ++cache.dropped;
        if (cache.dropped > 2 * op.segment || cache.dropped == static_cast<int64_t>(cache.positions.size())) {
            cache.keys.erase(cache.keys.begin(), cache.keys.begin() + cache.dropped * entry);
            cache.values.erase(cache.values.begin(), cache.values.begin() + cache.dropped * entry);
            cache.positions.erase(cache.positions.begin(), cache.positions.begin() + cache.dropped);
            cache.dropped = 0;
        }
        cache.positions.push_back(position);
        const size_t entries = cache.positions.size();
        cache.keys.resize(entries * static_cast<size_t>(entry));
        cache.values.resize(entries * static_cast<size_t>(entry));
        scratch_[1].resize(entries);
        const cpu1_attention attention = {op.heads,
                                          op.head_size,
                                          at(slot, op.in),
                                          turns_[static_cast<size_t>(bound.turns)].data() + 2 * slot * op.head_size,
                                          cache.keys.data() + cache.dropped * entry,
                                          cache.values.data() + cache.dropped * entry,
                                          padded,
                                          static_cast<int64_t>(entries) - cache.dropped,
                                          scratch(0),
                                          scratch(1),
                                          at(slot, op.out)};
        kernels_.attend(&attention);
    }
}

// ---- the head ----------------------------------------------------------------------------------------------------

int64_t Runner::ahead_size() const {
    const BoundOp &head = model_.head;
    return head.op->code == Code::patch_heads ? head.output.outputs : head.slots.outputs;
}

void Runner::look(const std::vector<std::pair<const float *, float *>> &pairs) {
    const Clock clock(*this, model_.head.op->code);
    const Matrix &matrix = model_.head.op->code == Code::patch_heads ? model_.head.output : model_.head.slots;
    const int64_t all = static_cast<int64_t>(pairs.size()), size = ahead_size();
    const int64_t most = std::clamp<int64_t>(register_memory / size, 1, capacity_);
    for (int64_t first = 0; first < all; first += most) {
        const int64_t count = std::min(most, all - first);
        const auto *pair = pairs.data() + first;
        const Input input = prepare(matrix, nullptr, false, count, [&](int64_t m) { return pair[m].first; });
        if (count == 1) {
            multiply(matrix, input, {pair[0].second, size, nullptr, nullptr, CPU1_NONE, false});
            continue;
        }
        scratch_[0].resize(static_cast<size_t>(count * size));
        multiply(matrix, input, {scratch(0), size, nullptr, nullptr, CPU1_NONE, false});
        for (int64_t m = 0; m < count; ++m)
            memcpy(pair[m].second, scratch(0) + m * size, static_cast<size_t>(size) * sizeof(float));
    }
}

// What the records of some questions say, added to the register that the decoder adds.
void Runner::look_up(const BoundOp &bound, const Question *question, int64_t count) {
    const Clock clock(*this, bound.op->code);
    const Op &op = *bound.op;
    if (op.code == Code::table_rows) {
        const int64_t width = bound.weight.inputs, contexts = static_cast<int64_t>(op.contexts.size());
        scratch_[0].resize(static_cast<size_t>(capacity_ * width));
        for (int64_t m = 0; m < count; ++m) {
            for (int64_t k = 0; k < contexts; ++k) {
                int32_t row;
                memcpy(&row, question[m].found + bound.place + k * 4, sizeof row);
                bound.rows.copy_to(row, scratch(0) + m * width + k * bound.rows.width);
            }
        }
        multiply(bound.weight,
                 prepare(bound.weight, nullptr, false, count, [&](int64_t m) { return scratch(0) + m * width; }),
                 {at(0, op.out), stride_, nullptr, nullptr, CPU1_NONE, op.accumulate});
        return;
    }
    for (int64_t m = 0; m < count; ++m) {
        float *out = at(m, op.out);
        if (!op.accumulate) std::fill_n(out, op.out.size, 0.0f);
        const cpu1_recall recall = {static_cast<int64_t>(op.contexts.size()) + 1,
                                    op.out.size,
                                    question[m].found + bound.place,
                                    bound.first,
                                    bound.second,
                                    bound.first_gains,
                                    bound.second_gains,
                                    bound.offsets,
                                    out};
        kernels_.recall(&recall);
    }
}

// x = slot + Σ back + what was looked up; x += down relu²(up norm(x) + b) + b; logits = output norm(x) + b
void Runner::decode(const std::vector<Question> &questions) {
    const BoundOp &head = model_.head;
    const int64_t width = head.output.inputs, hidden = head.up.outputs, look_back = head.op->look_back;
    const int64_t vocabulary = model_.program.vocabulary, all = static_cast<int64_t>(questions.size());
    scratch_[1].resize(static_cast<size_t>(capacity_ * hidden));
    scratch_[2].resize(static_cast<size_t>(capacity_ * vocabulary));
    const auto x = [&](int64_t m) { return scratch(0) + m * width; };
    for (int64_t first = 0; first < all; first += capacity_) {
        const int64_t count = std::min(capacity_, all - first);
        const Question *question = questions.data() + first;
        for (const BoundOp &bound : model_.lookups) look_up(bound, question, count);
        const Clock clock(*this, Code::local_decode);
        scratch_[0].resize(static_cast<size_t>(capacity_ * width));
        for (int64_t m = 0; m < count; ++m) {
            memcpy(x(m), question[m].slot, static_cast<size_t>(width) * sizeof(float));
            for (int64_t back = 0; back < look_back; ++back) {
                const uint32_t unit = question[m].before[static_cast<size_t>(back)];
                if (unit != absent) head.back.add_to(back * vocabulary + unit, x(m));
            }
            if (head.op->added.size) kernels_.add(at(m, head.op->added), x(m), width);
        }
        multiply(head.up, prepare(head.up, nullptr, true, count, x),
                 {scratch(1), hidden, nullptr, head.up_bias, CPU1_RELU2, false});
        multiply(head.down,
                 prepare(head.down, nullptr, false, count, [&](int64_t m) { return scratch(1) + m * hidden; }),
                 {scratch(0), width, nullptr, head.down_bias, CPU1_NONE, true});
        multiply(head.output, prepare(head.output, nullptr, true, count, x),
                 {scratch(2), vocabulary, nullptr, head.output_bias, CPU1_NONE, false});
        for (int64_t m = 0; m < count; ++m)
            memcpy(question[m].logits, scratch(2) + m * vocabulary, static_cast<size_t>(vocabulary) * sizeof(float));
    }
}

}  // namespace cpu1
