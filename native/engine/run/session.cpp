#include "run/session.h"

#include <string.h>

#include <algorithm>

#include "format/errors.h"
#include "lookups/patches.h"

namespace cpu1 {

static_assert(most_word_units == most_words, "one rule");

// All streams begin alike: the first step of a document is run once.
Session::Session(std::shared_ptr<const Model> model, int64_t streams, int threads)
    : model_(std::move(model)), runner_(*model_, threads), first_(fresh()) {
    runner_.steps({{&first_, nullptr, 0, first_.s.data()}});
    for (int64_t i = 0; i < streams; ++i) streams_.push_back(begin());
}

Stream Session::begin() const {
    Stream stream = first_;
    stream.begun.reserve(static_cast<size_t>(model_->program.patch));
    return stream;
}

Stream Session::fresh() const {
    Stream stream;
    stream.values.resize(static_cast<size_t>(model_->state_values));
    stream.caches.resize(model_->caches.size());
    stream.s.resize(static_cast<size_t>(model_->program.width));
    stream.ahead.resize(static_cast<size_t>(runner_.ahead_size()));
    if (model_->memory) stream.recall.emplace(*model_->memory);
    stream.found.resize(static_cast<size_t>(model_->record));
    find(stream, stream.found.data());
    return stream;
}

// What the lookups find for the next unit: a record.
void Session::find(const Stream &stream, uint8_t *record) const {
    for (const BoundOp &bound : model_->lookups) {
        const Op &op = *bound.op;
        uint8_t *to = record + bound.place;
        if (op.code == Code::recall) {
            stream.recall->look(to);
            continue;
        }
        const int bits = __builtin_ctzll(static_cast<uint64_t>(op.table_size));
        for (size_t k = 0; k < op.contexts.size(); ++k) {
            const int32_t row = stream.contexts.row(op.contexts[k], static_cast<int64_t>(k), bits);
            memcpy(to + 4 * k, &row, sizeof row);
        }
    }
}

// The lookups read each unit once, in order.
void Session::look_at(Stream &stream, uint32_t unit, bool own) const {
    if (model_->lookups.empty()) return;
    stream.contexts.read(static_cast<uint8_t>(unit));
    if (stream.recall) stream.recall->read(static_cast<uint8_t>(unit), own);
}

int64_t Session::remembered_parts() const {
    return model_->memory ? static_cast<int64_t>(model_->memory->contexts.size()) + 1 : 0;
}

void Session::learn(int size) {
    for (Stream &stream : streams_) stream = learning(std::move(stream), size);
    learner_size_ = size;
}

Stream Session::learning(Stream stream, int size) const {
    require(model_->program.bytes, "learning is for models that read bytes; this one reads tokens");
    require(size >= least_counts && size <= most_counts, "a learner has 2^10 to 2^22 counts a context");
    stream.learner.emplace(*model_->kernels, remembered_parts(), size);
    return stream;
}

// The model's logits of the next unit, by what the stream has learned.
void Session::correct(Stream &stream, float *logits, const uint8_t *record) const {
    if (!stream.learner) return;
    check_finite(*model_->kernels, logits, model_->program.vocabulary);
    stream.learner->correct(logits, remembered(record));
}

void Session::check_units(const uint32_t *units, int64_t count) const {
    const uint32_t most = count ? *std::max_element(units, units + count) : 0;
    if (most >= model_->program.vocabulary)
        refuse("unit " + std::to_string(most) + " is beyond the vocabulary of " +
               std::to_string(model_->program.vocabulary));
}

// Remembers the units of a step that is now whole.
void Session::take(Stream &stream, const uint32_t *step, int64_t count) {
    History &recent = stream.recent;
    for (int64_t i = 0; i < count; ++i) {
        std::copy_backward(recent.begin(), recent.end() - 1, recent.end());
        recent[0] = step[i];
    }
    stream.looked = false;
}

// One unit more for each of some streams; the steps that become whole are run together.
void Session::push(const std::vector<std::pair<Stream *, uint32_t>> &units, bool own) {
    std::vector<Row> rows;
    for (const auto &[stream, unit] : units) {
        put(*stream, unit, own);
        if (is_whole(*stream)) rows.push_back(row(*stream));
    }
    if (!rows.empty()) run(rows);
}

// The logits of a stream that learns were asked for before.
void Session::put(Stream &stream, uint32_t unit, bool own) const {
    stream.begun.push_back(unit);
    if (stream.learner) stream.learner->learn(static_cast<uint8_t>(unit), remembered(stream.found.data()), own);
    look_at(stream, unit, own);
    if (model_->record) find(stream, stream.found.data());
}

bool Session::is_whole(const Stream &stream) const {
    const int64_t count = static_cast<int64_t>(stream.begun.size());
    if (model_->program.words) return count > 0 && ends_word(stream.begun.data(), count - 1);
    return count == model_->program.patch;
}

int64_t Session::step_size(const uint32_t *units, int64_t count) const {
    if (!model_->program.words) return count >= model_->program.patch ? model_->program.patch : 0;
    for (int64_t i = 0; i < count; ++i)
        if (ends_word(units, i)) return i + 1;
    return 0;
}

std::vector<int64_t> Session::whole_steps(const uint32_t *units, int64_t count, int64_t most) const {
    std::vector<int64_t> places = {0};
    for (int64_t step = 0; step < most; ++step) {
        const int64_t place = places.back(), size = step_size(units + place, count - place);
        if (size == 0) break;
        places.push_back(place + size);
    }
    return places;
}

int64_t Session::whole_units(const uint32_t *units, int64_t count, int64_t steps) const {
    return whole_steps(units, count, steps).back();
}

void Session::run(const std::vector<Row> &rows) {
    runner_.steps(rows);
    for (const Row &row : rows) {
        take(*row.stream, row.units, row.count);
        row.stream->begun.clear();
    }
}

void Session::advance(const uint32_t *const *units, const int64_t *counts) {
    std::vector<Reading> readings;
    for (int64_t i = 0; i < streams(); ++i) {
        check_units(units[i], counts[i]);
        readings.push_back({&at(i), units[i], counts[i]});
    }
    read(readings, {});
}

// Rows of all streams side by side, each stream's in order: as many as fit share the reading of the weights.
void Session::read(const std::vector<Reading> &readings, std::vector<Row> rows) {
    std::vector<int64_t> done(readings.size());
    std::vector<float> unused(static_cast<size_t>(model_->program.width));  // all but the last s of each stream
    for (size_t i = 0; i < readings.size(); ++i) {
        const auto [of, units, count] = readings[i];
        Stream &stream = *of;
        if (stream.learner) {  // which learns from what it would have predicted
            predict(stream, units, count, [](int64_t, const float *) {});
            done[i] = count;
        }
        while (!stream.begun.empty() && done[i] < count) push({{&stream, units[done[i]++]}}, false);
        const uint32_t *rest = units + done[i];
        const std::vector<int64_t> places = whole_steps(rest, count - done[i], count);
        for (size_t t = 0; t + 1 < places.size(); ++t) {
            const bool last = t + 2 == places.size();
            for (int64_t j = places[t]; j < places[t + 1]; ++j) look_at(stream, rest[j], false);
            rows.push_back({&stream, rest + places[t], places[t + 1] - places[t],
                            last ? stream.s.data() : unused.data()});
        }
        done[i] += places.back();
    }
    run(rows);
    for (size_t i = 0; i < readings.size(); ++i) {
        const auto [stream, units, count] = readings[i];
        if (model_->record) find(*stream, stream->found.data());
        for (; done[i] < count; ++done[i]) push({{stream, units[done[i]]}}, false);
    }
}

void Session::draw(int64_t stream, uint32_t unit) {
    check_units(&unit, 1);
    if (at(stream).learner) {
        std::vector<float> unused(static_cast<size_t>(model_->program.vocabulary));
        next_logits({&at(stream)}, {unused.data()});
    }
    push({{&at(stream), unit}}, true);
}

// Unit `place` of a step whose earlier units are `step`, after what the stream has read.
Question Session::question(const Stream &stream, const float *ahead, const uint32_t *step, int64_t place,
                           const uint8_t *found, float *out) const {
    Question q = {ahead + place * model_->head.output.inputs, {}, found, out};
    for (int64_t back = 0; back < model_->head.op->look_back; ++back) {
        const int64_t at = place - 1 - back;
        q.before[static_cast<size_t>(back)] = at >= 0 ? step[at] : stream.recent[static_cast<size_t>(-1 - at)];
    }
    return q;
}

void Session::next_logits(const std::vector<Stream *> &streams, std::vector<float *> out) {
    std::vector<std::pair<const float *, float *>> looks;
    for (Stream *stream : streams) {
        if (!stream->looked) looks.push_back({stream->s.data(), stream->ahead.data()});
        stream->looked = true;
    }
    if (!looks.empty()) runner_.look(looks);
    const int64_t vocabulary = model_->program.vocabulary;
    std::vector<Question> questions;
    for (size_t i = 0; i < streams.size(); ++i) {
        const Stream &stream = *streams[i];
        const int64_t place = static_cast<int64_t>(stream.begun.size());
        if (model_->head.op->code == Code::local_decode)
            questions.push_back(
                question(stream, stream.ahead.data(), stream.begun.data(), place, stream.found.data(), out[i]));
        else std::copy_n(stream.ahead.data() + place * vocabulary, vocabulary, out[i]);
    }
    if (!questions.empty()) runner_.decode(questions);
    for (size_t i = 0; i < streams.size(); ++i) correct(*streams[i], out[i], streams[i]->found.data());
}

void Session::logits(float *out) {
    std::vector<Stream *> all;
    std::vector<float *> rows;
    for (Stream &stream : streams_) {
        rows.push_back(out + static_cast<int64_t>(all.size()) * model_->program.vocabulary);
        all.push_back(&stream);
    }
    next_logits(all, rows);
}

void Session::score(int64_t stream, const uint32_t *units, int64_t count, double *nats) {
    predict(at(stream), units, count, [&](int64_t i, const float *logits) {
        nats[i] = model_->kernels->nats(logits, model_->program.vocabulary, units[i]);
    });
}

void Session::encode(int64_t stream, const uint32_t *units, int64_t count, Encoder &encoder) {
    Frequencies frequencies(*model_->kernels, model_->program.vocabulary);
    predict(at(stream), units, count, [&](int64_t i, const float *logits) {
        frequencies.set(logits);
        encoder.put(frequencies.share(units[i]));
    });
}

void Session::decode(int64_t index, Decoder &decoder, int64_t count, uint32_t *out) {
    Stream &stream = streams_[static_cast<size_t>(index)];
    Frequencies frequencies(*model_->kernels, model_->program.vocabulary);
    std::vector<float> logits(static_cast<size_t>(model_->program.vocabulary));
    for (int64_t i = 0; i < count; ++i) {
        next_logits({&stream}, {logits.data()});
        frequencies.set(logits.data());
        out[i] = frequencies.at(decoder.place(frequencies.total()));
        decoder.take(frequencies.share(out[i]));
        push({{&stream, out[i]}}, false);
    }
}

void Session::predict(Stream &stream, const uint32_t *units, int64_t count, const Each &each) {
    check_units(units, count);
    std::vector<float> logits(static_cast<size_t>(model_->program.vocabulary));
    for (int64_t i = 0; i < count;) {
        if (stream.begun.empty()) {
            const std::vector<int64_t> places = whole_steps(units + i, count - i, runner_.rows());
            if (places.size() > 1) {
                predict_steps(stream, units + i, places, [&](int64_t j, const float *row) { each(i + j, row); });
                i += places.back();
                continue;
            }
        }
        next_logits({&stream}, {logits.data()});
        each(i, logits.data());
        push({{&stream, units[i++]}}, false);
    }
}

// Whole steps: the trunk over all of them, then the head over all their units.
void Session::predict_steps(Stream &stream, const uint32_t *units, const std::vector<int64_t> &places,
                            const Each &each) {
    const int64_t patch = model_->program.patch, vocabulary = model_->program.vocabulary, width = model_->program.width;
    const int64_t steps = static_cast<int64_t>(places.size()) - 1;
    std::vector<float> s(static_cast<size_t>((steps + 1) * width));  // s[t] predicts step t
    std::copy(stream.s.begin(), stream.s.end(), s.begin());
    std::vector<Row> rows;
    for (int64_t t = 0; t < steps; ++t) {
        const int64_t place = places[static_cast<size_t>(t)];
        rows.push_back({&stream, units + place, places[static_cast<size_t>(t) + 1] - place, s.data() + (t + 1) * width});
    }
    runner_.steps(rows);
    std::copy_n(s.end() - width, width, stream.s.begin());

    const int64_t size = runner_.ahead_size();
    const int64_t most = std::clamp<int64_t>((1 << 20) / (size + patch * vocabulary), 1, steps);
    std::vector<float> ahead(static_cast<size_t>(most * size)), logits(static_cast<size_t>(most * patch * vocabulary));
    std::vector<uint8_t> found(static_cast<size_t>(most * patch * model_->record));
    for (int64_t first = 0; first < steps; first += most) {
        const int64_t count = std::min(most, steps - first);
        std::vector<std::pair<const float *, float *>> looks;
        for (int64_t t = 0; t < count; ++t) looks.push_back({s.data() + (first + t) * width, ahead.data() + t * size});
        runner_.look(looks);
        std::vector<Question> questions;
        const bool decodes = model_->head.op->code == Code::local_decode;
        const int64_t begin = places[static_cast<size_t>(first)];
        for (int64_t t = 0; t < count; ++t) {
            const Row &row = rows[static_cast<size_t>(first + t)];
            for (int64_t j = 0; j < row.count && decodes; ++j) {
                const int64_t place = row.units - units - begin + j;  // among the units of this round
                uint8_t *record = found.data() + place * model_->record;
                find(stream, record);
                look_at(stream, row.units[j], false);
                questions.push_back(question(stream, ahead.data() + t * size, row.units, j, record,
                                             logits.data() + place * vocabulary));
            }
            take(stream, row.units, row.count);
        }
        if (decodes) runner_.decode(questions);
        float *all = decodes ? logits.data() : ahead.data();
        for (int64_t i = 0; i < places[static_cast<size_t>(first + count)] - begin; ++i) {
            const uint8_t *record = found.data() + i * model_->record;
            correct(stream, all + i * vocabulary, record);
            each(begin + i, all + i * vocabulary);
            if (stream.learner)
                stream.learner->learn(static_cast<uint8_t>(units[begin + i]), remembered(record), false);
        }
    }
    if (model_->record) find(stream, stream.found.data());
}

void Session::generate(const Sampling &sampling, Random *random, int64_t count, uint32_t *out, int64_t *made) {
    const int64_t vocabulary = model_->program.vocabulary;
    Sampler sampler(*model_->kernels);
    std::vector<float> logits(streams_.size() * static_cast<size_t>(vocabulary));
    std::vector<Stream *> going;
    for (Stream &stream : streams_) going.push_back(&stream);
    std::fill(made, made + streams(), 0);
    for (int64_t i = 0; i < count && !going.empty(); ++i) {
        std::vector<float *> rows;
        for (size_t row = 0; row < going.size(); ++row) rows.push_back(logits.data() + row * vocabulary);
        next_logits(going, rows);
        std::vector<std::pair<Stream *, uint32_t>> drawn;
        for (size_t row = 0; row < going.size(); ++row) {
            const int64_t index = going[row] - streams_.data();
            const uint32_t unit = sampler.draw(sampling, rows[row], vocabulary, random[index]);
            if (static_cast<int64_t>(unit) == sampling.end) continue;
            out[index * count + made[index]++] = unit;
            drawn.push_back({going[row], unit});
        }
        going.clear();
        for (const auto &entry : drawn) going.push_back(entry.first);
        push(drawn, true);
    }
}

// ---- state as bytes: little-endian, as the machine has it --------------------------------------------------------

namespace {

constexpr uint64_t state_magic = 0x3265746174533143;  // "C1State2"

// A part of the state that knows how large it is, and what it cannot be.
template <class Part>
std::vector<uint8_t> saved(const Part &part) {
    std::vector<uint8_t> bytes(static_cast<size_t>(part.state_size()));
    part.save(bytes.data());
    return bytes;
}

class Writer {
  public:
    explicit Writer(uint8_t *to) : to_(to) {}
    template <class Value>
    void put(const Value *values, size_t count) {
        if (to_ && count > 0) memcpy(to_ + size_, values, count * sizeof *values);
        size_ += static_cast<int64_t>(count * sizeof *values);
    }
    template <class Value>
    void put(Value value) {
        put(&value, 1);
    }
    int64_t size() const { return size_; }

  private:
    uint8_t *to_;  // null: only counts
    int64_t size_ = 0;
};

class Taker {
  public:
    Taker(const uint8_t *from, int64_t size) : from_(from), left_(size) {}
    template <class Value>
    void get(Value *values, size_t count) {
        const int64_t bytes = static_cast<int64_t>(count * sizeof *values);
        require(bytes <= left_, "the state is cut short");
        if (bytes > 0) memcpy(values, from_, static_cast<size_t>(bytes));
        from_ += bytes;
        left_ -= bytes;
    }
    template <class Value>
    Value get() {
        Value value;
        get(&value, 1);
        return value;
    }
    int64_t left() const { return left_; }

  private:
    const uint8_t *from_;
    int64_t left_;
};

void write(const Stream &stream, const Model &model, Writer &to) {
    to.put(state_magic);
    to.put(model.mark);
    to.put(stream.position);
    to.put(stream.recent.data(), static_cast<size_t>(model.head.op->look_back));
    to.put(static_cast<uint32_t>(stream.begun.size()));
    to.put(stream.begun.data(), stream.begun.size());
    to.put(stream.s.data(), stream.s.size());
    to.put(stream.values.data(), stream.values.size());
    if (!model.lookups.empty()) to.put(stream.contexts);
    const auto put = [&](const auto &part) {
        if (!part) return;
        const std::vector<uint8_t> bytes = saved(*part);
        to.put(bytes.data(), bytes.size());
    };
    put(stream.recall);
    to.put(static_cast<uint32_t>(stream.learner.has_value()));
    put(stream.learner);
    for (const Cache &cache : stream.caches) {
        const size_t dropped = static_cast<size_t>(cache.dropped), all = cache.positions.size();
        const size_t entry = all ? cache.keys.size() / all : 0;
        to.put(static_cast<uint64_t>(all - dropped));
        to.put(cache.positions.data() + dropped, all - dropped);
        to.put(cache.keys.data() + dropped * entry, (all - dropped) * entry);
        to.put(cache.values.data() + dropped * entry, (all - dropped) * entry);
    }
}

}  // namespace

int64_t Session::state_size(int64_t stream) const {
    Writer counter(nullptr);
    write(streams_[static_cast<size_t>(stream)], *model_, counter);
    return counter.size();
}

void Session::save(int64_t stream, uint8_t *to) const {
    Writer writer(to);
    write(streams_[static_cast<size_t>(stream)], *model_, writer);
}

void Session::restore(int64_t index, const uint8_t *from, int64_t size) {
    at(index) = restored(from, size, at(index).learner ? learner_size_ : 0);
}

Stream Session::restored(const uint8_t *from, int64_t size, int learner_size) const {
    Taker taker(from, size);
    require(taker.get<uint64_t>() == state_magic, "not the state of a session");
    require(taker.get<uint64_t>() == model_->mark, "the state is of another model");
    Stream stream = fresh();
    stream.position = taker.get<int64_t>();
    require(stream.position >= 1 && stream.position < int64_t{1} << 52, "the state is damaged");
    taker.get(stream.recent.data(), static_cast<size_t>(model_->head.op->look_back));
    const uint32_t begun = taker.get<uint32_t>();
    require(begun < model_->program.patch, "the state is damaged");
    stream.begun.resize(begun);
    taker.get(stream.begun.data(), begun);
    require(!is_whole(stream), "the state is damaged");
    const auto known = [&](uint32_t unit) { return unit < model_->program.vocabulary; };
    require(std::all_of(stream.begun.begin(), stream.begun.end(), known) &&
                std::all_of(stream.recent.begin(), stream.recent.end(),
                            [&](uint32_t unit) { return unit == absent || known(unit); }),
            "the state is damaged");
    taker.get(stream.s.data(), stream.s.size());
    taker.get(stream.values.data(), stream.values.size());
    if (!model_->lookups.empty()) stream.contexts = taker.get<Contexts>();
    const auto restore_part = [&](auto &part) {
        if (!part) return;
        std::vector<uint8_t> bytes(static_cast<size_t>(part->state_size()));
        taker.get(bytes.data(), bytes.size());
        require(part->restore(bytes.data()), "the state is damaged");
    };
    restore_part(stream.recall);
    const bool learns = learner_size != 0;
    require(taker.get<uint32_t>() == static_cast<uint32_t>(learns),
            learns ? "the state is of a session that does not learn" : "the state is of a session that learns");
    if (learns) stream = learning(std::move(stream), learner_size);
    restore_part(stream.learner);
    if (model_->record) find(stream, stream.found.data());
    for (size_t i = 0; i < stream.caches.size(); ++i) {
        Cache &cache = stream.caches[i];
        const Op &op = *model_->caches[i]->op;
        const int64_t entry = op.heads * ((op.head_size + 15) / 16 * 16);
        const uint64_t entries = taker.get<uint64_t>();
        require(entries <= static_cast<uint64_t>(taker.left() / (8 * entry + 8)), "the state is cut short");
        cache.positions.resize(entries);
        cache.keys.resize(entries * static_cast<size_t>(entry));
        cache.values.resize(entries * static_cast<size_t>(entry));
        taker.get(cache.positions.data(), cache.positions.size());
        taker.get(cache.keys.data(), cache.keys.size());
        taker.get(cache.values.data(), cache.values.size());
        int64_t last = -1;
        for (const int64_t position : cache.positions) {
            require(position > last && position < stream.position, "the state is damaged");
            last = position;
        }
    }
    require(taker.left() == 0, "the state is too long");
    return stream;
}

}  // namespace cpu1
