#include "run/batch.h"

#include <math.h>

#include <algorithm>

#include "format/errors.h"

namespace cpu1 {

namespace {

constexpr int64_t rows_beside = 16, rows_alone = 64;  // of prompts in one step, while others write and while none does

}  // namespace

Batch::Batch(std::shared_ptr<const Model> model, int threads, std::vector<std::string> spelling)
    : model_(std::move(model)), spelling_(std::move(spelling)), pool_(threads), shares_(static_cast<size_t>(threads)) {
    require(spelling_.empty() == model_->program.bytes, "a spelling is for models that read tokens");
    require(model_->program.bytes || static_cast<int64_t>(spelling_.size()) == model_->program.vocabulary,
            "the spelling has another number of tokens than the model");
    for (Share &share : shares_) share.session = std::make_unique<Session>(model_, 0, 1);
}

void Batch::start_from(const uint8_t *state, int64_t size, int learner_size) {
    start_ = shares_[0].session->restored(state, size, learner_size);
    start_learner_ = learner_size;
}

void Batch::add(int64_t id, Task task, const uint8_t *state, int64_t size) {
    const Session &session = *shares_[0].session;
    session.check_units(task.prompt.data(), static_cast<int64_t>(task.prompt.size()));
    auto running = std::make_unique<Running>();
    running->id = id;
    if (state) {
        running->stream = session.restored(state, size, task.learner_size);
    } else if (start_) {
        require(start_learner_ == task.learner_size, start_learner_ ? "the state is of a session that learns"
                                                                    : "the state is of a session that does not learn");
        running->stream = *start_;
    } else {
        running->stream = session.begin();
        if (task.learner_size) running->stream = session.learning(std::move(running->stream), task.learner_size);
    }
    running->task = std::move(task);
    const std::lock_guard<Mutex> lock(door_);
    incoming_.push_back(std::move(running));
}

void Batch::cancel(int64_t id) {
    {
        const std::lock_guard<Mutex> lock(door_);
        leaving_.insert(id);
    }
    const std::unique_lock<Mutex> idle(steps_, std::try_to_lock);
    if (idle) join_and_leave();  // else the step that runs does it at its end
}

// Streams come in, those that have ended go, and each thread has as many as the others.
void Batch::join_and_leave() {
    std::vector<std::unique_ptr<Running>> gone;  // freed without the lock
    {
        const std::lock_guard<Mutex> lock(door_);
        for (std::unique_ptr<Running> &running : incoming_) shares_[0].streams.push_back(std::move(running));
        incoming_.clear();
        for (Share &share : shares_) {
            const auto stays = [&](const std::unique_ptr<Running> &running) {
                return running->ending == Ending::none && !leaving_.count(running->id);
            };
            const auto first = std::stable_partition(share.streams.begin(), share.streams.end(), stays);
            std::move(first, share.streams.end(), std::back_inserter(gone));
            share.streams.erase(first, share.streams.end());
        }
        leaving_.clear();
    }
    const auto fewer = [](const Share &a, const Share &b) { return a.streams.size() < b.streams.size(); };
    for (;;) {
        const auto [least, most] = std::minmax_element(shares_.begin(), shares_.end(), fewer);
        if (most->streams.size() < least->streams.size() + 2) return;
        least->streams.push_back(std::move(most->streams.back()));
        most->streams.pop_back();
    }
}

const std::vector<Written> &Batch::step(int64_t patches) {
    const std::lock_guard<Mutex> alone(steps_);
    join_and_leave();
    const auto share_of = [&](int share) {
        Share &mine = shares_[static_cast<size_t>(share)];
        try {
            work(mine, patches);
        } catch (...) {
            mine.failed = std::current_exception();
        }
    };
    if (shares_.back().streams.empty() && pool_.threads() > 1 && shares_[0].streams.size() < 2) share_of(0);
    else pool_.run(share_of);
    hand_out();
    join_and_leave();
    for (Share &share : shares_)
        if (share.failed) std::rethrow_exception(std::exchange(share.failed, nullptr));
    return pieces_;
}

void Batch::work(Share &share, int64_t patches) {
    Sampler sampler(*model_->kernels);
    std::vector<Running *> writing;
    bool reads = false;
    for (const auto &running : share.streams) {
        const bool has_read = running->read == static_cast<int64_t>(running->task.prompt.size());
        reads |= !has_read;
        if (!has_read) continue;
        if (running->task.most == 0) running->ending = Ending::limit;
        else writing.push_back(running.get());
    }
    const auto ended = [](const Running *running) { return running->ending != Ending::none; };
    const auto drop_ended = [&] {
        writing.erase(std::remove_if(writing.begin(), writing.end(), ended), writing.end());
    };
    for (int64_t patch = 0; patch < patches && (patch == 0 || !writing.empty()); ++patch) {
        for (;;) {  // each to the end of its step
            std::vector<Running *> going;
            for (Running *running : writing)
                if (!share.session->is_whole(running->stream) && !ended(running)) going.push_back(running);
            if (going.empty()) break;
            draw(share, sampler, going);
        }
        drop_ended();
        std::vector<Row> rows;
        for (Running *running : writing) rows.push_back(share.session->row(running->stream));
        std::vector<Reading> readings;
        if (patch == 0 && reads) readings = prompts(share, rows.empty() ? rows_alone : rows_beside);
        share.session->read(readings, std::move(rows));
    }
}

// One unit for each of some streams.
void Batch::draw(Share &share, Sampler &sampler, const std::vector<Running *> &streams) {
    const int64_t vocabulary = model_->program.vocabulary;
    share.logits.resize(streams.size() * static_cast<size_t>(vocabulary));
    std::vector<Stream *> each;
    std::vector<float *> rows;
    for (size_t i = 0; i < streams.size(); ++i) {
        each.push_back(&streams[i]->stream);
        rows.push_back(share.logits.data() + static_cast<int64_t>(i) * vocabulary);
    }
    share.session->next_logits(each, rows);
    for (size_t i = 0; i < streams.size(); ++i) {
        Running &running = *streams[i];
        if (!model_->kernels->finite(rows[i], vocabulary)) {
            running.ending = Ending::error;
            continue;
        }
        const uint32_t unit = sampler.draw(running.task.sampling, rows[i], vocabulary, running.task.random);
        if (static_cast<int64_t>(unit) == running.task.sampling.end) {
            running.ending = Ending::end;
            continue;
        }
        const double bits = running.task.bits ? model_->kernels->nats(rows[i], vocabulary, unit) / log(2.0) : 0;
        write(running, unit, bits);
        if (running.ending == Ending::none) share.session->put(running.stream, unit, true);
    }
}

void Batch::write(Running &running, uint32_t unit, double bits) {
    const char byte = static_cast<char>(unit);
    const char *bytes = spelling_.empty() ? &byte : spelling_[unit].data();
    const size_t all = spelling_.empty() ? 1 : spelling_[unit].size();
    const size_t size = std::min(all, static_cast<size_t>(running.task.most - running.written));
    if (running.task.bits) running.bits.insert(running.bits.end(), size, bits / static_cast<double>(all));
    running.written += static_cast<int64_t>(size);
    if (stopped(running, bytes, size)) running.ending = Ending::stop;
    else if (running.written >= running.task.most) running.ending = Ending::limit;
}

// Passes bytes on as cpu1/runtime/text.py's StopStrings; whether they end with a stop string, before which they end.
bool Batch::stopped(Running &running, const char *bytes, size_t size) {
    if (running.task.stops.empty()) {
        running.out.append(bytes, size);
        return false;
    }
    std::string &held = running.held;
    held.append(bytes, size);
    size_t end = std::string::npos, start = 0;
    for (const std::string &stop : running.task.stops) {
        const size_t at = held.find(stop);
        if (at == std::string::npos) continue;
        const size_t after = at + stop.size();
        if (after < end || (after == end && at < start)) {
            end = after;
            start = at;
        }
    }
    if (end != std::string::npos) {
        running.out.append(held, 0, start);
        held.clear();
        return true;
    }
    const auto may_grow = [&](size_t from) {
        return std::any_of(running.task.stops.begin(), running.task.stops.end(), [&](const std::string &stop) {
            return stop.size() > held.size() - from && stop.compare(0, held.size() - from, held, from) == 0;
        });
    };
    size_t safe = 0;
    while (safe < held.size() && !may_grow(safe)) ++safe;
    running.out.append(held, 0, safe);
    held.erase(0, safe);
    return false;
}

// The parts of prompts that are read next, `most` steps in all; all prompts have their turn.
std::vector<Reading> Batch::prompts(Share &share, int64_t most) const {
    std::vector<Running *> waiting;
    const size_t count = share.streams.size();
    for (size_t i = 0; i < count; ++i) {
        Running *running = share.streams[(share.turn + i) % count].get();
        if (running->read < static_cast<int64_t>(running->task.prompt.size())) waiting.push_back(running);
    }
    ++share.turn;
    const int64_t patch = model_->program.patch;
    const int64_t each = std::max<int64_t>(1, most / static_cast<int64_t>(waiting.size()));
    std::vector<Reading> readings;
    for (Running *running : waiting) {
        if (most <= 0) break;
        const int64_t left = static_cast<int64_t>(running->task.prompt.size()) - running->read;
        const uint32_t *rest = running->task.prompt.data() + running->read;
        int64_t units = std::min(left, each * patch);
        // Whole steps: the units of others are read one by one.
        if (model_->program.words && units < left && running->stream.begun.empty())
            units = share.session->whole_units(rest, units, each);
        readings.push_back({&running->stream, rest, units});
        running->read += units;
        most -= (units + patch - 1) / patch;
    }
    return readings;
}

void Batch::hand_out() {
    pieces_.clear();
    for (Share &share : shares_) {
        for (const auto &running : share.streams) {
            if (running->ending != Ending::none) running->out += std::exchange(running->held, std::string());
            if (running->out.empty() && running->ending == Ending::none) continue;
            Written piece{running->id, std::exchange(running->out, std::string()), {}, running->ending};
            if (running->task.bits) {
                const auto end = running->bits.begin() + static_cast<int64_t>(piece.bytes.size());
                piece.bits.assign(running->bits.begin(), end);
                running->bits.erase(running->bits.begin(), end);
            }
            pieces_.push_back(std::move(piece));
        }
    }
    std::sort(pieces_.begin(), pieces_.end(), [](const Written &a, const Written &b) { return a.stream < b.stream; });
}

}  // namespace cpu1
