#include "format/digest.h"

#include <string.h>

#include <algorithm>

namespace cpu1 {

namespace {

constexpr uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

uint32_t turn(uint32_t x, int by) { return x >> by | x << (32 - by); }

}  // namespace

void Sha256::add(const void *bytes, int64_t size) {
    const uint8_t *from = static_cast<const uint8_t *>(bytes);
    while (size > 0) {
        const int64_t held = static_cast<int64_t>(size_ % 64);
        if (held == 0 && size >= 64) {
            block(from);
            from += 64, size -= 64, size_ += 64;
            continue;
        }
        const int64_t part = std::min(size, 64 - held);
        memcpy(held_ + held, from, static_cast<size_t>(part));
        from += part, size -= part, size_ += static_cast<uint64_t>(part);
        if (size_ % 64 == 0) block(held_);
    }
}

void Sha256::block(const uint8_t *bytes) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i)
        w[i] = uint32_t{bytes[4 * i]} << 24 | uint32_t{bytes[4 * i + 1]} << 16 | uint32_t{bytes[4 * i + 2]} << 8 |
               bytes[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    uint32_t s[8];
    std::copy(state_, state_ + 8, s);
    for (int i = 0; i < 64; ++i) {
        const uint32_t one = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) +
                             ((s[4] & s[5]) ^ (~s[4] & s[6])) + rounds[i] + w[i];
        const uint32_t two =
            (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        for (int k = 7; k > 0; --k) s[k] = s[k - 1];
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; ++i) state_[i] += s[i];
}

std::array<uint8_t, 32> Sha256::finish() {
    const uint64_t bits = size_ * 8;
    const uint8_t end[64] = {0x80};
    add(end, static_cast<int64_t>((119 - size_ % 64) % 64 + 1));
    uint8_t length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
    add(length, 8);
    std::array<uint8_t, 32> out;
    for (int i = 0; i < 32; ++i) out[static_cast<size_t>(i)] = static_cast<uint8_t>(state_[i / 4] >> (24 - i % 4 * 8));
    return out;
}

uint32_t crc32(const void *bytes, int64_t size) {
    static const std::array<uint32_t, 256> table = [] {
        std::array<uint32_t, 256> out;
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
            out[i] = value;
        }
        return out;
    }();
    uint32_t crc = ~uint32_t{0};
    for (int64_t i = 0; i < size; ++i) crc = crc >> 8 ^ table[(crc ^ static_cast<const uint8_t *>(bytes)[i]) & 0xff];
    return ~crc;
}

}  // namespace cpu1
