#include "format/errors.h"

namespace cpu1 {

std::string quoted(const std::string &text) {
    std::string out = "'";
    for (const char c : text) {
        if (out.size() > 60) return out + "...'";
        out += c >= 0x20 && c < 0x7f ? c : '?';
    }
    return out + "'";
}

}  // namespace cpu1
