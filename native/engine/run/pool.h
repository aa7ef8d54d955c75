// A few threads that take shares of a product, each the next one that nobody has. So a thread that another program keeps
// from its processor takes none, and is not waited for. Threads spin for some microseconds, then sleep.
// A fork's child starts threads of its own at its first product.
#pragma once
#include <stdint.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace cpu1 {

#ifdef __wasm__  // whose threads need what few servers of pages send
class Pool {
  public:
    explicit Pool(int) {}
    int threads() const { return 1; }
    template <class Body>
    void run(const Body &body) {
        body(0);
    }
};
#else
class Pool {
  public:
    explicit Pool(int threads);  // the caller's is one of them
    ~Pool();
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    int threads() const { return threads_; }

    // body(share) for each share of [0, threads()), on whatever thread is free; returns when all are done.
    template <class Body>
    void run(const Body &body) {
        start([](const void *context, int share) { (*static_cast<const Body *>(context))(share); }, &body);
        take(*team_);
        wait();
    }

  private:
    // What the workers share. They know this alone, so that a child can leave its parent's behind.
    struct Team {
        std::vector<std::thread> workers;
        // The number of the job, and in the lower half how many of its shares nobody has taken. Who takes one has the
        // job until it is done; after that, the next one may be written.
        alignas(64) std::atomic<uint64_t> open{0};
        alignas(64) std::atomic<int> undone{0};
        std::atomic<int> asleep{0};
        std::atomic<bool> ending{false};
        void (*job)(const void *, int) = nullptr;
        const void *context = nullptr;
        std::mutex mutex;
        std::condition_variable wake;
    };

    void start(void (*job)(const void *, int), const void *context);
    void wait();
    void begin();
    void end();
    static bool any(const Team &team);
    static void take(Team &team);
    static void work(Team &team);

    int threads_;
    uint32_t process_ = 0;  // whose threads they are
    std::unique_ptr<Team> team_;
};
#endif

}  // namespace cpu1
