// Damage to a packed file that its reader cannot refuse at once: numbers, words and stretches of its header.
#pragma once
#include <stdint.h>
#include <string.h>

#include <random>
#include <string>

namespace {

using Random = std::mt19937_64;

uint64_t below(Random &random, uint64_t n) { return random() % (n ? n : 1); }

uint64_t header_size(const std::string &file) {
    uint64_t size = 0;
    if (file.size() >= 8) memcpy(&size, file.data(), 8);
    return size;
}

std::string with_header(const std::string &header, const std::string &file) {
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char *>(&size), 8) + header + file.substr(8 + header_size(file));
}

void flip_bits(std::string &text, Random &random) {
    for (uint64_t i = below(random, 8) + 1; i > 0 && !text.empty(); --i)
        text[below(random, text.size())] ^= static_cast<char>(1 << below(random, 8));
}

// A number of the text becomes another one.
void change_number(std::string &text, Random &random) {
    static const char *const odd[] = {"0",
                                      "-1",
                                      "1",
                                      "3",
                                      "15",
                                      "16",
                                      "17",
                                      "255",
                                      "65536",
                                      "1048577",
                                      "4294967296",
                                      "9223372036854775807",
                                      "18446744073709551616",
                                      "1e300",
                                      "0.5",
                                      "null",
                                      "true",
                                      "[]",
                                      "\"x\""};
    const size_t from = text.find_first_of("0123456789", below(random, text.size()));
    if (from == std::string::npos) return;
    size_t end = from;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    const std::string small = std::to_string(below(random, 2000));
    text.replace(from, end - from, below(random, 3) ? small : odd[below(random, sizeof odd / sizeof *odd)]);
}

// A word of the text becomes another word of it.
void change_word(std::string &text, Random &random) {
    const auto word = [&](size_t &from, size_t &size) {
        from = text.find('"', below(random, text.size()));
        if (from == std::string::npos) return false;
        const size_t end = text.find('"', from + 1);
        size = end == std::string::npos ? 0 : end - from;
        return size > 0;
    };
    size_t a, a_size, b, b_size;
    if (word(a, a_size) && word(b, b_size)) text.replace(a, a_size, text.substr(b, b_size));
}

// A stretch from one brace or comma to another is taken out, or repeated.
void change_stretch(std::string &text, Random &random) {
    const size_t from = text.find_first_of("{[,", below(random, text.size()));
    const size_t end = from == std::string::npos ? from : text.find_first_of("}],", from + 1 + below(random, 200));
    if (end == std::string::npos) return;
    const std::string stretch = text.substr(from, end - from);
    if (below(random, 2)) text.erase(from, stretch.size());
    else
        for (uint64_t times = below(random, 3) ? 1 : below(random, 300); times > 0; --times) text.insert(from, stretch);
}

std::string mutated(const std::string &seed, Random &random) {
    std::string file = seed;
    const uint64_t kind = below(random, 10);
    if (kind == 0) {
        flip_bits(file, random);
    } else if (kind == 1) {
        file.resize(below(random, file.size()));
    } else if (kind == 2) {
        const uint64_t size = below(random, 2) ? random() : header_size(file) + below(random, 64) - 32;
        memcpy(file.data(), &size, 8);
    } else if (kind == 3) {
        for (uint64_t i = below(random, 64) + 1; i > 0; --i)
            file[8 + header_size(seed) + below(random, file.size() - 8 - header_size(seed))] =
                static_cast<char>(random());
    } else {
        std::string header = file.substr(8, header_size(file));
        for (uint64_t i = below(random, 4) + 1; i > 0 && !header.empty(); --i) {
            switch (below(random, 6)) {
                case 0:
                    flip_bits(header, random);
                    break;
                case 1:
                case 2:
                    change_number(header, random);
                    break;
                case 3:
                case 4:
                    change_word(header, random);
                    break;
                default:
                    change_stretch(header, random);
            }
        }
        file = with_header(header, file);
    }
    return file;
}

}  // namespace
