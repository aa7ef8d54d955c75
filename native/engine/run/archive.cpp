#include "run/archive.h"

#include <string.h>

#include <algorithm>
#include <string>

#include "format/digest.h"
#include "format/errors.h"
#include "learn/learner.h"
#include "run/session.h"

namespace cpu1 {

namespace {

constexpr char magic[] = "cpu1z";
constexpr int64_t magic_bytes = 5, check_bytes = 8, block_head = 12;
constexpr int newest = 2;  // version
constexpr int64_t short_block = 1 << 13, most_block = 1 << 30;
constexpr int64_t piece = 2048;  // units at once
const char *const arithmetics[] = {"numpy", "plain", "fma"};  // by their number in the file

int64_t head_bytes(int version) { return version == 1 ? 27 : 28; }

void put(std::vector<uint8_t> &out, uint64_t value, int bytes) {  // little-endian
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<uint8_t>(value >> 8 * i));
}

uint64_t number(const uint8_t *from, int bytes) {
    uint64_t out = 0;
    for (int i = bytes; i-- > 0;) out = out << 8 | from[i];
    return out;
}

std::array<uint8_t, 32> digest(const uint8_t *bytes, int64_t size) {
    Sha256 sha;
    sha.add(bytes, size);
    return sha.finish();
}

// Where attention sees the whole block, time and memory grow with it.
int64_t default_block(const Program &program) {
    for (const Op &op : program.trunk)
        if (op.code == Code::attend && !op.segment) return short_block;
    return most_block;
}

// How large a learner a block gets: eight decisions a byte, within limits.
int counts_for(int64_t size) {
    int bits = 0;
    for (int64_t n = 8 * size; n; n >>= 1) ++bits;
    return std::min(std::max(bits, least_counts), most_counts);
}

// A stream for one block.
class Block {
  public:
    Block(const std::shared_ptr<const Model> &model, bool learns, int64_t size) : session(model, 1, 1) {
        if (learns) session.learn(counts_for(size));
    }
    Session session;
};

void require_bytes(const Model &model) {
    require(model.program.bytes, "archives are for models that read bytes; this one reads tokens");
}

std::vector<uint8_t> encoded(const std::shared_ptr<const Model> &model, const uint8_t *text, int64_t size,
                             bool learns) {
    Block block(model, learns, size);
    Encoder encoder;
    for (int64_t i = 0; i < size; i += piece) {
        const std::vector<uint32_t> units(text + i, text + std::min(i + piece, size));
        block.session.encode(0, units.data(), static_cast<int64_t>(units.size()), encoder);
    }
    return encoder.finish();
}

struct Head {
    int version, arithmetic;
    Fingerprint fingerprint;
    int64_t block, size;
    bool learns;
};

Head read_head(const uint8_t *from, int64_t size) {
    require(size >= magic_bytes && !memcmp(from, magic, magic_bytes), "not an archive of cpu1 compress");
    const int version = size > magic_bytes ? from[magic_bytes] : newest;
    if (version < 1 || version > newest)
        refuse("an archive of version " + std::to_string(version) + "; this cpu1 reads versions 1 to 2");
    const int64_t body = size - check_bytes;
    if (body < head_bytes(version) || memcmp(digest(from, body).data(), from + body, check_bytes))
        refuse("the archive is damaged: changed, cut short, or followed by something else");
    Head head{version, from[6], {}, static_cast<int64_t>(number(from + 15, 4)), 0, version > 1 && from[27]};
    std::copy(from + 7, from + 15, head.fingerprint.begin());
    const uint64_t text = number(from + 19, 8);
    head.size = static_cast<int64_t>(text);
    if (head.arithmetic > 2 || head.block < 1 || head.block > most_block || text >> 62 || (version > 1 && from[27] > 1))
        refuse("the archive is not valid: its head has a value out of range");
    return head;
}

// Adds the text of a block to `out`.
void decode_block(const std::shared_ptr<const Model> &model, bool learns, uint32_t units, const uint8_t *code,
                  int64_t code_size, int64_t size, std::vector<uint8_t> &out) {
    if (!units) {
        out.insert(out.end(), code, code + code_size);
        return;
    }
    Block block(model, learns, size);
    Decoder decoder(code, code_size);
    std::vector<uint32_t> drawn(static_cast<size_t>(piece));
    for (int64_t i = 0; i < units; i += piece) {
        const int64_t count = std::min<int64_t>(piece, units - i);
        block.session.decode(0, decoder, count, drawn.data());
        out.insert(out.end(), drawn.begin(), drawn.begin() + count);
    }
}

}  // namespace

Fingerprint fingerprint_of(const Source &source) {
    Sha256 sha;
    std::vector<uint8_t> part(1 << 16);
    for (int64_t at = 0; at < source.size(); at += static_cast<int64_t>(part.size())) {
        const int64_t count = std::min(static_cast<int64_t>(part.size()), source.size() - at);
        source.read(at, count, part.data());
        sha.add(part.data(), count);
    }
    const auto all = sha.finish();
    Fingerprint out;
    std::copy(all.begin(), all.begin() + out.size(), out.begin());
    return out;
}

std::vector<uint8_t> compress(std::shared_ptr<const Model> model, const Fingerprint &fingerprint, const uint8_t *text,
                              int64_t size, bool learn) {
    require_bytes(*model);
    const auto found = std::find_if(std::begin(arithmetics), std::end(arithmetics),
                                    [&](const char *name) { return !strcmp(name, model->kernels->arithmetic); });
    require(found != std::end(arithmetics), "an arithmetic that archives have no number for");
    const int64_t block = default_block(model->program);
    std::vector<uint8_t> out(magic, magic + magic_bytes);
    put(out, newest, 1);
    put(out, static_cast<uint64_t>(found - std::begin(arithmetics)), 1);
    out.insert(out.end(), fingerprint.begin(), fingerprint.end());
    put(out, static_cast<uint64_t>(block), 4);
    put(out, static_cast<uint64_t>(size), 8);
    put(out, learn, 1);
    for (int64_t i = 0; i < size; i += block) {
        const int64_t count = std::min(block, size - i);
        const std::vector<uint8_t> code = encoded(model, text + i, count, learn);
        const bool shorter = static_cast<int64_t>(code.size()) < count;  // else the text itself is kept
        put(out, static_cast<uint64_t>(shorter ? count : 0), 4);
        put(out, static_cast<uint64_t>(shorter ? static_cast<int64_t>(code.size()) : count), 4);
        put(out, crc32(text + i, count), 4);
        if (shorter) out.insert(out.end(), code.begin(), code.end());
        else out.insert(out.end(), text + i, text + i + count);
    }
    const auto check = digest(out.data(), static_cast<int64_t>(out.size()));
    out.insert(out.end(), check.begin(), check.begin() + check_bytes);
    return out;
}

std::vector<uint8_t> decompress(std::shared_ptr<const Model> model, const Fingerprint &fingerprint,
                                const uint8_t *archive, int64_t size) {
    require_bytes(*model);
    const Head head = read_head(archive, size);
    require(head.fingerprint == fingerprint, "the archive was made with another model");
    if (strcmp(arithmetics[head.arithmetic], model->kernels->arithmetic))
        refuse(std::string("the archive is of the arithmetic ") + arithmetics[head.arithmetic] +
               ", these kernels are " + model->kernels->arithmetic);
    std::vector<uint8_t> out;
    int64_t at = head_bytes(head.version);
    const int64_t end = size - check_bytes;
    for (int64_t done = 0; done < head.size; done += head.block) {
        const int64_t text = std::min(head.block, head.size - done);
        require(end - at >= block_head, "the archive is not valid: its blocks do not make up its text");
        const uint32_t units = static_cast<uint32_t>(number(archive + at, 4));
        const int64_t code = static_cast<int64_t>(number(archive + at + 4, 4));
        const uint32_t crc = static_cast<uint32_t>(number(archive + at + 8, 4));
        at += block_head;
        require(code <= end - at && (units ? units == text : code == text),
                "the archive is not valid: its blocks do not make up its text");
        decode_block(model, head.learns, units, archive + at, code, text, out);
        require(crc32(out.data() + done, text) == crc,
                "the archive is whole, but decodes to another text: this version of cpu1 computes other numbers");
        at += code;
    }
    require(at == end, "the archive is not valid: its blocks do not make up its text");
    return out;
}

const char *arithmetic_of(const uint8_t *archive, int64_t size) {
    const bool fits = size > magic_bytes + 1 && !memcmp(archive, magic, magic_bytes);
    return fits && archive[6] < 3 ? arithmetics[archive[6]] : nullptr;
}

}  // namespace cpu1
