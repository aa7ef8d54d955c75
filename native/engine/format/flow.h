// What a program's operations read and write, followed through a step.
#pragma once
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "format/errors.h"
#include "format/slice.h"

namespace cpu1 {

constexpr int64_t most_gates = 64;

// A set of values of a register, as sorted spans [first, last) that do not touch.
class Spans {
  public:
    void add(Slice part) {
        int64_t first = part.first, last = part.first + part.size;
        std::vector<std::pair<int64_t, int64_t>> out;
        for (const auto &[a, b] : spans_) {
            if (b < first || a > last) {
                out.push_back({a, b});
                continue;
            }
            first = std::min(first, a);
            last = std::max(last, b);
        }
        out.push_back({first, last});
        std::sort(out.begin(), out.end());
        spans_ = std::move(out);
    }
    bool has(Slice part) const {
        return std::any_of(spans_.begin(), spans_.end(), [&](auto span) {
            return span.first <= part.first && part.first + part.size <= span.second;
        });
    }
    void keep_only(const Spans &other) {
        std::vector<std::pair<int64_t, int64_t>> out;
        for (const auto &[a, b] : spans_) {
            for (const auto &[c, d] : other.spans_) {
                if (std::max(a, c) < std::min(b, d)) out.push_back({std::max(a, c), std::min(b, d)});
            }
        }
        spans_ = std::move(out);
    }

  private:
    std::vector<std::pair<int64_t, int64_t>> spans_;
};

struct Register {
    Slice where;
    Spans written, ever;
};

struct Use {
    Register *owner;
    Slice part;  // within its register
};

// What is read was written earlier in the same step, also where a gate skips. So no value of another step, stream or
// row is ever seen, and no register is larger than what tensors write.
class Flow {
  public:
    explicit Flow(std::map<std::string, Register> &registers) : registers_(registers) {}

    // Before the operation `index` of the trunk: what skipped to it has not written what was skipped.
    void join(int64_t index) {
        for (const auto &[target, written] : skips_) {
            if (target != index) continue;
            size_t i = 0;
            for (auto &entry : registers_) entry.second.written.keep_only(written[i++]);
        }
    }

    // An operation: what it reads, what it writes, and which of that it adds to. `place` is for messages.
    void pass(const std::string &place, std::vector<Use> reads, const std::vector<Use> &writes,
              const std::vector<Use> &adds) {
        for (const Use &read : reads) {
            for (const Use &write : writes) {
                const bool apart = read.owner != write.owner || read.part.first + read.part.size <= write.part.first ||
                                   write.part.first + write.part.size <= read.part.first;
                if (!apart) refuse(place + " overwrites what it reads");
            }
        }
        reads.insert(reads.end(), adds.begin(), adds.end());
        for (const Use &read : reads) {
            if (!read.owner->written.has(read.part)) refuse(place + " reads what no operation has written");
        }
        for (const Use &write : writes) {
            write.owner->written.add(write.part);
            write.owner->ever.add(write.part);
        }
    }

    // The registers of the head are those of a unit, not of the step: but for s, none is written.
    void begin_head() {
        for (auto &[name, reg] : registers_)
            if (name != "s") reg.written = {};
    }

    // The operation that just passed may go on at `target`.
    void skip(int64_t target) {
        require(static_cast<int64_t>(skips_.size()) < most_gates, "program: too many gates");
        std::vector<Spans> written;
        for (const auto &entry : registers_) written.push_back(entry.second.written);
        skips_.push_back({target, std::move(written)});
    }

    void finish() const {
        for (const auto &[name, reg] : registers_) {
            if (!reg.ever.has({0, reg.where.size}))
                refuse("program: register " + quoted(name) + " is not written whole");
        }
    }

  private:
    std::map<std::string, Register> &registers_;
    std::vector<std::pair<int64_t, std::vector<Spans>>> skips_;
};

}  // namespace cpu1
