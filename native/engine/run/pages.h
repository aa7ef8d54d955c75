// Memory from the system, by pages.
#pragma once
#include <stdint.h>

namespace cpu1 {

// Zeros that cost memory only where they are touched, on huge pages where the system has them; null if there are none.
uint8_t *reserve_pages(int64_t size);
// The size that is left after the system got back what lies behind `kept` bytes.
int64_t trim_pages(uint8_t *pages, int64_t size, int64_t kept);
void release_pages(uint8_t *pages, int64_t size);

}  // namespace cpu1
