// From logits to one unit; the same draws as cpu1/runtime/sampling.py from equal seeds.
#pragma once
#include <stdint.h>

#include <vector>

#include "kernels/kernels.h"

namespace cpu1 {

// How units are drawn: temperature (0: the best unit), top-k (0: all), top-p, min-p, in this order.
struct Sampling {
    double temperature;
    int64_t top_k;
    double top_p, min_p;
    int64_t end;   // a unit that ends the text, -1: none
    bool may_end;  // whether it may be drawn
};

// A generator of random numbers (PCG64, as numpy's): high and low halves of its state and its increment.
struct Random {
    uint64_t state[2], increment[2];
};
Random seeded(uint64_t seed);  // what numpy makes of a seed

class Sampler {
  public:
    explicit Sampler(const cpu1_kernels &kernels) : kernels_(kernels) {}

    // Invalid where the logits are not finite.
    uint32_t draw(const Sampling &sampling, const float *logits, int64_t count, Random &random);

  private:
    void filter(const Sampling &sampling, const float *logits, int64_t count);

    const cpu1_kernels &kernels_;
    std::vector<float> allowed_;
    std::vector<double> weights_;
    std::vector<uint32_t> best_first_;
};

}  // namespace cpu1
