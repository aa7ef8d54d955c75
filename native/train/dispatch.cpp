// One table of kernels, chosen by what the processor (and the system, which must save the registers) supports.
#include <string.h>

#include "train.h"

namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
bool always() { return true; }

struct Candidate {
    const cpu1_train *table;
    bool (*runs)();
};

const Candidate best_first[] = {
#if defined(__x86_64__)
    {&cpu1_train_avx512, has_avx512},
    {&cpu1_train_avx2, has_avx2},
#endif
    {&cpu1_train_baseline, always},
};

}  // namespace

const cpu1_train *cpu1_train_find(const char *name) {
    for (const Candidate &candidate : best_first) {
        if (candidate.runs() && (!name || !strcmp(name, candidate.table->isa))) return candidate.table;
    }
    return nullptr;
}
