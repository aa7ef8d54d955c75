// A parser of our own, because the file may be hostile and libraries are lenient where that matters here: many take the
// last of two fields of one name, read deep nesting by deep recursion, turn large whole numbers into doubles, or accept
// comments, NaN and text after the end. Then Python's reader and this one could see two programs in one file. This one
// refuses all of it, bounds depth and memory, and needs no dependency for 200 lines.
#include "format/json.h"

#include <string.h>

#include <algorithm>

#include "format/errors.h"

namespace cpu1 {

namespace {

constexpr int deepest = 64;
constexpr int64_t most_values = 1 << 17;  // a value takes about a hundred bytes

class Parser {
  public:
    Parser(const char *text, size_t size) : at_(text), end_(text + size) {}

    Json whole() {
        Json value = read(0);
        space();
        if (at_ != end_) wrong("text after the end");
        return value;
    }

  private:
    [[noreturn]] void wrong(const char *what) const { refuse(std::string("JSON: ") + what); }

    void space() {
        while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
    }
    char next() {
        space();
        if (at_ == end_) wrong("cut short");
        return *at_;
    }
    bool take(char c) {
        if (next() != c) return false;
        ++at_;
        return true;
    }
    bool take_word(const char *word) {
        const size_t size = strlen(word);
        if (static_cast<size_t>(end_ - at_) < size || memcmp(at_, word, size) != 0) return false;
        at_ += size;
        return true;
    }

    Json read(int depth) {
        if (depth > deepest) wrong("nested too deeply");
        if (++values_ > most_values) wrong("too many values");
        Json value;
        const char c = next();
        if (c == '{') {
            read_object(value, depth);
        } else if (c == '[') {
            read_list(value, depth);
        } else if (c == '"') {
            value.kind = Json::string;
            value.text = read_string();
        } else if (take_word("true") || take_word("false")) {
            value.kind = Json::boolean;
            value.truth = c == 't';
        } else if (!take_word("null")) {
            read_number(value);
        }
        return value;
    }

    void read_object(Json &value, int depth) {
        value.kind = Json::object;
        ++at_;
        if (take('}')) return;
        do {
            if (next() != '"') wrong("a name without quotes");
            value.names.push_back(read_string());
            if (!take(':')) wrong("a name without value");
            value.items.push_back(read(depth + 1));
        } while (take(','));
        if (!take('}')) wrong("an object without end");
        std::vector<std::string> sorted = value.names;
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end()) refuse("JSON: " + quoted(*twice) + " is twice in one object");
    }

    void read_list(Json &value, int depth) {
        value.kind = Json::list;
        ++at_;
        if (take(']')) return;
        do value.items.push_back(read(depth + 1));
        while (take(','));
        if (!take(']')) wrong("a list without end");
    }

    std::string read_string() {
        std::string out;
        for (++at_;;) {
            if (at_ == end_) wrong("a string without end");
            const char c = *at_++;
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) wrong("a control character in a string");
            if (c != '\\') out += c;
            else read_escape(out);
        }
    }

    void read_escape(std::string &out) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        if (at_ == end_) wrong("cut short");
        const char c = *at_++;
        if (const char *found = c ? strchr(from, c) : nullptr) {
            out += to[found - from];
            return;
        }
        if (c != 'u') wrong("an unknown escape");
        uint32_t code = read_hex();
        if (code >= 0xd800 && code < 0xdc00 && take_word("\\u")) {
            const uint32_t low = read_hex();
            if (low < 0xdc00 || low > 0xdfff) wrong("half a character");
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        if (code >= 0xd800 && code <= 0xdfff) wrong("half a character");
        append_utf8(out, code);
    }

    uint32_t read_hex() {
        uint32_t code = 0;
        for (int i = 0; i < 4; ++i) {
            if (at_ == end_) wrong("cut short");
            const char c = *at_++;
            const int digit = c >= '0' && c <= '9'                 ? c - '0'
                              : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                                   : -1;
            if (digit < 0) wrong("an escape that is not hexadecimal");
            code = code * 16 + static_cast<uint32_t>(digit);
        }
        return code;
    }

    static void append_utf8(std::string &out, uint32_t code) {
        if (code < 0x80) {
            out += static_cast<char>(code);
            return;
        }
        const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        out += static_cast<char>((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | (code >> (6 * more)));
        for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3f));
    }

    int64_t digits(int64_t *value) {
        int64_t count = 0;
        for (; at_ < end_ && *at_ >= '0' && *at_ <= '9'; ++at_, ++count) {
            if (*value <= (INT64_MAX - 9) / 10) *value = *value * 10 + (*at_ - '0');
            else *value = INT64_MAX;
        }
        return count;
    }

    // Fractions are checked, not kept: nothing that the engine reads has one.
    void read_number(Json &value) {
        value.kind = Json::number;
        const bool negative = at_ < end_ && *at_ == '-';
        if (negative) ++at_;
        const char *first = at_;
        int64_t whole = 0, ignored = 0;
        const int64_t count = digits(&whole);
        if (count == 0 || (count > 1 && *first == '0')) wrong("not a value");
        value.whole = whole != INT64_MAX;
        if (at_ < end_ && *at_ == '.') {
            ++at_;
            value.whole = false;
            if (digits(&ignored) == 0) wrong("a number without digits");
        }
        if (at_ < end_ && (*at_ | 32) == 'e') {
            ++at_;
            value.whole = false;
            if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
            if (digits(&ignored) == 0) wrong("a number without digits");
        }
        value.integer = negative ? -whole : whole;
    }

    const char *at_, *end_;
    int64_t values_ = 0;
};

}  // namespace

const Json *Json::find(const char *name) const {
    for (size_t i = 0; i < names.size(); ++i) {
        if (names[i] == name) return &items[i];
    }
    return nullptr;
}

const Json &Json::get(const std::string &place, const char *name, Kind wanted) const {
    static const char *const words[] = {"null", "true or false", "a number", "a string", "a list", "an object"};
    const Json *found = kind == object ? find(name) : nullptr;
    if (!found) refuse(place + ": field " + name + " is missing");
    if (found->kind != wanted) refuse(place + ": " + name + " is not " + words[wanted]);
    return *found;
}

int64_t Json::whole_number(const std::string &place, int64_t low, int64_t high) const {
    if (kind != number || !whole || integer < low || integer > high)
        refuse(place + " must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    return integer;
}

Json parse_json(const char *text, size_t size) { return Parser(text, size).whole(); }

}  // namespace cpu1
