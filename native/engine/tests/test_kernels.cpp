// Every table of kernels that the machine can run, against sums written out: integers exactly, and a row computed
// alone against the same row among others, bit by bit. For machines without Python (NEON under an emulator).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace {

uint32_t seed = 1;
uint32_t random_bits() {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}
float random_float() { return static_cast<float>(random_bits()) / 8388608.0f - 1.0f; }

int64_t up16(int64_t n) { return (n + 15) / 16 * 16; }

struct Case {
    cpu1_kind kind;
    int64_t outputs, inputs, rows;
    std::vector<float> x, bias, scale;
    std::vector<int32_t> weights;  // integer kinds: (outputs, inputs)
    std::vector<uint8_t> panel;
    int64_t groups;
};

void put(Case &c, int64_t n, int64_t k, int32_t w) {
    const int64_t each = cpu1_inputs_a_group(c.kind);
    uint8_t *lane = c.panel.data() + ((n / 16 * c.groups + k / each) * 16 + n % 16) * 4;
    if (c.kind == CPU1_TERNARY) {
        const int pair = static_cast<int>(k % 16 / 4);
        lane[k % 4] = static_cast<uint8_t>((lane[k % 4] & ~(3 << (2 * pair))) | ((w + 1) << (2 * pair)));
    } else if (c.kind == CPU1_INT8) {
        lane[k % 4] = static_cast<uint8_t>(w);
    } else {
        const float value = static_cast<float>(w) / 64;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (c.kind == CPU1_FP32) memcpy(lane, &bits, 4);
        else memcpy(lane + 2 * (k % 2), reinterpret_cast<uint8_t *>(&bits) + 2, 2);
    }
}

Case random_case(cpu1_kind kind, int64_t outputs, int64_t inputs, int64_t rows) {
    Case c{kind, outputs, inputs, rows, {}, {}, {}, {}, {}, 0};
    const int64_t padded = kind == CPU1_TERNARY ? up16(inputs) : (inputs + 3) / 4 * 4;
    c.groups = padded / cpu1_inputs_a_group(kind);
    c.panel.assign(static_cast<size_t>(up16(outputs) / 16 * c.groups * 64), kind == CPU1_TERNARY ? 0x55 : 0);
    for (int64_t i = 0; i < rows * inputs; ++i) c.x.push_back(random_float());
    for (int64_t i = 0; i < up16(outputs); ++i) {
        c.bias.push_back(random_float());
        c.scale.push_back(random_float());
    }
    const bool extreme = random_bits() % 4 == 0;  // the largest sums there are
    if (extreme) {
        for (float &x : c.x) x = 1.0f;
    }
    for (int64_t n = 0; n < outputs; ++n) {
        for (int64_t k = 0; k < inputs; ++k) {
            const int32_t most = kind == CPU1_TERNARY ? 1 : 127;
            const int32_t w = extreme ? most : static_cast<int32_t>(random_bits() % (2 * most + 1)) - most;
            c.weights.push_back(w);
            put(c, n, k, w);
        }
    }
    return c;
}

// `rows` rows from `first` on, by one call for each `blocks` blocks.
std::vector<float> run(const cpu1_kernels *k, const Case &c, int64_t first, int64_t rows, int64_t blocks) {
    const int64_t stride = up16(c.inputs) / 16 * cpu1_prepared(c.kind), all = up16(c.outputs) / 16;
    std::vector<uint8_t> in(static_cast<size_t>(rows * stride));
    std::vector<cpu1_row> row(static_cast<size_t>(rows));
    std::vector<float> out(static_cast<size_t>(rows * c.outputs), 0.5f);
    for (int64_t m = 0; m < rows; ++m)
        k->prepare[c.kind](c.x.data() + (first + m) * c.inputs, nullptr, 0, c.inputs, in.data() + m * stride,
                           row.data() + m);
    const cpu1_product p = {c.panel.data(), c.groups,  c.outputs, c.scale.data(), 16,      c.bias.data(), CPU1_NONE, 1,
                            rows,           in.data(), stride,    row.data(),     nullptr, out.data(),    c.outputs};
    for (int64_t b = 0; b < all; b += blocks) k->product[c.kind](&p, b, b + blocks < all ? b + blocks : all);
    return out;
}

bool same(const float *a, const float *b, size_t count) { return !memcmp(a, b, count * sizeof *a); }

const char *check(const cpu1_kernels *k, const Case &c) {
    const std::vector<float> all = run(k, c, 0, c.rows, 1000);
    if (!same(all.data(), run(k, c, 0, c.rows, 1).data(), all.size())) return "blocks by themselves differ";
    for (int64_t m = 0; m < c.rows; ++m) {
        const std::vector<float> alone = run(k, c, m, 1, 3);
        if (!same(all.data() + m * c.outputs, alone.data(), alone.size())) return "a row by itself differs";
    }
    if (c.kind > CPU1_INT8) return nullptr;
    // The plain kernels' own integers and scale: prepare is compared across tables here.
    const cpu1_kernels *plain = cpu1_kernels_find("portable");
    const int64_t width = up16(c.inputs) / 16 * cpu1_prepared(c.kind);
    for (int64_t m = 0; m < c.rows; ++m) {
        std::vector<uint8_t> in(static_cast<size_t>(width));
        cpu1_row row, own;
        k->prepare[c.kind](c.x.data() + m * c.inputs, nullptr, 0, c.inputs, in.data(), &own);
        plain->prepare[c.kind](c.x.data() + m * c.inputs, nullptr, 0, c.inputs, in.data(), &row);
        if (own.sum != row.sum) return "quantised inputs differ";
        for (int64_t n = 0; n < c.outputs; ++n) {
            int64_t sum = 0;
            for (int64_t i = 0; i < c.inputs; ++i) {
                int16_t q;
                if (c.kind == CPU1_INT8) memcpy(&q, in.data() + 2 * i, 2);
                else q = static_cast<int8_t>(in[static_cast<size_t>(i)]);
                sum += static_cast<int64_t>(q) * c.weights[static_cast<size_t>(n * c.inputs + i)];
            }
            const float product = static_cast<float>(static_cast<int32_t>(sum)) * own.scale;
            const float scaled = product * c.scale[static_cast<size_t>(n)];
            const float biased = scaled + c.bias[static_cast<size_t>(n)];
            const float y = 0.5f + biased;
            if (!same(&y, &all[static_cast<size_t>(m * c.outputs + n)], 1)) return "a product is not exact";
        }
    }
    return nullptr;
}

}  // namespace

int main() {
    const std::string names = cpu1_kernels_names();
    for (size_t at = 0; at < names.size();) {
        const size_t end = names.find(',', at) == std::string::npos ? names.size() : names.find(',', at);
        const std::string name = names.substr(at, end - at);
        at = end + 1;
        const cpu1_kernels *k = cpu1_kernels_find(name.c_str());
        for (int round = 0; round < 120; ++round) {
            const cpu1_kind kind = static_cast<cpu1_kind>(round % CPU1_KINDS);
            const Case c = random_case(kind, 1 + random_bits() % 150, 1 + random_bits() % 1100, 1 + random_bits() % 12);
            if (const char *wrong = check(k, c)) {
                printf("%s kind %d, %dx%d, %d rows: %s\n", name.c_str(), kind, static_cast<int>(c.outputs),
                       static_cast<int>(c.inputs), static_cast<int>(c.rows), wrong);
                return 1;
            }
        }
        printf("%s ok\n", name.c_str());
    }
    return 0;
}
