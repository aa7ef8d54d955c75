#include "run/pool.h"

namespace cpu1 {

namespace {

constexpr int spins = 4000;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) {
    try {
        for (int share = 1; share < threads; ++share) workers_.emplace_back([this, share] { work(share); });
    } catch (...) {  // the system gives no more threads
        end();
        throw;
    }
}

Pool::~Pool() { end(); }

void Pool::end() {
    ending_ = true;
    ++round_;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        wake_.notify_all();
    }
    for (std::thread &worker : workers_) worker.join();
}

void Pool::start(void (*job)(const void *, int), const void *context) {
    job_ = job;
    context_ = context;
    busy_ = static_cast<int>(workers_.size());
    ++round_;
    if (asleep_ > 0) {
        const std::lock_guard<std::mutex> lock(mutex_);
        wake_.notify_all();
    }
}

void Pool::wait() {
    for (int spin = 0; busy_.load(std::memory_order_acquire) > 0; ++spin) {
        if (spin < spins) pause();
        else std::this_thread::yield();  // more threads than processors
    }
}

void Pool::work(int share) {
    for (uint32_t seen = 0;;) {
        for (int spin = 0; round_ == seen && spin < spins; ++spin) pause();
        if (round_ == seen) {
            std::unique_lock<std::mutex> lock(mutex_);
            ++asleep_;
            wake_.wait(lock, [&] { return round_ != seen; });
            --asleep_;
        }
        ++seen;
        if (ending_) return;
        job_(context_, share);
        busy_.fetch_sub(1, std::memory_order_release);
    }
}

}  // namespace cpu1
