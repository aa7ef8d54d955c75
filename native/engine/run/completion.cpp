// Whole words that may come next, by beam search; the same as cpu1/runtime/completion.py.
#include <algorithm>

#include "format/errors.h"
#include "run/session.h"

namespace cpu1 {

namespace {

constexpr uint32_t blank = ' ';

struct Beginning {
    std::string bytes;
    double chance;
    Stream stream;
};

// A beginning with one byte more.
struct Next {
    std::string bytes;
    double chance;
    size_t from;
};

bool likelier(double chance, const std::string &bytes, double other, const std::string &other_bytes) {
    return chance > other || (chance == other && bytes < other_bytes);
}

}  // namespace

std::vector<Word> Session::complete(int64_t stream, int64_t most, int64_t width, int64_t longest,
                                    const uint8_t *in_words) {
    require(model_->program.bytes, "words are completed by models that read bytes; this one reads tokens");
    const int64_t vocabulary = model_->program.vocabulary;
    std::vector<Beginning> beam = {{"", 1, at(stream)}};
    std::vector<Word> words;
    std::vector<double> p(static_cast<size_t>(vocabulary));
    const auto better = [](const auto &a, const auto &b) { return likelier(a.chance, a.bytes, b.chance, b.bytes); };
    for (int64_t size = 0; !beam.empty(); ++size) {
        std::vector<float> logits(beam.size() * p.size());
        std::vector<Stream *> streams;
        std::vector<float *> rows;
        for (size_t i = 0; i < beam.size(); ++i) {
            streams.push_back(&beam[i].stream);
            rows.push_back(logits.data() + i * p.size());
        }
        next_logits(streams, rows);
        std::vector<Next> grown;
        for (size_t i = 0; i < beam.size(); ++i) {
            const Beginning &begun = beam[i];
            check_finite(*model_->kernels, rows[i], vocabulary);
            model_->kernels->weigh(rows[i], vocabulary, 1.0, p.data());
            double all = 0, goes_on = 0;
            for (const double mass : p) all += mass;
            for (uint32_t byte = 0; byte < 256; ++byte) {
                if (in_words[byte]) goes_on += p[byte] / all;
                if (in_words[byte] || (size == 0 && byte == blank))
                    grown.push_back({begun.bytes + static_cast<char>(byte), begun.chance * (p[byte] / all), i});
            }
            if (size > 0 && begun.bytes != " ") words.push_back({begun.bytes, begun.chance * (1 - goes_on)});
        }
        std::sort(words.begin(), words.end(), better);
        if (static_cast<int64_t>(words.size()) > most) words.resize(static_cast<size_t>(most));
        if (size == longest) break;
        // A beginning that is less likely than all words wanted cannot become one of them.
        const double least = static_cast<int64_t>(words.size()) == most ? words.back().chance : 0;
        grown.erase(std::remove_if(grown.begin(), grown.end(), [&](const Next &n) { return !(n.chance > least); }),
                    grown.end());
        const size_t kept = std::min(grown.size(), static_cast<size_t>(width));
        std::partial_sort(grown.begin(), grown.begin() + static_cast<int64_t>(kept), grown.end(), better);
        grown.resize(kept);
        std::vector<Beginning> next;
        std::vector<std::pair<Stream *, uint32_t>> units;
        next.reserve(kept);
        for (Next &grows : grown) {
            const uint32_t byte = static_cast<uint8_t>(grows.bytes.back());
            next.push_back({std::move(grows.bytes), grows.chance, beam[grows.from].stream});
            units.push_back({&next.back().stream, byte});
        }
        push(units, true);
        beam = std::move(next);
    }
    return words;
}

}  // namespace cpu1
