// A value that copies share until one of them changes it.
#pragma once
#include <atomic>
#include <memory>
#include <utility>

namespace cpu1 {

template <class Value>
class Shared {
  public:
    explicit Shared(Value value) : held_(std::make_shared<Value>(std::move(value))) {}

    const Value &operator*() const { return *held_; }
    const Value *operator->() const { return held_.get(); }
    // To be changed: its own from now on.
    Value &own() {
        if (held_.use_count() > 1) held_ = std::make_shared<Value>(*held_);
        else std::atomic_thread_fence(std::memory_order_acquire);  // another thread may just have let go of it
        return *held_;
    }

  private:
    std::shared_ptr<Value> held_;
};

}  // namespace cpu1
