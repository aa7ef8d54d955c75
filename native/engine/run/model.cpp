#include "run/model.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "format/errors.h"

namespace cpu1 {

namespace {

constexpr int64_t least_power = -120, most_power = 100;  // of a packed row

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

cpu1_kind kind_of(const std::string &dtype) {
    return dtype == "I8" ? CPU1_INT8 : dtype == "BF16" ? CPU1_BF16 : CPU1_FP32;
}

// FNV-1a over words, in four chains; the last bytes one by one.
uint64_t mark_of(const uint8_t *bytes, int64_t size) {
    uint64_t chains[4] = {1469598103934665603u, 1, 2, 3};
    for (int64_t i = 0; i + 32 <= size; i += 32) {
        for (int chain = 0; chain < 4; ++chain) {
            uint64_t word;
            memcpy(&word, bytes + i + 8 * chain, sizeof word);
            chains[chain] = (chains[chain] ^ word) * 1099511628211u;
        }
    }
    for (int64_t i = size / 32 * 32; i < size; ++i) chains[0] = (chains[0] ^ bytes[i]) * 1099511628211u;
    return chains[0] ^ chains[1] * 3 ^ chains[2] * 5 ^ chains[3] * 7;
}

class Loader {
  public:
    Loader(const Source &source, const Container &container, Model &model)
        : source_(source), container_(container), model_(model) {}

    void bind_all() {
        model_.embed = bind(model_.program.embed);
        for (const Op &op : model_.program.trunk) model_.trunk.push_back(bind(op));
        for (const Op &op : model_.program.lookups) model_.lookups.push_back(bind(op));
        model_.head = bind(model_.program.head);
        for (const BoundOp &bound : model_.trunk) {
            if (bound.op->code == Code::attend) model_.caches.push_back(&bound);
            if (bound.op->skip_to) model_.trunk[static_cast<size_t>(bound.op->skip_to)].joins = true;
        }
    }

    // Of all weights, wherever they lie.
    uint64_t mark() const {
        uint64_t out = 0;
        for (const auto &[bytes, size] : parts_) out = (out * 1099511628211u) ^ mark_of(bytes, size);
        return out;
    }

  private:
    const StoredTensor &stored(const std::string &name) const { return container_.tensors.at(name); }

    BoundOp bind(const Op &op) {
        BoundOp out{};
        out.op = &op;
        switch (op.code) {
            case Code::embed_bytes:
                out.table = table(op.table);
                out.start = vector(op.start);
                out.taps = vector(op.taps);
                out.bias = vector(op.bias);
                break;
            case Code::embed_words:
                out.table = table(op.table);
                out.start = vector(op.start);
                out.rows = packed(op);
                out.weight = dense(op.weight);
                break;
            case Code::embed_token:
                out.table = table(op.table);
                break;
            case Code::rms_norm:
                out.gain = vector(op.gain);
                break;
            case Code::ternary_linear:
                out.weight = ternary(op);
                out.gain = vector(op.gain);
                break;
            case Code::dense_linear:
                out.weight = dense(op.weight);
                out.bias = vector(op.bias);
                break;
            case Code::delete_gate:
                out.up = dense(op.up);
                out.up_bias = vector(op.up_bias);
                out.down_row = vector(op.down);
                out.down_bias = vector(op.down_bias);
                break;
            case Code::leaky_scan:
                out.decay = vector(op.decay);
                out.place = take_state(op);
                break;
            case Code::gate_scan:
                out.place = take_state(op);
                break;
            case Code::attend:
                bind_attend(op, out);
                break;
            case Code::table_rows:
                out.rows = packed(op);
                out.weight = dense(op.weight);
                out.place = take_record(static_cast<int64_t>(op.contexts.size() * sizeof(int32_t)));
                break;
            case Code::recall:
                bind_recall(op, out);
                break;
            case Code::local_decode:
                out.slots = dense(op.slots);
                out.back = table(op.back);
                out.up = dense(op.up);
                out.up_bias = vector(op.up_bias);
                out.down = dense(op.down);
                out.down_bias = vector(op.down_bias);
                out.output = dense(op.output);
                out.output_bias = vector(op.output_bias);
                break;
            case Code::patch_heads:
                out.output = dense(op.output);
                break;
            case Code::silu_mul:
            case Code::add:
                break;
        }
        return out;
    }

    uint8_t *take(int64_t bytes) {
        uint8_t *out = model_.arena->take(bytes);
        parts_.push_back({out, bytes});
        return out;
    }

    // A tensor that kernels read as the file has it, at any address: the caller's own memory where it is lent.
    const uint8_t *as_stored(const StoredTensor &tensor) {
        if (const uint8_t *lent = source_.lend(tensor.offset)) {
            parts_.push_back({lent, tensor.bytes});
            return lent;
        }
        uint8_t *out = take(tensor.bytes);
        source_.read(tensor.offset, tensor.bytes, out);
        return out;
    }

    // Aligned for numbers of four bytes.
    int64_t take_record(int64_t bytes) {
        const int64_t place = model_.record;
        model_.record += up(bytes, 4);
        return place;
    }

    PackedRows packed(const Op &op) {
        const StoredTensor &tensor = stored(op.rows + ".rows");
        PackedRows out;
        out.bits = static_cast<int>(8 / values_a_byte(op.bits));
        out.stride = tensor.shape[1];
        out.width = (out.stride - 1) * values_a_byte(op.bits);
        out.bytes = as_stored(tensor);
        check_rows(op.rows, out, tensor.shape[0]);
        return out;
    }

    static void check_rows(const std::string &name, const PackedRows &rows, int64_t count) {
        bool fine = true;
        for (int64_t r = 0; r < count; ++r) {
            const uint8_t *row = rows.bytes + r * rows.stride;
            const int64_t power = static_cast<int8_t>(row[0]);
            fine &= power >= least_power && power <= most_power && !has_zero(row + 1, rows.stride - 1, rows.bits);
        }
        if (!fine) refuse("table " + quoted(name) + ": a power or a value outside its range");
    }

    // Whether one of the values of so many bits is 0, eight bytes at a time ("Bit Twiddling Hacks", Anderson).
    static bool has_zero(const uint8_t *bytes, int64_t size, int bits) {
        const uint64_t low = ~uint64_t{0} / ((1u << bits) - 1), high = low << (bits - 1);
        uint64_t found = 0;
        for (int64_t i = 0; i < size; i += 8) {
            uint64_t word = ~uint64_t{0};
            if (size - i >= 8) memcpy(&word, bytes + i, 8);
            else memcpy(&word, bytes + i, static_cast<size_t>(size - i));
            found |= (word - low) & ~word & high;
        }
        return found != 0;
    }

    void bind_recall(const Op &op, BoundOp &out) {
        const auto log2 = [](int64_t n) {
            return static_cast<int64_t>(63 - __builtin_clzll(static_cast<uint64_t>(n)));
        };
        model_.memory = RecallShape{op.contexts, log2(op.memory_size), log2(op.history), op.match};
        out.place = model_.memory_place = take_record(model_.memory->code_size());
        out.first = projected(op.first, op.table);
        out.second = projected(op.second, op.table);
        out.first_gains = vector(op.first_gains);
        out.second_gains = vector(op.second_gains);
        out.offsets = vector(op.offsets);
    }

    // table (V, q) times matrix (n, q), transposed: (V, n). In one order on all machines, one input after the other.
    const float *projected(const std::string &matrix, const std::string &table) {
        const std::vector<float> rows = values(table), weights = values(matrix);
        const int64_t inputs = stored(table).shape[1], symbols = stored(table).shape[0];
        const int64_t outputs = stored(matrix).shape[0], padded = up(outputs, CPU1_LANES);
        std::vector<float> turned(static_cast<size_t>(inputs * padded)), out(static_cast<size_t>(symbols * outputs));
        for (int64_t n = 0; n < outputs; ++n)
            for (int64_t k = 0; k < inputs; ++k)
                turned[static_cast<size_t>(k * padded + n)] = weights[static_cast<size_t>(n * inputs + k)];
        for (int64_t v = 0; v < symbols; ++v) {
            const float *row = rows.data() + v * inputs;
            for (int64_t n = 0; n < outputs; n += CPU1_LANES) {
                float sums[CPU1_LANES] = {};
                for (int64_t k = 0; k < inputs; ++k)
                    for (int64_t i = 0; i < CPU1_LANES; ++i)
                        sums[i] += row[k] * turned[static_cast<size_t>(k * padded + n + i)];
                std::copy(sums, sums + std::min<int64_t>(CPU1_LANES, outputs - n), out.data() + v * outputs + n);
            }
        }
        return keep(out);
    }

    int64_t take_state(const Op &op) {
        const int64_t place = model_.state_values;
        model_.state_values += up(model_.program.states[static_cast<size_t>(op.state)], CPU1_LANES);
        return place;
    }

    void bind_attend(const Op &op, BoundOp &out) {
        out.place = caches_++;
        auto &sizes = model_.head_sizes;
        const auto found = std::find(sizes.begin(), sizes.end(), op.head_size);
        out.turns = found - sizes.begin();
        if (found == sizes.end()) sizes.push_back(op.head_size);
    }

    std::vector<uint8_t> bytes_of(const StoredTensor &tensor) const {
        std::vector<uint8_t> out(static_cast<size_t>(tensor.bytes));
        source_.read(tensor.offset, tensor.bytes, out.data());
        return out;
    }

    // Values of any width as fp32 behind each other, checked to be finite.
    std::vector<float> values(const std::string &name) const {
        const StoredTensor &tensor = stored(name);
        const cpu1_kind kind = kind_of(tensor.dtype);
        const std::vector<uint8_t> bytes = bytes_of(tensor);
        const int64_t width = tensor.shape.empty() ? 1 : tensor.shape.back();
        const int64_t rows = width ? tensor.bytes / size_of(kind) / width : 0;
        const std::vector<float> scale = kind == CPU1_INT8 ? scales(name) : std::vector<float>();
        check_dense(name, kind, bytes.data(), tensor.bytes / size_of(kind));
        std::vector<float> out(static_cast<size_t>(rows * width));
        for (int64_t row = 0; row < rows; ++row)
            add_row(kind, bytes.data() + row * width * size_of(kind),
                    scale.empty() ? 1 : scale[static_cast<size_t>(row)], width, out.data() + row * width);
        return out;
    }

    std::vector<float> scales(const std::string &name) const {
        const StoredTensor &tensor = stored(name + ".scale");
        std::vector<float> out(static_cast<size_t>(tensor.bytes / 4));
        source_.read(tensor.offset, tensor.bytes, out.data());
        for (const float scale : out) {
            if (!(scale > 0 && scale < INFINITY))
                refuse("tensor " + quoted(name) + ": a scale that is not finite and above 0");
        }
        return out;
    }

    static void check_dense(const std::string &name, cpu1_kind kind, const uint8_t *bytes, int64_t count) {
        bool fine = true;
        if (kind == CPU1_INT8) {
            for (int64_t i = 0; i < count; ++i) fine &= bytes[i] != 0x80;
            if (!fine) refuse("tensor " + quoted(name) + ": a value of -128");
            return;
        }
        const int64_t width = size_of(kind);  // the exponent is in the last two bytes
        for (int64_t i = 1; i <= count; ++i) {
            const uint8_t *end = bytes + i * width;
            fine &= ((end[-1] & 0x7f) << 1 | end[-2] >> 7) != 0xff;
        }
        if (!fine) refuse("tensor " + quoted(name) + ": not finite");
    }

    const float *keep(const std::vector<float> &values) {
        const int64_t padded = up(static_cast<int64_t>(values.size()), CPU1_LANES);
        float *out = reinterpret_cast<float *>(take(padded * 4));
        std::copy(values.begin(), values.end(), out);
        return out;
    }

    const float *vector(const std::string &name) {
        if (name.empty()) return nullptr;
        const auto [place, fresh] = vectors_.try_emplace(name, nullptr);
        if (fresh) place->second = keep(values(name));
        return place->second;
    }

    Table table(const std::string &name) {
        const auto [place, fresh] = tables_.try_emplace(name);
        if (!fresh) return place->second;
        const StoredTensor &tensor = stored(name);
        Table out;
        out.kind = kind_of(tensor.dtype);
        out.width = tensor.shape.back();
        out.rows = as_stored(tensor);
        check_dense(name, out.kind, out.rows, tensor.bytes / size_of(out.kind));
        if (out.kind == CPU1_INT8) out.scale = keep(scales(name));
        return place->second = out;
    }

    Matrix dense(const std::string &name) {
        const auto [place, fresh] = matrices_.try_emplace(name);
        if (!fresh) return place->second;
        const StoredTensor &tensor = stored(name);
        const std::vector<uint8_t> bytes = bytes_of(tensor);
        Matrix out = shape(kind_of(tensor.dtype), tensor.shape[0], tensor.shape[1]);
        check_dense(name, out.kind, bytes.data(), out.outputs * out.inputs);
        uint8_t *panel = take(out.blocks * out.groups * CPU1_GROUP);
        const int64_t each = cpu1_inputs_a_group(out.kind), size = size_of(out.kind);
        for (int64_t n = 0; n < out.outputs; ++n) {
            const uint8_t *row = bytes.data() + n * out.inputs * size;
            uint8_t *lane = panel + n / CPU1_LANES * out.groups * CPU1_GROUP + n % CPU1_LANES * 4;
            for (int64_t k = 0; k < out.inputs; k += each, lane += CPU1_GROUP)
                memcpy(lane, row + k * size, static_cast<size_t>(std::min(each, out.inputs - k) * size));
        }
        out.panel = panel;
        const float *scale = out.kind == CPU1_INT8 ? keep(scales(name)) : nullptr;
        out.pieces = {{0, out.blocks, scale, CPU1_LANES}};
        return place->second = out;
    }

    // Pairs of inputs are read together, so bf16 and fp32 panels have an even number of inputs.
    Matrix shape(cpu1_kind kind, int64_t outputs, int64_t inputs) {
        Matrix out;
        out.kind = kind;
        out.outputs = outputs;
        out.inputs = inputs;
        const int64_t each = cpu1_inputs_a_group(kind);
        out.groups = up(inputs, std::max<int64_t>(each, 2)) / each;
        out.blocks = up(outputs, CPU1_LANES) / CPU1_LANES;
        model_.widest_input = std::max(model_.widest_input, up(inputs, 16) / 16 * cpu1_prepared(kind));
        return out;
    }

    // The file's layout is the kernels': read in place.
    Matrix ternary(const Op &op) {
        const std::string &name = op.weight;
        Matrix out = shape(CPU1_TERNARY, op.out.size, op.in.size);
        const auto [place, fresh] = trits_.try_emplace(name);
        if (fresh) {
            const StoredTensor &tensor = stored(name + ".trits");
            const uint8_t *panel = as_stored(tensor);
            check_trits(name, out, panel);
            place->second = {panel, op.out.size, op.in.size, op.parts, pieces(op, scales(name))};
        }
        const Trits &found = place->second;
        if (found.outputs != op.out.size || found.inputs != op.in.size || found.parts != op.parts)
            refuse(op.place + ": tensor " + quoted(name) + " has another shape elsewhere");
        out.panel = found.panel;
        out.pieces = found.pieces;
        return out;
    }

    static void check_trits(const std::string &name, const Matrix &matrix, const uint8_t *panel) {
        uint64_t three = 0;
        for (int64_t i = 0; i < matrix.blocks * matrix.groups * CPU1_GROUP; i += 8) {
            uint64_t word;
            memcpy(&word, panel + i, sizeof word);
            three |= word & word >> 1 & 0x5555555555555555u;
        }
        if (three) refuse("ternary tensor " + quoted(name) + ": a value of 3 among the weights");
        bool padding = true;
        for (int64_t n = 0; n < matrix.blocks * CPU1_LANES; ++n) {
            const uint8_t *lane = panel + n / CPU1_LANES * matrix.groups * CPU1_GROUP + n % CPU1_LANES * 4;
            const int64_t from = n < matrix.outputs ? matrix.inputs : 0;
            for (int64_t k = from; k < matrix.groups * 16; ++k)
                padding &= (lane[k / 16 * CPU1_GROUP + k % 4] >> (2 * (k % 16 / 4)) & 3) == 1;
        }
        if (!padding) refuse("ternary tensor " + quoted(name) + ": weights that are not zero in the padding");
    }

    // One vector of scales for all blocks of a part, one of its own for a block that two parts share.
    std::vector<Piece> pieces(const Op &op, const std::vector<float> &scale) {
        std::vector<float> rows;
        for (size_t part = 0; part < op.parts.size(); ++part)
            rows.insert(rows.end(), static_cast<size_t>(op.parts[part]), scale[part]);
        rows.resize(static_cast<size_t>(up(op.out.size, CPU1_LANES)), scale.back());
        std::vector<Piece> out;
        std::vector<float> last;
        for (int64_t b = 0; b < static_cast<int64_t>(rows.size()) / CPU1_LANES; ++b) {
            const std::vector<float> lanes(rows.begin() + b * CPU1_LANES, rows.begin() + (b + 1) * CPU1_LANES);
            if (out.empty() || lanes != last) out.push_back({b, b + 1, keep(lanes), 0});
            else out.back().last = b + 1;
            last = lanes;
        }
        return out;
    }

    struct Trits {
        const uint8_t *panel;
        int64_t outputs, inputs;
        std::vector<int64_t> parts;
        std::vector<Piece> pieces;
    };

    const Source &source_;
    const Container &container_;
    Model &model_;
    int64_t caches_ = 0;
    std::vector<std::pair<const uint8_t *, int64_t>> parts_;  // of memory that the weights take
    std::map<std::string, const float *> vectors_;
    std::map<std::string, Table> tables_;
    std::map<std::string, Matrix> matrices_;
    std::map<std::string, Trits> trits_;
};

Program read_about(const std::string &text) {
    const Json about = parse_json(text.data(), text.size());
    const Json *kind = about.kind == Json::object ? about.find("kind") : nullptr;
    if (!kind || kind->text != "packed") refuse("not a packed model; make one of a run folder with `cpu1 pack`");
    const Json *format = about.find("format");
    if (!format || !format->whole || format->integer != 1)
        refuse("a format that is not 1; made by another version of cpu1?");
    about.get("header", "dense", Json::string);
    about.get("header", "derived", Json::list);
    about.get("header", "run", Json::object);
    about.get("header", "recipe", Json::object);
    if (about.items.size() != 7) refuse("header: unknown field");
    return read_program(about.get("header", "program", Json::object));
}

void read_tokenizer(const Source &source, const Container &container, Model &model) {
    const auto found = container.tensors.find("tokenizer");
    const bool there = found != container.tensors.end();
    if (there == model.program.bytes) refuse(there ? "a byte model with tokenizer" : "a token model without tokenizer");
    if (!there) return;
    if (found->second.dtype != "U8" || found->second.shape.size() != 1) refuse("the tokenizer is damaged");
    model.tokenizer.resize(static_cast<size_t>(found->second.bytes));
    source.read(found->second.offset, found->second.bytes, model.tokenizer.data());
}

// All tensors in each of the forms that an operation may want.
int64_t most_memory(const Program &program, const Container &container) {
    int64_t total = 0;
    for (const auto &[name, tensor] : container.tensors) {
        const int64_t size = size_of(kind_of(tensor.dtype)), count = tensor.bytes / size;
        const int64_t inputs = tensor.shape.size() == 2 ? tensor.shape[1] : 0;
        const int64_t outputs = inputs ? count / inputs : 0;
        total += tensor.bytes + 4 * count + up(outputs, 16) * up(inputs, 4) * size + 16 * CPU1_GROUP;
        if (tensor.shape.size() == 1) total += count * CPU1_GROUP;  // a scale a part
    }
    for (const Op &op : program.lookups) {
        if (op.code != Code::recall) continue;
        const int64_t symbols = program.vocabulary, outputs = op.sizes.at("K+1") * op.sizes.at("w");
        total += 2 * (4 * symbols * outputs + CPU1_GROUP);
    }
    return total;
}

void measure(Model &model) {
    const auto look = [&](const BoundOp &bound, int64_t *products) {
        // The decoder runs once a unit, but for its slots.
        const bool decodes = bound.op->code == Code::local_decode;
        for (const Matrix *matrix : bound.matrices()) {
            model.weight_bytes += matrix->blocks * matrix->groups * CPU1_GROUP;
            *products +=
                matrix->outputs * matrix->inputs * (decodes && matrix != &bound.slots ? model.program.patch : 1);
        }
    };
    for (const BoundOp &bound : model.trunk) look(bound, &model.trunk_products);
    for (const BoundOp &bound : model.lookups) {
        int64_t products = 0;
        look(bound, &products);
        model.head_products += products * model.program.patch;
    }
    look(model.head, &model.head_products);
}

}  // namespace

std::shared_ptr<const Model> load_model(const Source &source, const cpu1_kernels *kernels) {
    Container container = read_container(source);
    auto model = std::make_shared<Model>();
    model->kernels = kernels;
    model->program = read_about(container.about);
    check_tensors(model->program, container.tensors);
    read_tokenizer(source, container, *model);
    model->arena = std::make_unique<Arena>(most_memory(model->program, container));
    Loader loader(source, container, *model);
    loader.bind_all();
    model->arena->finish();
    measure(*model);
    const uint8_t *about = reinterpret_cast<const uint8_t *>(container.about.data());
    model->mark = mark_of(about, static_cast<int64_t>(container.about.size())) ^ loader.mark();
    model->about = std::move(container.about);
    return model;
}

}  // namespace cpu1
