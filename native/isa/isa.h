// Which instruction sets this machine runs, and the choice of a table of kernels by it. The processor must know a set, and
// the system must save its registers.
#pragma once
#include <stddef.h>
#include <string.h>

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace cpu1 {

inline bool runs_portable() { return true; }

#if defined(__x86_64__)
inline bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
inline bool runs_avxvnni() {  // CPUID.(7, 1):EAX[4]; older compilers have no name for it
    unsigned a, b, c, d;
    return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}
inline bool runs_avx512() {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
inline bool runs_avx512vnni() { return runs_avx512() && __builtin_cpu_supports("avx512vnni"); }
#elif defined(__aarch64__)
inline bool runs_neon() { return getauxval(AT_HWCAP) & (1ul << 20); }  // HWCAP_ASIMDDP: dot products
#endif

// The kernels of one instruction set; a table names its set as `isa`.
template <class Table>
struct Candidate {
    const Table *table;
    bool (*runs)();
};

// The first table that the machine runs, or the one called `name`; null where there is none.
template <class Table, size_t Count>
const Table *find_kernels(const Candidate<Table> (&best_first)[Count], const char *name) {
    for (const Candidate<Table> &candidate : best_first) {
        if (candidate.runs() && (!name || !strcmp(name, candidate.table->isa))) return candidate.table;
    }
    return nullptr;
}

// The sets that the machine runs, in order, comma-separated.
template <class Table, size_t Count>
std::string kernel_names(const Candidate<Table> (&best_first)[Count]) {
    std::string all;
    for (const Candidate<Table> &candidate : best_first) {
        if (candidate.runs()) all += (all.empty() ? "" : ",") + std::string(candidate.table->isa);
    }
    return all;
}

}  // namespace cpu1
