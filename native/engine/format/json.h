// JSON as the standard has it, read into a tree. Strict: no name twice in an object, no depth or size without end.
#pragma once
#include <stdint.h>

#include <string>
#include <utility>
#include <vector>

namespace cpu1 {

struct Json {
    enum Kind { null, boolean, number, string, list, object };
    Kind kind = null;
    bool truth = false;
    bool whole = false;  // a number without fraction that fits int64
    int64_t integer = 0;
    std::string text;
    std::vector<Json> items;         // of a list, or the values of an object
    std::vector<std::string> names;  // of an object

    const Json *find(const char *name) const;
    // The field, of that kind; Invalid, naming `place`, where it is not.
    const Json &get(const std::string &place, const char *name, Kind kind) const;
    int64_t whole_number(const std::string &place, int64_t low, int64_t high) const;
};

Json parse_json(const char *text, size_t size);

}  // namespace cpu1
