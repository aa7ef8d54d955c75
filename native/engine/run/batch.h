// Streams that join and leave at any step, each with its own task. A stream writes what it would write alone.
#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "run/mutex.h"
#include "run/pool.h"
#include "run/session.h"

namespace cpu1 {

struct Task {
    std::vector<uint32_t> prompt;
    int64_t most = 0;  // bytes to write
    std::vector<std::string> stops;
    Sampling sampling{};
    Random random{};
    int learner_size = 0;  // 0: it does not learn
    bool bits = false;     // whether the cost of each byte is wanted
};

enum class Ending { none, stop, end, limit, error };

// What a step brought a stream.
struct Written {
    int64_t stream;
    std::string bytes;
    std::vector<double> bits;  // of each byte, where they are wanted
    Ending ending;
};

class Batch {
  public:
    // `spelling`: the bytes of each token; empty: units are bytes. Streams are divided among threads.
    Batch(std::shared_ptr<const Model> model, int threads, std::vector<std::string> spelling);

    // Where streams start that bring no state of their own. Before any is added.
    void start_from(const uint8_t *state, int64_t size, int learner_size);
    // Both from any thread, and without waiting for a step. `state` may be null.
    void add(int64_t id, Task task, const uint8_t *state, int64_t size);
    void cancel(int64_t id);
    // Each stream writes so many patches, or reads a part of its prompt. One thread at a time.
    const std::vector<Written> &step(int64_t patches);

  private:
    struct Running {
        int64_t id;
        Stream stream;
        Task task;
        int64_t read = 0, written = 0;
        std::string held;  // bytes that may become a stop string
        std::string out;   // bytes of this step
        std::vector<double> bits;  // of what was drawn and not handed out
        Ending ending = Ending::none;
    };
    struct Share {  // of one thread
        std::unique_ptr<Session> session;
        std::vector<std::unique_ptr<Running>> streams;
        size_t turn = 0;  // which prompt is read first
        std::vector<float> logits;
        std::exception_ptr failed;
    };

    void join_and_leave();
    void work(Share &share, int64_t patches);
    void draw(Share &share, Sampler &sampler, const std::vector<Running *> &streams);
    void write(Running &running, uint32_t unit, double bits);
    bool stopped(Running &running, const char *bytes, size_t size);
    std::vector<Reading> prompts(Share &share, int64_t most) const;
    void hand_out();

    std::shared_ptr<const Model> model_;
    std::vector<std::string> spelling_;
    Pool pool_;
    std::vector<Share> shares_;
    std::optional<Stream> start_;
    int start_learner_ = 0;
    std::vector<Written> pieces_;

    Mutex steps_;  // held during a step
    Mutex door_;   // of the two below
    std::vector<std::unique_ptr<Running>> incoming_;
    std::unordered_set<int64_t> leaving_;
};

}  // namespace cpu1
