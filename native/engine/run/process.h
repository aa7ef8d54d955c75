// Which process this is. A fork's child has another number, and none of its parent's threads but the one that forked.
#pragma once
#include <stdint.h>

namespace cpu1 {

uint32_t process_number();

}  // namespace cpu1
