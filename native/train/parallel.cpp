// Threads: borrows the OpenMP team that torch has already started, so that no second one competes for the cores.
#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

#include "train.h"

namespace {

// The entry point that compilers emit for `#pragma omp parallel`; libgomp has it, and LLVM's libomp on Linux.
using Fork = void (*)(void (*body)(void *), void *data, unsigned threads, unsigned flags);

Fork find_fork() {
#if defined(__unix__) || defined(__APPLE__)
    return reinterpret_cast<Fork>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#else
    return nullptr;
#endif
}

struct Job {
    std::atomic<int64_t> next{0};
    std::atomic<int> workers{0};
    int64_t tasks;
    void (*body)(const void *, int64_t, int);
    const void *context;
};

void work(void *data) {
    auto &job = *static_cast<Job *>(data);
    const int worker = job.workers.fetch_add(1, std::memory_order_relaxed);
    for (int64_t i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < job.tasks;) {
        job.body(job.context, i, worker);
    }
}

}  // namespace

void cpu1_parallel(int threads, int64_t tasks, void (*body)(const void *, int64_t, int), const void *context) {
    static const Fork fork = find_fork();
    Job job;
    job.tasks = tasks;
    job.body = body;
    job.context = context;
    if (fork && threads > 1 && tasks > 1) {
        fork(work, &job, static_cast<unsigned>(threads < tasks ? threads : tasks), 0);
    } else {
        work(&job);
    }
}
