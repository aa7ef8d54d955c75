// Checks of bytes: SHA-256 (FIPS 180-4) and CRC-32 (as zlib's).
#pragma once
#include <stdint.h>

#include <array>

namespace cpu1 {

class Sha256 {
  public:
    void add(const void *bytes, int64_t size);
    std::array<uint8_t, 32> finish();  // once

  private:
    void block(const uint8_t *bytes);

    uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t held_[64];
    uint64_t size_ = 0;
};

uint32_t crc32(const void *bytes, int64_t size);

}  // namespace cpu1
