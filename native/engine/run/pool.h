// A few threads that wait for the next share of a product. They spin for some microseconds, then sleep.
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

    // body(share) for each share of [0, threads()), one a thread; returns when all are done.
    template <class Body>
    void run(const Body &body) {
        start([](const void *context, int share) { (*static_cast<const Body *>(context))(share); }, &body);
        body(0);
        wait();
    }

  private:
    // What the workers share. They know this alone, so that a child can leave its parent's behind.
    struct Team {
        std::vector<std::thread> workers;
        std::atomic<uint32_t> round{0};  // counts jobs; workers wait for it to change
        std::atomic<int> busy{0}, asleep{0};
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
    static void work(Team &team, int share);

    int threads_;
    uint32_t process_ = 0;  // whose threads they are
    std::unique_ptr<Team> team_;
};
#endif

}  // namespace cpu1
