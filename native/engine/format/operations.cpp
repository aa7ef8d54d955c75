#include "format/operations.h"

namespace cpu1 {

std::string operation_names() {
    std::string out;
    for (const Operation &operation : operations()) out += (out.empty() ? "" : ",") + std::string(operation.name);
    return out;
}

}  // namespace cpu1
