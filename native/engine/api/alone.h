// A lock around what Python's objects hold: one thread at a time, also in a process that forks.
#pragma once
#include <nanobind/nanobind.h>
#include <stdint.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "run/process.h"

// A lock that knows the process of its holder: what a thread held when its process forked nobody gives back in the
// child. It is asked for rarely by two, so that waiting need not be quick.
class Alone {
  public:
    void lock() {
        const uint32_t mine = cpu1::process_number();
        for (uint32_t holder = 0; !holder_.compare_exchange_weak(holder, mine, std::memory_order_acquire); holder = 0) {
            if (holder && holder != mine)
                throw nanobind::value_error("another thread was using this when the process forked; make a new one");
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }
    void unlock() { holder_.store(0, std::memory_order_release); }
    // Whether it is held for ever, and what it guards half-way through a change.
    bool abandoned() const {
        const uint32_t holder = holder_.load(std::memory_order_relaxed);
        return holder && holder != cpu1::process_number();
    }

  private:
    std::atomic<uint32_t> holder_{0};  // number of a process; 0: nobody
};
