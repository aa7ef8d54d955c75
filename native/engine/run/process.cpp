#include "run/process.h"

#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace cpu1 {

namespace {

std::atomic<uint32_t> number{1};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int asked = pthread_atfork(nullptr, nullptr, [] { ++number; });
#endif

}  // namespace

uint32_t process_number() { return number.load(std::memory_order_relaxed); }

}  // namespace cpu1
