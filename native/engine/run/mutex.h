// A lock, where there are threads.
#pragma once
#include <mutex>

namespace cpu1 {

#ifdef __wasm__
struct Mutex {
    void lock() {}
    bool try_lock() { return true; }
    void unlock() {}
};
#else
using Mutex = std::mutex;
#endif

}  // namespace cpu1
