#include "format/program.h"

#include <algorithm>

#include "format/flow.h"
#include "format/operations.h"

namespace cpu1 {

namespace {

constexpr int64_t most_inputs = 65536, most_vocabulary = 65536, most_patch = 16;
constexpr int64_t most_operations = 4096, most_parts = 256;
constexpr int64_t most_registers = 256, most_states = 4096, most_name = 256;
constexpr int64_t most_register_values = 1 << 20, most_state_values = 1 << 22;

bool is_tensor(const Field &field) {
    return field.kind == Kind::tensor || field.kind == Kind::ternary || field.kind == Kind::optional;
}

using Sizes = std::map<std::string, int64_t>;

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
        if (factor[0] >= '0' && factor[0] <= '9') size = factor[0] - '0';
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
        program_.embed = read_one("embed");
        for (const Json &op : section("trunk", most_operations)) program_.trunk.push_back(read_op("trunk", op));
        program_.head = read_one("head");
        check_states();
        return std::move(program_);
    }

  private:
    void read_header() {
        const std::string place = "program";
        require(json_.kind == Json::object, "program: not an object");
        static const char *const known[] = {"level", "patch", "vocabulary", "width", "registers",
                                            "states", "embed", "trunk", "head"};
        check_names(place, json_, std::vector<std::string>(std::begin(known), std::end(known)));
        const std::string &level = json_.get(place, "level", Json::string).text;
        if (level != "byte" && level != "token") refuse("program: level " + quoted(level) + " is neither byte nor token");
        const auto number = [&](const char *name, int64_t high) {
            return json_.get(place, name, Json::number).whole_number(place + ": " + name, 1, high);
        };
        program_.bytes = level == "byte";
        program_.patch = number("patch", most_patch);
        program_.vocabulary = number("vocabulary", most_vocabulary);
        program_.width = number("width", most_inputs);
        if (program_.bytes && program_.vocabulary != 256) refuse("program: a vocabulary of bytes that is not 256");
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
            refuse(std::string("program: ") + name + " has " + std::to_string(count) + " operations; it must have 1 to " +
                   std::to_string(most));
        return list.items;
    }

    Op read_one(const char *name) {
        Op op = read_op(name, section(name, 1)[0]);
        const bool embeds = op.code == Code::embed_bytes || op.code == Code::embed_token;
        const Slice &part = embeds ? op.out : op.in, &whole = embeds ? program_.x : program_.s;
        if (part.first != whole.first || part.size != whole.size)
            refuse(op.place + ": not the whole of register " + (embeds ? "x" : "s"));
        const bool of_bytes = op.code == Code::embed_bytes || op.code == Code::local_decode;
        if ((of_bytes && !program_.bytes) || (op.code == Code::embed_token && program_.bytes))
            refuse(op.place + " is not for a model of this level");
        return op;
    }

    Op read_op(const std::string &section, const Json &json) {
        const int64_t index = static_cast<int64_t>(program_.trunk.size());
        Op op;
        op.place = "program: " + section + "[" + std::to_string(section == "trunk" ? index : 0) + "]";
        const std::string &name = json.get(op.place, "op", Json::string).text;
        const auto &table = operations();
        const auto found = std::find_if(table.begin(), table.end(), [&](const Operation &o) { return name == o.name; });
        if (found == table.end()) refuse(op.place + ": unknown operation " + quoted(name));
        op.code = static_cast<Code>(found - table.begin());
        op.place += " " + name;
        if (section != found->section) refuse(op.place + " belongs into " + found->section);
        std::vector<std::string> known = {"op"};
        for (const Field &field : found->fields) known.push_back(field.name);
        check_names(op.place, json, known);

        op.sizes = {{"P", program_.patch}, {"V", program_.vocabulary}};
        if (section == "trunk") flow_.join(index);
        std::vector<Use> reads, writes;
        for (const Field &field : found->fields) read_field(op, index, field, json, reads, writes);
        if (op.sizes.count("k") && op.sizes["k"] > most_inputs) refuse(op.place + ": too many inputs");
        flow_.pass(op, std::move(reads), writes);
        return op;
    }

    void read_field(Op &op, int64_t index, const Field &field, const Json &json,
                    std::vector<Use> &reads, std::vector<Use> &writes) {
        const std::string place = op.place + ": " + field.name;
        const std::string name = field.name;
        switch (field.kind) {
            case Kind::read:
            case Kind::write: {
                Register *owner;
                const Slice part = read_slice(place, json.get(op.place, field.name, Json::list), &owner);
                solve(place, field.size, part.size, op.sizes);
                const Slice whole = {owner->where.first + part.first, part.size};
                (name == "out" ? op.out : name == "b" ? op.b : op.in) = whole;
                (field.kind == Kind::read ? reads : writes).push_back({owner, part});
                break;
            }
            case Kind::state: {
                const auto found = states_.find(json.get(op.place, field.name, Json::string).text);
                if (found == states_.end()) refuse(place + ": no such state");
                op.state = found->second;
                if (owned_[static_cast<size_t>(op.state)]) refuse(place + " belongs to another operation already");
                owned_[static_cast<size_t>(op.state)] = true;
                solve(place, field.size, program_.states[static_cast<size_t>(op.state)], op.sizes);
                break;
            }
            case Kind::tensor:
            case Kind::ternary:
            case Kind::optional:
                op.tensors.emplace_back();
                if (field.kind == Kind::optional && !json.find(field.name)) break;
                op.tensors.back() = json.get(op.place, field.name, Json::string).text;
                check_name(place, op.tensors.back());
                break;
            case Kind::parts: {
                const Json &list = json.get(op.place, field.name, Json::list);
                if (list.items.empty() || list.items.size() > most_parts) refuse(place + " is not a list of 1 to 256");
                int64_t total = 0;
                for (const Json &item : list.items) {
                    op.parts.push_back(item.whole_number(place, 1, most_register_values));
                    total += op.parts.back();
                }
                solve(place, field.size, total, op.sizes);
                break;
            }
            case Kind::number: {
                const int64_t value = json.get(op.place, field.name, Json::number).whole_number(place, field.low, field.high);
                if (value % field.step) refuse(place + " must be a multiple of " + std::to_string(field.step));
                (name == "heads" ? op.heads : name == "head_size" ? op.head_size : op.segment) = value;
                op.sizes[name] = value;
                break;
            }
            case Kind::flag:
                op.accumulate = json.get(op.place, field.name, Json::boolean).truth;
                break;
            case Kind::choice: {
                static const char *const words[] = {"none", "silu", "relu2"};
                const std::string &word = json.get(op.place, field.name, Json::string).text;
                while (op.activation < 3 && word != words[op.activation]) ++op.activation;
                if (op.activation == 3) refuse(place + " is " + quoted(word) + "; it must be none, silu or relu2");
                break;
            }
            case Kind::target: {
                const int64_t last = static_cast<int64_t>(json_.get("program", "trunk", Json::list).items.size()) - 1;
                op.skip_to = json.get(op.place, field.name, Json::number).whole_number(place, index + 1, last);
                break;
            }
        }
    }

    Slice read_slice(const std::string &place, const Json &json, Register **owner) {
        if (json.items.size() != 3 || json.items[0].kind != Json::string)
            refuse(place + " is not [register, first, size]");
        const auto found = registers_.find(json.items[0].text);
        if (found == registers_.end()) refuse(place + ": no register " + quoted(json.items[0].text));
        *owner = &found->second;
        const int64_t size = found->second.where.size;
        const int64_t first = json.items[1].whole_number(place + ": first value", 0, size - 1);
        return {first, json.items[2].whole_number(place + ": size", 1, size - first)};
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

void check_op(Op &op, const std::map<std::string, StoredTensor> &stored) {
    size_t index = 0;
    for (const Field &field : operations()[static_cast<size_t>(op.code)].fields) {
        if (!is_tensor(field)) continue;
        const std::string &name = op.tensors[index++];
        if (name.empty()) continue;
        const std::string place = op.place + ": " + field.name + ": tensor " + quoted(name);
        if (field.kind == Kind::ternary) {
            const StoredTensor &trits = find_tensor(op.place + ": " + field.name, stored, name + ".trits");
            if (trits.dtype != "U8") refuse(place + " is not of type U8");
            check_shape(place, trits, {(op.sizes["n"] + 15) / 16, (op.sizes["k"] + 15) / 16, 64});
            check_scale(place, stored, name, static_cast<int64_t>(op.parts.size()));
            continue;
        }
        const StoredTensor &tensor = find_tensor(op.place + ": " + field.name, stored, name);
        const std::vector<std::string> shape = split(field.size, ',');
        if (tensor.shape.size() != shape.size()) refuse(place + " must have the shape (" + field.size + ")");
        int64_t rows = 1;
        for (size_t i = 0; i < shape.size(); ++i) {
            solve(place + ": dimension " + std::to_string(i), shape[i], tensor.shape[i], op.sizes);
            if (tensor.shape[i] == 0) refuse(place + " is empty");
            if (i + 1 < shape.size()) rows *= tensor.shape[i];
        }
        if (tensor.shape.back() > most_inputs && shape.size() > 1) refuse(place + ": too many inputs");
        if (tensor.dtype == "U8") refuse(place + ": unexpected type U8");
        if (tensor.dtype != "I8") continue;
        if (shape.size() < 2) refuse(place + ": int8 without rows");
        check_scale(place, stored, name, rows);
    }
}

}  // namespace

Program read_program(const Json &program) { return Reader(program).read(); }

void check_tensors(Program &program, const std::map<std::string, StoredTensor> &stored) {
    check_op(program.embed, stored);
    for (Op &op : program.trunk) check_op(op, stored);
    check_op(program.head, stored);
}

}  // namespace cpu1
