#include "run/weights.h"

#include <string.h>

#include <algorithm>

namespace cpu1 {

namespace {

float from_bf16(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// The values of packed bytes, the first in the lowest bits.
template <int Bits>
void spread(const uint8_t *from, int64_t bytes, float scale, float *out) {
    constexpr int each = 8 / Bits, mask = (1 << Bits) - 1, middle = 1 << (Bits - 1);
    for (int64_t i = 0; i < bytes; ++i)
        for (int part = 0; part < each; ++part)
            out[i * each + part] = scale * static_cast<float>((from[i] >> part * Bits & mask) - middle);
}

}  // namespace

// out += scale * row, of whatever width
void add_row(cpu1_kind kind, const uint8_t *from, float scale, int64_t width, float *out) {
    for (int64_t i = 0; i < width; ++i) {
        if (kind == CPU1_INT8) {
            out[i] += scale * static_cast<float>(static_cast<int8_t>(from[i]));
        } else if (kind == CPU1_BF16) {
            uint16_t bits;
            memcpy(&bits, from + 2 * i, sizeof bits);
            out[i] += from_bf16(bits);
        } else {
            float value;
            memcpy(&value, from + 4 * i, sizeof value);
            out[i] += value;
        }
    }
}

void Table::add_to(int64_t row, float *out) const {
    add_row(kind, rows + row * width * size_of(kind), scale ? scale[row] : 1, width, out);
}

void PackedRows::copy_to(int64_t row, float *out) const {
    const uint8_t *from = bytes + row * stride;
    const uint32_t power = static_cast<uint32_t>(static_cast<int8_t>(*from++) + 127) << 23;
    float scale;
    memcpy(&scale, &power, sizeof scale);
    switch (bits) {
        case 2:
            return spread<2>(from, stride - 1, scale, out);
        case 4:
            return spread<4>(from, stride - 1, scale, out);
        default:
            return spread<8>(from, stride - 1, scale, out);
    }
}

void Table::copy_to(int64_t row, float *out) const {
    std::fill(out, out + width, 0.0f);
    add_to(row, out);
}

}  // namespace cpu1
