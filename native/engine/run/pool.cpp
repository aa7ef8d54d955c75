#include "run/pool.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif

#include "run/process.h"

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

// Threads that are made meanwhile take no signals: handlers are for the threads of the program.
class NoSignals {
  public:
#if defined(__unix__) || defined(__APPLE__)
    NoSignals() {
        sigset_t all;
        sigfillset(&all);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, fault);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_;
#else
    NoSignals() {}
#endif
};

}  // namespace

Pool::Pool(int threads) : threads_(threads) { begin(); }

Pool::~Pool() { end(); }

void Pool::begin() {
    process_ = process_number();
    team_ = std::make_unique<Team>();
    try {
        const NoSignals meanwhile;
        for (int worker = 1; worker < threads_; ++worker)
            team_->workers.emplace_back([team = team_.get()] { work(*team); });
    } catch (...) {  // the system gives no more threads
        end();
        throw;
    }
}

void Pool::end() {
    if (!team_) return;
    if (process_ != process_number()) {  // nobody is there to be joined, and locks stay as the fork found them
        (void)team_.release();
        return;
    }
    team_->ending = true;
    {
        const std::lock_guard<std::mutex> lock(team_->mutex);
        team_->wake.notify_all();
    }
    for (std::thread &worker : team_->workers) worker.join();
    team_.reset();
}

void Pool::start(void (*job)(const void *, int), const void *context) {
    if (process_ != process_number()) end();
    if (!team_) begin();
    team_->job = job;
    team_->context = context;
    team_->undone = threads_;
    team_->open = ((team_->open >> 32) + 1) << 32 | static_cast<uint32_t>(threads_);
    if (team_->asleep > 0) {
        const std::lock_guard<std::mutex> lock(team_->mutex);
        team_->wake.notify_all();
    }
}

void Pool::wait() {
    for (int spin = 0; team_->undone.load(std::memory_order_acquire) > 0; ++spin) {
        if (spin < spins) pause();
        else std::this_thread::yield();  // more threads than processors
    }
}

bool Pool::any(const Team &team) { return static_cast<uint32_t>(team.open) > 0; }

void Pool::take(Team &team) {
    for (uint64_t open = team.open; static_cast<uint32_t>(open) > 0;) {
        if (!team.open.compare_exchange_weak(open, open - 1)) continue;
        team.job(team.context, static_cast<int>(static_cast<uint32_t>(open) - 1));
        team.undone.fetch_sub(1, std::memory_order_release);
        open = team.open;
    }
}

void Pool::work(Team &team) {
    while (!team.ending) {
        for (int spin = 0; !any(team) && spin < spins; ++spin) pause();
        if (!any(team)) {
            std::unique_lock<std::mutex> lock(team.mutex);
            ++team.asleep;
            team.wake.wait(lock, [&] { return any(team) || team.ending; });
            --team.asleep;
        }
        take(team);
    }
}

}  // namespace cpu1
