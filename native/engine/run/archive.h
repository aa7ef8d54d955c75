// Archives of texts, as src/cpu1/runtime/archive.py has them and docs/compression.md describes them. For models of bytes.
#pragma once
#include <stdint.h>

#include <array>
#include <memory>
#include <vector>

#include "format/container.h"
#include "run/model.h"

namespace cpu1 {

using Fingerprint = std::array<uint8_t, 8>;
Fingerprint fingerprint_of(const Source &source);

std::vector<uint8_t> compress(std::shared_ptr<const Model> model, const Fingerprint &fingerprint, const uint8_t *text,
                              int64_t size, bool learn);
// Invalid for what is damaged, and for an archive of another model or arithmetic.
std::vector<uint8_t> decompress(std::shared_ptr<const Model> model, const Fingerprint &fingerprint,
                                const uint8_t *archive, int64_t size);
const char *arithmetic_of(const uint8_t *archive, int64_t size);  // null for what is no archive

}  // namespace cpu1
