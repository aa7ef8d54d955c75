// The lookups for Python: what training and evaluation need of them outside of a session.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <vector>

#include "api/arrays.h"
#include "api/lookups_binding.h"
#include "api/without_python.h"
#include "lookups/recall.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace {

using cpu1::Contexts;
using cpu1::Recall;
using cpu1::RecallShape;

void check_contexts(const std::vector<int64_t> &contexts) {
    require(!contexts.empty() && length(contexts.size()) <= cpu1::most_contexts, "1 to 16 contexts");
    for (const int64_t context : contexts) require(context >= 1 && context <= cpu1::pair_context, "no such context");
}

RecallShape shape_of(std::vector<int64_t> contexts, int64_t slots, int64_t history, int64_t match) {
    check_contexts(contexts);
    require(slots >= 4 && slots <= 22 && history >= 8 && history <= 24 && match >= 1 && match <= cpu1::longest_order,
            "a size outside its range");
    return {std::move(contexts), slots, history, match};
}

nb::bytes save_state(const Recall &recall) {
    std::vector<uint8_t> bytes(static_cast<size_t>(recall.state_size()));
    recall.save(bytes.data());
    return nb::bytes(bytes.data(), bytes.size());
}

void restore_state(Recall &recall, nb::bytes state) {
    require(length(state.size()) == recall.state_size(), "a state of another size");
    require(recall.restore(static_cast<const uint8_t *>(state.data())), "the state is damaged");
}

void read_text(Recall &recall, Array<const uint8_t, -1> text, bool own, Array<uint8_t, -1, -1> codes) {
    require(codes.shape(0) == text.size() && length(codes.shape(1)) == recall.shape().code_size(), "a code a byte");
    const WithoutPython unlocked;
    recall.read(text.data(), length(text.size()), own, codes.data());
}

// Documents end to end, each with a memory of its own.
void codes_of(const RecallShape &shape, Array<const uint8_t, -1> text, Array<const int64_t, -1> ends,
              Array<uint8_t, -1, -1> codes) {
    require(codes.shape(0) == text.size() && length(codes.shape(1)) == shape.code_size(), "a code a byte");
    int64_t first = 0;
    for (size_t i = 0; i < ends.size(); ++i) {
        require(ends.data()[i] >= first && ends.data()[i] <= length(text.size()), "ends do not fit the text");
        first = ends.data()[i];
    }
    require(first == length(text.size()), "ends do not fit the text");
    const WithoutPython unlocked;
    first = 0;
    for (size_t i = 0; i < ends.size(); ++i) {
        Recall recall(shape);
        recall.read(text.data() + first, ends.data()[i] - first, false, codes.data() + first * shape.code_size());
        first = ends.data()[i];
    }
}

// The rows of tables that the contexts of a text select: context k's is row (k << bits) + hash.
class Tables {
  public:
    Tables(std::vector<int64_t> contexts, int64_t bits) : contexts_(std::move(contexts)), bits_(bits) {
        check_contexts(contexts_);
        require(bits >= 1 && bits <= 24, "1 to 24 bits");
    }

    void look(int32_t *row) const {
        int64_t k = 0;
        for (const int64_t context : contexts_) *row++ = read_.row(context, k++, bits_);
    }

    void look_at(Array<int32_t, -1> row) const {
        require(row.size() == contexts_.size(), "a row a context");
        look(row.data());
    }

    void read(Array<const uint8_t, -1> text, Array<int32_t, -1, -1> rows) {
        require(rows.shape(0) == text.size() && rows.shape(1) == contexts_.size(), "a row a context");
        int32_t *row = rows.data();
        const WithoutPython unlocked;
        for (size_t i = 0; i < text.size(); ++i, row += contexts_.size()) {
            look(row);
            read_.read(text.data()[i]);
        }
    }

  private:
    std::vector<int64_t> contexts_;
    int64_t bits_;
    Contexts read_;
};

}  // namespace

void bind_lookups(nb::module_ &m) {
    nb::class_<RecallShape>(m, "RecallShape")
        .def("__init__",
             [](RecallShape *self, std::vector<int64_t> contexts, int64_t slots, int64_t history, int64_t match) {
        new (self) RecallShape(shape_of(std::move(contexts), slots, history, match));
    }, "contexts"_a, "slots"_a, "history"_a, "match"_a)
        .def_prop_ro("code_size", &RecallShape::code_size);
    nb::class_<Recall>(m, "Recall")
        .def(nb::init<const RecallShape &>(), "shape"_a)
        .def("copy", [](const Recall &self) { return new Recall(self); }, nb::rv_policy::take_ownership)
        .def("read", read_text, "text"_a.noconvert(), "own"_a, "codes"_a.noconvert())
        .def("look",
             [](const Recall &self, Array<uint8_t, -1> code) {
        require(length(code.size()) == self.shape().code_size(), "a code");
        self.look(code.data());
    }, "code"_a.noconvert())
        .def("save", save_state)
        .def("restore", restore_state, "state"_a);
    m.def("recall_codes", codes_of, "shape"_a, "text"_a.noconvert(), "ends"_a.noconvert(), "codes"_a.noconvert());
    nb::class_<Tables>(m, "Tables")
        .def(nb::init<std::vector<int64_t>, int64_t>(), "contexts"_a, "bits"_a)
        .def("copy", [](const Tables &self) { return new Tables(self); }, nb::rv_policy::take_ownership)
        .def("look", &Tables::look_at, "row"_a.noconvert())
        .def("read", &Tables::read, "text"_a.noconvert(), "rows"_a.noconvert());
}
