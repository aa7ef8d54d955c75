// From logits to one unit; the same draws as cpu1/sampling.py from equal seeds.
#pragma once
#include <vector>

#include "api/engine.h"
#include "kernels/kernels.h"

namespace cpu1 {

class Sampler {
  public:
    Sampler(const cpu1_kernels &kernels, const cpu1_sampling &sampling) : kernels_(kernels), sampling_(sampling) {}

    // Invalid where the logits are not finite.
    uint32_t draw(const float *logits, int64_t count, cpu1_random &random);

  private:
    void filter(const float *logits, int64_t count);

    const cpu1_kernels &kernels_;
    const cpu1_sampling &sampling_;
    std::vector<float> allowed_;
    std::vector<double> weights_;
    std::vector<uint32_t> best_first_;
};

}  // namespace cpu1
