// One table of kernels, chosen by what the processor (and the system, which must save the registers) supports.
#include <string.h>

#include <string>

#include "kernels/kernels.h"

// The build says which tables there are: CPU1_WITH_<isa>.
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif
extern const cpu1_kernels cpu1_kernels_portable, cpu1_kernels_avx2, cpu1_kernels_avxvnni, cpu1_kernels_avx512vnni,
    cpu1_kernels_neon;

namespace {

#if defined(CPU1_WITH_avx2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(CPU1_WITH_avxvnni)
bool has_avxvnni() {  // CPUID.(7, 1):EAX[4]; older compilers have no name for it
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a & (1u << 4));
}
#endif
#if defined(CPU1_WITH_avx512vnni)
bool has_avx512vnni() {
    return __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif
#if defined(CPU1_WITH_neon)
bool has_dot_product() { return getauxval(AT_HWCAP) & (1ul << 20); }  // HWCAP_ASIMDDP
#endif
bool always() { return true; }

struct Candidate {
    const cpu1_kernels *table;
    bool (*runs)();
};

const Candidate best_first[] = {
#if defined(CPU1_WITH_avx512vnni)
    {&cpu1_kernels_avx512vnni, has_avx512vnni},
#endif
#if defined(CPU1_WITH_avxvnni)
    {&cpu1_kernels_avxvnni, has_avxvnni},
#endif
#if defined(CPU1_WITH_avx2)
    {&cpu1_kernels_avx2, has_avx2},
#endif
#if defined(CPU1_WITH_neon)
    {&cpu1_kernels_neon, has_dot_product},
#endif
    {&cpu1_kernels_portable, always},
};

}  // namespace

const cpu1_kernels *cpu1_kernels_find(const char *name) {
    for (const Candidate &candidate : best_first) {
        if (candidate.runs() && (!name || !strcmp(name, candidate.table->isa))) return candidate.table;
    }
    return nullptr;
}

const char *cpu1_kernels_names(void) {
    static const std::string names = [] {
        std::string all;
        for (const Candidate &candidate : best_first) {
            if (candidate.runs()) all += (all.empty() ? "" : ",") + std::string(candidate.table->isa);
        }
        return all;
    }();
    return names.c_str();
}
