// The engine for Python: arrays go in and come out as they are (a wrong type is an error, not a copy), failures are
// ValueErrors, and other threads run meanwhile.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <mutex>
#include <tuple>

#include <nanobind/stl/tuple.h>

#include "api/alone.h"
#include "api/arrays.h"
#include "api/cpu1.h"
#include "api/interpreters.h"
#include "api/lookups_binding.h"
#include "api/without_python.h"
#include "kernels/kernels.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace {

[[noreturn]] void fail(const cpu1_error &error) { throw nb::value_error(error.text); }

class Model {
  public:
    Model(cpu1_model *model, const cpu1_error &error) : model_(model) {
        if (!model_) fail(error);
    }
    ~Model() { cpu1_model_close(model_); }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;
    const cpu1_model *get() const { return model_; }
    cpu1_facts facts() const { return cpu1_model_facts(model_); }

  private:
    cpu1_model *model_;
};

Model *open_model(nb::bytes path, const std::string &isa) {  // names of files are bytes, of any encoding
    const std::string name(path.c_str(), path.size());
    const WithoutPython unlocked;
    cpu1_error error{};
    return new Model(cpu1_model_open(name.c_str(), isa.empty() ? nullptr : isa.c_str(), &error), error);
}

Model *read_model(nb::bytes bytes) {
    const char *data = bytes.c_str();
    const int64_t size = length(bytes.size());
    const WithoutPython unlocked;
    cpu1_error error{};
    return new Model(cpu1_model_read(data, size, nullptr, &error), error);
}

nb::bytes about_of(const Model &model) {
    const std::string about = model.facts().about;
    return nb::bytes(about.data(), about.size());
}

nb::bytes tokenizer_of(const Model &model) {
    const cpu1_facts facts = model.facts();
    return nb::bytes(facts.tokenizer, static_cast<size_t>(facts.tokenizer_size));
}

// A code is used by one thread at a time: in a call of a session, or in its own `finish`.
class Encoder {
  public:
    Encoder() : encoder_(cpu1_encoder_new(&error_)) {
        if (!encoder_) fail(error_);
    }
    ~Encoder() {
        if (!alone.abandoned()) cpu1_encoder_close(encoder_);
    }
    Encoder(const Encoder &) = delete;
    Encoder &operator=(const Encoder &) = delete;
    cpu1_encoder *get() const { return encoder_; }
    Alone alone;

    nb::bytes finish() {
        const uint8_t *code = nullptr;
        const std::lock_guard<Alone> only(alone);
        const int64_t size = cpu1_encoder_finish(encoder_, &code, &error_);
        if (size < 0) fail(error_);
        return nb::bytes(code, static_cast<size_t>(size));
    }

  private:
    cpu1_error error_{};
    cpu1_encoder *encoder_;
};

class Decoder {
  public:
    explicit Decoder(nb::bytes code) : decoder_(cpu1_decoder_new(code.c_str(), length(code.size()), &error_)) {
        if (!decoder_) fail(error_);
    }
    ~Decoder() {
        if (!alone.abandoned()) cpu1_decoder_close(decoder_);
    }
    Decoder(const Decoder &) = delete;
    Decoder &operator=(const Decoder &) = delete;
    cpu1_decoder *get() const { return decoder_; }
    Alone alone;

  private:
    cpu1_error error_{};
    cpu1_decoder *decoder_;
};

class Session {
  public:
    Session(const Model &model, int64_t streams, int threads) : facts_(model.facts()), streams_(streams) {
        const WithoutPython unlocked;
        cpu1_error error{};
        session_ = cpu1_session_new(model.get(), streams, threads, &error);
        if (!session_) fail(error);
    }
    ~Session() {
        if (!alone_.abandoned()) cpu1_session_close(session_);
    }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    void learn(int size) {
        call([&](cpu1_error *e) { return cpu1_session_learn(session_, size, e); });
    }

    void advance(Array<const uint32_t, -1> units, Array<const int64_t, -1> counts) {
        require(length(counts.size()) == streams_, "one count a stream");
        std::vector<const uint32_t *> each;
        int64_t used = 0;
        for (int64_t i = 0; i < streams_; ++i) {
            const int64_t left = length(units.size()) - used;
            require(counts.data()[i] >= 0 && counts.data()[i] <= left, "counts do not fit the units");
            each.push_back(units.data() + used);
            used += counts.data()[i];
        }
        call([&](cpu1_error *e) { return cpu1_session_advance(session_, each.data(), counts.data(), e); });
    }

    void logits(Array<float, -1, -1> out) {
        require(length(out.shape(0)) == streams_ && length(out.shape(1)) == facts_.vocabulary, "a row a stream");
        call([&](cpu1_error *e) { return cpu1_session_logits(session_, out.data(), e); });
    }

    void score(int64_t stream, Array<const uint32_t, -1> units, Array<double, -1> nats) {
        check_stream(stream);
        require(units.size() == nats.size(), "a number a unit");
        call([&](cpu1_error *e) {
            return cpu1_session_score(session_, stream, units.data(), length(units.size()), nats.data(), e);
        });
    }

    void generate(double temperature, int64_t top_k, double top_p, double min_p, int64_t end, bool may_end,
                  Array<uint64_t, -1, 4> random, Array<uint32_t, -1, -1> out, Array<int64_t, -1> made) {
        require(
            length(random.shape(0)) == streams_ && length(out.shape(0)) == streams_ && length(made.size()) == streams_,
            "a row a stream");
        const cpu1_sampling sampling = {temperature, top_k, top_p, min_p, end, may_end};
        std::vector<cpu1_random> states;
        for (int64_t i = 0; i < streams_; ++i) {
            const uint64_t *r = random.data() + 4 * i;
            states.push_back({{r[0], r[1]}, {r[2], r[3]}});
        }
        call([&](cpu1_error *e) {
            return cpu1_session_generate(session_, &sampling, states.data(), length(out.shape(1)), out.data(),
                                         made.data(), e);
        });
        for (int64_t i = 0; i < streams_; ++i) {
            random.data()[4 * i] = states[static_cast<size_t>(i)].state[0];
            random.data()[4 * i + 1] = states[static_cast<size_t>(i)].state[1];
        }
    }

    void draw(int64_t stream, uint32_t unit) {
        check_stream(stream);
        call([&](cpu1_error *e) { return cpu1_session_draw(session_, stream, unit, e); });
    }

    std::vector<std::tuple<nb::bytes, double>> complete(int64_t stream, int64_t most, int64_t width, int64_t longest,
                                                        Array<const uint8_t, 256> in_words) {
        check_stream(stream);
        require(most >= 1 && most <= 1024, "1 to 1024 words");
        std::vector<cpu1_word> words(static_cast<size_t>(most));
        int64_t count = 0;
        call([&](cpu1_error *e) {
            count = cpu1_session_complete(session_, stream, most, width, longest, in_words.data(), words.data(), e);
            return count >= 0;
        });
        std::vector<std::tuple<nb::bytes, double>> out;
        for (int64_t i = 0; i < count; ++i) {
            const cpu1_word &word = words[static_cast<size_t>(i)];
            out.emplace_back(nb::bytes(word.bytes, static_cast<size_t>(word.size)), word.probability);
        }
        return out;
    }

    void encode(int64_t stream, Array<const uint32_t, -1> units, Encoder &encoder) {
        check_stream(stream);
        call([&](cpu1_error *e) {
            const std::lock_guard<Alone> only(encoder.alone);
            return cpu1_session_encode(session_, stream, encoder.get(), units.data(), length(units.size()), e);
        });
    }

    void decode(int64_t stream, Decoder &decoder, Array<uint32_t, -1> out) {
        check_stream(stream);
        call([&](cpu1_error *e) {
            const std::lock_guard<Alone> only(decoder.alone);
            return cpu1_session_decode(session_, stream, decoder.get(), length(out.size()), out.data(), e);
        });
    }

    nb::bytes save(int64_t stream) {
        check_stream(stream);
        std::vector<char> bytes;
        call([&](cpu1_error *) {
            bytes.resize(static_cast<size_t>(cpu1_session_state_size(session_, stream)));
            cpu1_session_save(session_, stream, bytes.data());
            return 1;
        });
        return nb::bytes(bytes.data(), bytes.size());
    }

    void restore(int64_t stream, nb::bytes bytes) {
        check_stream(stream);
        const char *data = bytes.c_str();
        const int64_t size = length(bytes.size());
        call([&](cpu1_error *e) { return cpu1_session_restore(session_, stream, data, size, e); });
    }

    std::vector<std::tuple<std::string, int64_t, int64_t>> profile(int on) {
        const std::string names = cpu1_operations();
        std::vector<cpu1_profile_row> rows(1 + static_cast<size_t>(std::count(names.begin(), names.end(), ',')));
        int count = 0;
        call([&](cpu1_error *) {
            count = cpu1_session_profile(session_, on, rows.data(), static_cast<int>(rows.size()));
            return 1;
        });
        std::vector<std::tuple<std::string, int64_t, int64_t>> out;
        rows.resize(static_cast<size_t>(count));
        for (const cpu1_profile_row &row : rows) out.emplace_back(row.operation, row.nanoseconds, row.calls);
        return out;
    }

  private:
    void check_stream(int64_t stream) const { require(stream >= 0 && stream < streams_, "no such stream"); }

    // One thread at a time in a session, and none of them holding Python's lock.
    template <class Body>
    void call(const Body &body) {
        const WithoutPython unlocked;
        const std::lock_guard<Alone> only(alone_);
        cpu1_error error{};
        if (!body(&error)) fail(error);
    }

    cpu1_session *session_ = nullptr;
    cpu1_facts facts_;
    int64_t streams_;
    Alone alone_;
};

class Batch {
  public:
    Batch(const Model &model, int threads, const std::vector<nb::bytes> &spelling) {
        std::vector<const uint8_t *> tokens;
        std::vector<int64_t> sizes;
        require(spelling.empty() || length(spelling.size()) == model.facts().vocabulary, "a spelling of each token");
        for (const nb::bytes &token : spelling) {
            tokens.push_back(reinterpret_cast<const uint8_t *>(token.c_str()));
            sizes.push_back(length(token.size()));
        }
        cpu1_error error{};
        batch_ = cpu1_batch_new(model.get(), threads, tokens.empty() ? nullptr : tokens.data(), sizes.data(), &error);
        if (!batch_) fail(error);
    }
    ~Batch() { cpu1_batch_close(batch_); }
    Batch(const Batch &) = delete;
    Batch &operator=(const Batch &) = delete;

    void start_from(nb::bytes state, int learn) {
        const char *data = state.c_str();
        const int64_t size = length(state.size());
        call([&](cpu1_error *e) { return cpu1_batch_start_from(batch_, data, size, learn, e); });
    }

    void add(int64_t stream, Array<const uint32_t, -1> prompt, int64_t most, const std::vector<nb::bytes> &stops,
             double temperature, int64_t top_k, double top_p, double min_p, int64_t end, bool may_end,
             Array<const uint64_t, 4> random, int learn, bool bits, nb::object state) {
        std::vector<const uint8_t *> stop;
        std::vector<int64_t> sizes;
        for (const nb::bytes &one : stops) {
            stop.push_back(reinterpret_cast<const uint8_t *>(one.c_str()));
            sizes.push_back(length(one.size()));
        }
        const uint64_t *r = random.data();
        cpu1_task task = {prompt.data(),
                          length(prompt.size()),
                          most,
                          stop.data(),
                          sizes.data(),
                          length(stops.size()),
                          {temperature, top_k, top_p, min_p, end, may_end},
                          {{r[0], r[1]}, {r[2], r[3]}},
                          learn,
                          bits,
                          nullptr,
                          0};
        nb::bytes held;
        if (!state.is_none()) {
            held = nb::cast<nb::bytes>(state);
            task.state = held.c_str();
            task.state_size = length(held.size());
        }
        call([&](cpu1_error *e) { return cpu1_batch_add(batch_, stream, &task, e); });
    }

    void cancel(int64_t stream) {
        call([&](cpu1_error *e) { return cpu1_batch_cancel(batch_, stream, e); });
    }

    // [(stream, bytes, bits as fp64 or None, ending), ...]
    nb::list step(int64_t patches) {
        std::unique_lock<std::mutex> alone(steps_, std::defer_lock);
        int64_t count = 0;
        {
            const nb::gil_scoped_release unlocked;
            alone.lock();
            cpu1_error error{};
            count = cpu1_batch_step(batch_, patches, &error);
            if (count < 0) fail(error);
        }
        nb::list out;
        for (int64_t i = 0; i < count; ++i) {
            const cpu1_piece piece = cpu1_batch_piece(batch_, i);
            nb::object bits = nb::none();
            if (piece.bits) bits = nb::bytes(piece.bits, static_cast<size_t>(piece.size) * sizeof *piece.bits);
            out.append(nb::make_tuple(piece.stream, nb::bytes(piece.bytes, static_cast<size_t>(piece.size)), bits,
                                      static_cast<int>(piece.ending)));
        }
        return out;
    }

  private:
    template <class Body>
    void call(const Body &body) {
        const nb::gil_scoped_release unlocked;
        cpu1_error error{};
        if (!body(&error)) fail(error);
    }

    cpu1_batch *batch_ = nullptr;
    std::mutex steps_;  // until the pieces are taken
};

const cpu1_kernels &kernels_of(const std::string &isa) {
    const cpu1_kernels *kernels = cpu1_kernels_find(isa.c_str());
    require(kernels, "no such instruction set on this machine");
    return *kernels;
}

// One product by the kernels of an instruction set, for tests: out (M, N) from x (M, K) and a panel.
void multiply(const std::string &isa, int kind, Array<const uint8_t, -1> panel, Array<const float, -1> scale,
              Array<const float, -1, -1> x, Array<float, -1, -1> out) {
    const cpu1_kernels *kernels = &kernels_of(isa);
    require(kind >= 0 && kind < CPU1_KINDS, "no such kind of weights");
    const cpu1_kind which = static_cast<cpu1_kind>(kind);
    const int64_t rows = length(x.shape(0)), inputs = length(x.shape(1)), outputs = length(out.shape(1));
    const int64_t each = cpu1_inputs_a_group(which), blocks = (outputs + 15) / 16, least = each < 2 ? 2 : each;
    const int64_t groups = (inputs + least - 1) / least * least / each;
    require(length(out.shape(0)) == rows && length(panel.size()) == blocks * groups * CPU1_GROUP &&
                length(scale.size()) == blocks * CPU1_LANES,
            "sizes do not fit");
    const int64_t stride = (inputs + 15) / 16 * cpu1_prepared(which);
    std::vector<uint8_t> in(static_cast<size_t>(rows * stride));
    std::vector<cpu1_row> row(static_cast<size_t>(rows));
    for (int64_t m = 0; m < rows; ++m)
        kernels->prepare[which](x.data() + m * inputs, nullptr, 0, inputs, in.data() + m * stride, row.data() + m);
    const cpu1_product product = {panel.data(), groups,    outputs, scale.data(), CPU1_LANES, nullptr,    CPU1_NONE, 0,
                                  rows,         in.data(), stride,  row.data(),   nullptr,    out.data(), outputs};
    kernels->product[which](&product, 0, blocks);
}

}  // namespace

NB_MODULE(_engine, m) {
    refuse_subinterpreters();
    nb::set_leak_warnings(false);  // a process may end while sessions live, in threads and after a fork
    m.def("isas", [] { return std::string(cpu1_isas()); }, "The instruction sets of this machine, best first.");
    m.def("arithmetic", [](const std::string &isa) { return std::string(kernels_of(isa).arithmetic); }, "isa"_a,
          "What the last bits of its results depend on: sets of one arithmetic agree to the bit.");
    m.def("operations", [] { return std::string(cpu1_operations()); }, "The operations that programs may have.");
    m.def("read_all", [](const std::string &isa, Array<const uint8_t, -1> bytes) {
        return kernels_of(isa).read_all(bytes.data(), length(bytes.size()));
    }, "isa"_a, "bytes"_a.noconvert(), "Reads all bytes, for benches.");
    m.def("multiply_adds", [](const std::string &isa, int64_t rounds) { return kernels_of(isa).multiply_adds(rounds); },
          "isa"_a, "rounds"_a, "Multiplies in registers alone, for benches; returns how many multiply-adds it did.");
    m.def("multiply", multiply, "isa"_a, "kind"_a, "panel"_a.noconvert(), "scale"_a.noconvert(), "x"_a.noconvert(),
          "out"_a.noconvert());

    nb::class_<Model>(m, "Model")
        .def_static("open", open_model, "path"_a, "isa"_a, nb::rv_policy::take_ownership)
        .def_static("read", read_model, "bytes"_a, nb::rv_policy::take_ownership)
        .def_prop_ro("is_bytes", [](const Model &self) { return self.facts().is_bytes != 0; })
        .def_prop_ro("patch", [](const Model &self) { return self.facts().patch; })
        .def_prop_ro("vocabulary", [](const Model &self) { return self.facts().vocabulary; })
        .def_prop_ro("separator", [](const Model &self) { return self.facts().separator; })
        .def_prop_ro("width", [](const Model &self) { return self.facts().width; })
        .def_prop_ro("isa", [](const Model &self) { return std::string(self.facts().isa); })
        .def_prop_ro("arithmetic", [](const Model &self) { return std::string(self.facts().arithmetic); })
        .def_prop_ro("weight_bytes", [](const Model &self) { return self.facts().weight_bytes; })
        .def_prop_ro("trunk_products", [](const Model &self) { return self.facts().trunk_products; })
        .def_prop_ro("head_products", [](const Model &self) { return self.facts().head_products; })
        .def_prop_ro("about", about_of)
        .def_prop_ro("tokenizer", tokenizer_of);

    nb::class_<Encoder>(m, "Encoder").def(nb::init<>()).def("finish", &Encoder::finish);
    nb::class_<Decoder>(m, "Decoder").def(nb::init<nb::bytes>(), "code"_a);

    nb::class_<Session>(m, "Session")
        .def(nb::init<const Model &, int64_t, int>(), "model"_a, "streams"_a, "threads"_a)
        .def("learn", &Session::learn, "size"_a)
        .def("advance", &Session::advance, "units"_a.noconvert(), "counts"_a.noconvert())
        .def("logits", &Session::logits, "out"_a.noconvert())
        .def("score", &Session::score, "stream"_a, "units"_a.noconvert(), "nats"_a.noconvert())
        .def("encode", &Session::encode, "stream"_a, "units"_a.noconvert(), "encoder"_a)
        .def("decode", &Session::decode, "stream"_a, "decoder"_a, "out"_a.noconvert())
        .def("generate", &Session::generate, "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a, "end"_a, "may_end"_a,
             "random"_a.noconvert(), "out"_a.noconvert(), "made"_a.noconvert())
        .def("draw", &Session::draw, "stream"_a, "unit"_a)
        .def("complete", &Session::complete, "stream"_a, "most"_a, "width"_a, "longest"_a, "in_words"_a.noconvert())
        .def("save", &Session::save, "stream"_a)
        .def("restore", &Session::restore, "stream"_a, "bytes"_a)
        .def("profile", &Session::profile, "on"_a);

    nb::class_<Batch>(m, "Batch")
        .def(nb::init<const Model &, int, const std::vector<nb::bytes> &>(), "model"_a, "threads"_a, "spelling"_a)
        .def("start_from", &Batch::start_from, "state"_a, "learn"_a)
        .def("add", &Batch::add, "stream"_a, "prompt"_a.noconvert(), "most"_a, "stops"_a, "temperature"_a, "top_k"_a,
             "top_p"_a, "min_p"_a, "end"_a, "may_end"_a, "random"_a.noconvert(), "learn"_a, "bits"_a, "state"_a.none())
        .def("cancel", &Batch::cancel, "stream"_a)
        .def("step", &Batch::step, "patches"_a);

    bind_lookups(m);
}
