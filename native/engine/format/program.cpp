#include "format/program.h"

#include <algorithm>

#include "format/errors.h"
#include "format/flow.h"

namespace cpu1 {

namespace {

using Sizes = std::map<std::string, int64_t>;

// "a, b, c"
std::string joined(const std::vector<const char *> &words) {
    std::string out;
    for (const char *word : words) out += (out.empty() ? "" : ", ") + std::string(word);
    return out;
}

std::vector<std::string> split(const std::string &text, char at) {
    std::vector<std::string> out(1);
    for (const char c : text) {
        if (c == at) out.emplace_back();
        else out.back() += c;
    }
    return out;
}

// Finds the letter of a product that has no value yet, or checks the product.
void solve(const std::string &place, const std::string &product, int64_t value, Sizes &sizes) {
    int64_t known = 1;
    std::string unknown;
    for (const std::string &factor : split(product, '*')) {
        int64_t size = 0;
        if (factor[0] >= '0' && factor[0] <= '9') size = std::stoll(factor);
        else if (sizes.count(factor)) size = sizes[factor];
        else unknown = factor;
        if (size && __builtin_mul_overflow(known, size, &known)) refuse(place + ": a size beyond all files");
    }
    const bool fits = unknown.empty() ? value == known : value >= known && value % known == 0;
    if (!fits) refuse(place + " has size " + std::to_string(value) + "; it must be " + product);
    if (!unknown.empty()) sizes[unknown] = value / known;
}

class Reader {
  public:
    explicit Reader(const Json &json) : json_(json) {}

    Program read() {
        read_header();
        program_.embed = read_embedding();
        for (const Json &op : section("trunk", most_operations))
            program_.trunk.push_back(read_op("trunk", op, static_cast<int64_t>(program_.trunk.size())));
        read_head();
        check_states();
        return std::move(program_);
    }

  private:
    void read_header() {
        const std::string place = "program";
        require(json_.kind == Json::object, "program: not an object");
        static const char *const known[] = {"level",  "patch", "vocabulary", "width", "registers",
                                            "states", "embed", "trunk",      "head"};
        check_names(place, json_, std::vector<std::string>(std::begin(known), std::end(known)));
        const std::string &level = json_.get(place, "level", Json::string).text;
        if (level != "byte" && level != "token")
            refuse("program: level " + quoted(level) + " is neither byte nor token");
        const auto number = [&](const char *name, int64_t high) {
            return json_.get(place, name, Json::number).whole_number(place + ": " + name, 1, high);
        };
        program_.bytes = level == "byte";
        program_.patch = number("patch", most_patch);
        program_.vocabulary = number("vocabulary", most_vocabulary);
        program_.width = number("width", most_inputs);
        if (program_.bytes && program_.vocabulary != byte_symbols && program_.vocabulary != byte_symbols - 1)
            refuse("program: a vocabulary of bytes that is not 257");
        if (!program_.bytes && program_.patch != 1) refuse("program: a patch of several tokens; a step reads one");
        read_registers(json_.get(place, "registers", Json::object));
        read_states(json_.get(place, "states", Json::object));
        program_.x = whole_width("x");
        program_.s = whole_width("s");
    }

    Slice whole_width(const char *name) const {
        const auto found = registers_.find(name);
        if (found == registers_.end() || found->second.where.size != program_.width)
            refuse(std::string("program: register ") + name + " must have the width");
        return found->second.where;
    }

    void read_registers(const Json &json) {
        require(json.items.size() <= most_registers, "program: too many registers");
        int64_t total = 0;
        for (size_t i = 0; i < json.items.size(); ++i) {
            const int64_t size = entry(json, i, "registers", most_register_values - total);
            total += size;
            registers_[json.names[i]] = {{program_.values, size}, {}, {}};
            program_.values += (size + 15) / 16 * 16;
        }
    }

    void read_states(const Json &json) {
        require(json.items.size() <= most_states, "program: too many states");
        int64_t total = 0;
        for (size_t i = 0; i < json.items.size(); ++i) {
            program_.states.push_back(entry(json, i, "states", most_state_values - total));
            total += program_.states.back();
            states_[json.names[i]] = static_cast<int>(i);
        }
        owned_.assign(json.items.size(), false);
    }

    static int64_t entry(const Json &json, size_t i, const char *kind, int64_t most) {
        const std::string place = std::string("program: ") + kind;
        check_name(place, json.names[i]);
        return json.items[i].whole_number(place + ": size of " + quoted(json.names[i]), 1, std::max<int64_t>(most, 1));
    }

    static void check_name(const std::string &place, const std::string &name) {
        if (name.empty() || name.size() > most_name) refuse(place + ": " + quoted(name) + " is not a name");
    }

    static void check_names(const std::string &place, const Json &json, const std::vector<std::string> &known) {
        for (const std::string &name : json.names) {
            if (std::find(known.begin(), known.end(), name) == known.end())
                refuse(place + ": unknown field " + quoted(name));
        }
    }

    const std::vector<Json> &section(const char *name, int64_t most) const {
        const Json &list = json_.get("program", name, Json::list);
        const int64_t count = static_cast<int64_t>(list.items.size());
        if (count < 1 || count > most)
            refuse(std::string("program: ") + name + " has " + std::to_string(count) +
                   " operations; it must have 1 to " + std::to_string(most));
        return list.items;
    }

    // Writes the whole of x.
    Op read_embedding() {
        Op op = read_op("embed", section("embed", 1)[0], 0);
        check_whole(op, op.out, program_.x, "x");
        program_.words = op.code == Code::embed_words;
        if (program_.words && program_.patch != most_words)
            refuse("program: patches of words that do not have " + std::to_string(most_words) + " units at most");
        return op;
    }

    // The last operation reads the whole of s; those before it look up what it adds.
    void read_head() {
        const std::vector<Json> &list = section("head", most_head);
        flow_.begin_head();
        bool remembers = false;
        for (size_t i = 0; i < list.size(); ++i) {
            Op op = read_op("head", list[i], static_cast<int64_t>(i));
            const bool looks_up = op.code == Code::table_rows || op.code == Code::recall;
            if (looks_up != (i + 1 < list.size()))
                refuse(op.place + ": the last operation of the head, and it alone, reads s");
            if (op.code == Code::recall && remembers) refuse(op.place + ": a second memory of the document");
            remembers |= op.code == Code::recall;
            if (looks_up) {
                program_.lookups.push_back(std::move(op));
                continue;
            }
            check_whole(op, op.in, program_.s, "s");
            if (program_.words && op.code != Code::local_decode)
                refuse(op.place + ": patches of words need a decoder that writes byte by byte");
            program_.head = std::move(op);
        }
    }

    static void check_whole(const Op &op, const Slice &part, const Slice &whole, const char *name) {
        if (part.first != whole.first || part.size != whole.size)
            refuse(op.place + ": not the whole of register " + name);
    }

    Op read_op(const std::string &section, const Json &json, int64_t index) {
        Op op;
        op.place = "program: " + section + "[" + std::to_string(index) + "]";
        const std::string &name = json.get(op.place, "op", Json::string).text;
        const auto &table = operations();
        const auto found = std::find_if(table.begin(), table.end(), [&](const Operation &o) { return name == o.name; });
        if (found == table.end()) refuse(op.place + ": unknown operation " + quoted(name));
        op.code = static_cast<Code>(found - table.begin());
        op.place += " " + name;
        if (section != found->section) refuse(op.place + " belongs into " + found->section);
        if (found->level && program_.bytes != (std::string(found->level) == "byte"))
            refuse(op.place + " is not for a model of this level");
        std::vector<std::string> known = {"op"};
        for (const Field &field : found->fields) known.push_back(field.name);
        check_names(op.place, json, known);

        op.sizes = {{"P", program_.patch}, {"V", program_.vocabulary}};
        if (section == "trunk") flow_.join(index);
        Uses uses;
        for (const Field &field : found->fields) {
            const At at = {op, field.name, op.place + ": " + field.name, json, index, uses};
            std::visit([&](const auto &kind) { read(kind, at); }, field.kind);
        }
        if (op.sizes.count("k") && op.sizes["k"] > most_inputs) refuse(op.place + ": too many inputs");
        std::vector<Use> adds;
        for (size_t i = 0; i < uses.writes.size(); ++i) {
            const Write &kind = *uses.kinds[i];
            if (kind.added || (kind.added_if && op.*kind.added_if)) adds.push_back(uses.writes[i]);
        }
        flow_.pass(op.place, std::move(uses.reads), uses.writes, adds);
        for (const int64_t target : uses.targets) flow_.skip(target);
        return op;
    }

    // What an operation reads, writes and may skip to.
    struct Uses {
        std::vector<Use> reads, writes;
        std::vector<const Write *> kinds;  // of the writes
        std::vector<int64_t> targets;
    };

    // A field that is read: of which operation, its name, its place for messages, the operation's JSON and index.
    struct At {
        Op &op;
        const char *name;
        std::string place;
        const Json &json;
        int64_t index;
        Uses &uses;

        const Json &get(Json::Kind kind) const { return json.get(op.place, name, kind); }
        bool absent() const { return !json.find(name); }
    };

    void read(const Read &kind, const At &at) {
        if (kind.optional && at.absent()) return;
        const Use use = read_use(at);
        solve(at.place, kind.size, use.part.size, at.op.sizes);
        at.op.*kind.to = in_memory(use);
        at.uses.reads.push_back(use);
    }

    void read(const Write &kind, const At &at) {
        const Use use = read_use(at);
        solve(at.place, kind.size, use.part.size, at.op.sizes);
        at.op.*kind.to = in_memory(use);
        at.uses.writes.push_back(use);
        at.uses.kinds.push_back(&kind);
    }

    void read(const State &kind, const At &at) {
        const auto found = states_.find(at.get(Json::string).text);
        if (found == states_.end()) refuse(at.place + ": no such state");
        const size_t state = static_cast<size_t>(found->second);
        if (owned_[state]) refuse(at.place + " belongs to another operation already");
        owned_[state] = true;
        solve(at.place, kind.size, program_.states[state], at.op.sizes);
        at.op.*kind.to = found->second;
    }

    void read(const Tensor &kind, const At &at) {
        if (kind.optional && at.absent()) return;
        std::string &name = at.op.*kind.to = at.get(Json::string).text;
        check_name(at.place, name);
    }

    void read(const Parts &kind, const At &at) {
        const Json &list = at.get(Json::list);
        if (list.items.empty() || list.items.size() > most_parts) refuse(at.place + " is not a list of 1 to 256");
        std::vector<int64_t> &parts = at.op.*kind.to;
        int64_t total = 0;
        for (const Json &item : list.items) {
            parts.push_back(item.whole_number(at.place, 1, most_register_values));
            total += parts.back();
        }
        solve(at.place, kind.size, total, at.op.sizes);
    }

    void read(const Number &kind, const At &at) {
        const int64_t value = kind.otherwise && at.absent()
                                  ? *kind.otherwise
                                  : at.get(Json::number).whole_number(at.place, kind.low, kind.high);
        if (value % kind.step) refuse(at.place + " must be a multiple of " + std::to_string(kind.step));
        if (kind.power && (value & (value - 1))) refuse(at.place + " must be a power of two");
        at.op.*kind.to = at.op.sizes[at.name] = value;
    }

    void read(const Numbers &kind, const At &at) {
        const Json &list = at.get(Json::list);
        const int64_t count = static_cast<int64_t>(list.items.size());
        if (count < 1 || count > kind.most)
            refuse(at.place + " is not a list of 1 to " + std::to_string(kind.most) + " numbers");
        std::vector<int64_t> &numbers = at.op.*kind.to;
        for (const Json &item : list.items) {
            const int64_t number = item.whole_number(at.place, kind.low, kind.high);
            if (std::find(numbers.begin(), numbers.end(), number) != numbers.end())
                refuse(at.place + " names a number twice");
            numbers.push_back(number);
        }
        at.op.sizes[kind.count] = count;
        at.op.sizes[std::string(kind.count) + "+1"] = count + 1;
    }

    void read(const Flag &kind, const At &at) {
        at.op.*kind.to = kind.otherwise && at.absent() ? *kind.otherwise : at.get(Json::boolean).truth;
    }

    void read(const Choice &kind, const At &at) {
        const std::string word = kind.otherwise && at.absent() ? kind.otherwise : at.get(Json::string).text;
        const auto found = std::find(kind.words.begin(), kind.words.end(), word);
        if (found != kind.words.end()) return kind.set(at.op, static_cast<size_t>(found - kind.words.begin()));
        refuse(at.place + " is " + quoted(word) + "; it must be one of " + joined(kind.words));
    }

    void read(const Target &kind, const At &at) {
        const int64_t last = static_cast<int64_t>(json_.get("program", "trunk", Json::list).items.size()) - 1;
        at.op.*kind.to = at.get(Json::number).whole_number(at.place, at.index + 1, last);
        at.uses.targets.push_back(at.op.*kind.to);
    }

    static Slice in_memory(const Use &use) { return {use.owner->where.first + use.part.first, use.part.size}; }

    // [register, first, size]
    Use read_use(const At &at) {
        const Json &json = at.get(Json::list);
        if (json.items.size() != 3 || json.items[0].kind != Json::string)
            refuse(at.place + " is not [register, first, size]");
        const auto found = registers_.find(json.items[0].text);
        if (found == registers_.end()) refuse(at.place + ": no register " + quoted(json.items[0].text));
        const int64_t size = found->second.where.size;
        const int64_t first = json.items[1].whole_number(at.place + ": first value", 0, size - 1);
        return {&found->second, {first, json.items[2].whole_number(at.place + ": size", 1, size - first)}};
    }

    void check_states() const {
        for (const auto &[name, index] : states_) {
            if (!owned_[static_cast<size_t>(index)]) refuse("program: no operation has the state " + quoted(name));
        }
        flow_.finish();
    }

    const Json &json_;
    Program program_{};
    std::map<std::string, Register> registers_;
    std::map<std::string, int> states_;
    Flow flow_{registers_};
    std::vector<bool> owned_;
};

const StoredTensor &find_tensor(const std::string &place, const std::map<std::string, StoredTensor> &stored,
                                const std::string &name) {
    const auto found = stored.find(name);
    if (found == stored.end()) refuse(place + ": tensor " + quoted(name) + " is not in the file");
    return found->second;
}

void check_shape(const std::string &place, const StoredTensor &tensor, const std::vector<int64_t> &shape) {
    if (tensor.shape != shape) refuse(place + " has another shape than the program says");
}

// Scales of int8 rows or of ternary parts.
void check_scale(const std::string &place, const std::map<std::string, StoredTensor> &stored, const std::string &name,
                 int64_t count) {
    const StoredTensor &scale = find_tensor(place, stored, name + ".scale");
    if (scale.dtype != "F32") refuse(place + ": its scale is not of type F32");
    check_shape(place + ": scale", scale, {count});
}

using StoredTensors = std::map<std::string, StoredTensor>;

void check_ternary(const std::string &place, const Op &op, const StoredTensors &stored, const std::string &name) {
    const StoredTensor &trits = find_tensor(place, stored, name + ".trits");
    const std::string what = place + ": tensor " + quoted(name);
    if (trits.dtype != "U8") refuse(what + " is not of type U8");
    check_shape(what, trits, {(op.out.size + 15) / 16, (op.in.size + 15) / 16, 64});
    check_scale(what, stored, name, static_cast<int64_t>(op.parts.size()));
}

// Rows of a power, then the values: (R, 1 + W bits / 8).
void check_packed(const std::string &place, Op &op, const Tensor &kind, const StoredTensors &stored,
                  const std::string &name) {
    const StoredTensor &tensor = find_tensor(place, stored, name + ".rows");
    const std::string what = place + ": tensor " + quoted(name);
    if (tensor.dtype != "U8" || tensor.shape.size() != 2 || tensor.shape[1] < 2)
        refuse(what + " does not hold rows of type U8");
    if (tensor.shape[1] > most_inputs) refuse(what + ": too many inputs");
    solve(what + ": rows", kind.shape[0], tensor.shape[0], op.sizes);
    solve(what + ": values", kind.shape[1], (tensor.shape[1] - 1) * values_a_byte(op.bits), op.sizes);
}

void check_dense(const std::string &place, Op &op, const Tensor &kind, const StoredTensors &stored,
                 const std::string &name) {
    const StoredTensor &tensor = find_tensor(place, stored, name);
    const std::string what = place + ": tensor " + quoted(name);
    if (tensor.shape.size() != kind.shape.size()) refuse(what + " must have the shape (" + joined(kind.shape) + ")");
    int64_t rows = 1;
    for (size_t i = 0; i < kind.shape.size(); ++i) {
        solve(what + ": dimension " + std::to_string(i), kind.shape[i], tensor.shape[i], op.sizes);
        if (tensor.shape[i] == 0) refuse(what + " is empty");
        if (i + 1 < kind.shape.size()) rows *= tensor.shape[i];
    }
    if (tensor.shape.back() > most_inputs && kind.shape.size() > 1) refuse(what + ": too many inputs");
    if (tensor.dtype == "U8") refuse(what + ": unexpected type U8");
    if (tensor.dtype != "I8") return;
    if (kind.shape.size() < 2) refuse(what + ": int8 without rows");
    check_scale(what, stored, name, rows);
}

// What bytes and contexts select is computed when a model is opened, and must not outgrow the file without bounds.
void check_memory(const Op &op) {
    const int64_t vectors = op.sizes.at("K+1") * op.sizes.at("V");
    if (op.sizes.at("w") > most_recall_values / vectors) refuse(op.place + ": the decoder is too wide for a memory");
}

void check_op(Op &op, const StoredTensors &stored) {
    if (op.code == Code::recall) check_memory(op);
    for (const Field &field : operations()[static_cast<size_t>(op.code)].fields) {
        const Tensor *kind = std::get_if<Tensor>(&field.kind);
        if (!kind) continue;
        const std::string &name = op.*kind->to;
        if (name.empty()) continue;
        const std::string place = op.place + ": " + field.name;
        if (kind->ternary) check_ternary(place, op, stored, name);
        else if (kind->packed) check_packed(place, op, *kind, stored, name);
        else check_dense(place, op, *kind, stored, name);
    }
}

}  // namespace

Program read_program(const Json &program) { return Reader(program).read(); }

void check_tensors(Program &program, const std::map<std::string, StoredTensor> &stored) {
    check_op(program.embed, stored);
    for (Op &op : program.trunk) check_op(op, stored);
    for (Op &op : program.lookups) check_op(op, stored);
    check_op(program.head, stored);
}

}  // namespace cpu1
