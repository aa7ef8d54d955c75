// Refusals: every error that a file or a request can cause.
#pragma once
#include <stdexcept>
#include <string>

namespace cpu1 {

// What is wrong with a file or a request, in words for a person.
struct Invalid : std::runtime_error {
    using std::runtime_error::runtime_error;
};
[[noreturn]] inline void refuse(const std::string &what) { throw Invalid(what); }
inline void require(bool holds, const char *what) {
    if (!holds) refuse(what);
}
// Text from a file for a message: printable, cut where it is long.
std::string quoted(const std::string &text);

}  // namespace cpu1
