// A few threads that wait for the next share of a product. They spin for some microseconds, then sleep.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace cpu1 {

class Pool {
  public:
    explicit Pool(int threads);  // the caller's is one of them
    ~Pool();
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // body(share) for each share of [0, threads()), one a thread; returns when all are done.
    template <class Body>
    void run(const Body &body) {
        start([](const void *context, int share) { (*static_cast<const Body *>(context))(share); }, &body);
        body(0);
        wait();
    }

  private:
    void start(void (*job)(const void *, int), const void *context);
    void wait();
    void work(int share);
    void end();

    std::vector<std::thread> workers_;
    std::atomic<uint32_t> round_{0};  // counts jobs; workers wait for it to change
    std::atomic<int> busy_{0}, asleep_{0};
    std::atomic<bool> ending_{false};
    void (*job_)(const void *, int) = nullptr;
    const void *context_ = nullptr;
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace cpu1
