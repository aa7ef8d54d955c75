// Which instruction sets this machine runs, and the choice of a table of kernels by it. The processor must know a set, and
// the system must save its registers.
#pragma once
#include <stddef.h>
#include <string.h>

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(_WIN32)
extern "C" __declspec(dllimport) int __stdcall IsProcessorFeaturePresent(unsigned long feature);
#elif defined(__aarch64__) && !defined(__APPLE__)
#include <sys/auxv.h>
#endif

namespace cpu1 {

inline bool runs_portable() { return true; }
#if defined(__wasm__)
inline bool runs_relaxed() { return true; }  // a module with it loads nowhere else
#endif

#if defined(__x86_64__)
// The answers of the processor's CPUID; zeros where it does not know the leaf.
struct Cpuid {
    unsigned a = 0, b = 0, c = 0, d = 0;
    Cpuid(unsigned leaf, unsigned subleaf) { __get_cpuid_count(leaf, subleaf, &a, &b, &c, &d); }
};
inline bool all_of(unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; }
// Not __builtin_cpu_supports: its table is in no library of some systems, and older compilers do not know all names.
inline bool system_saves(unsigned registers) {
    const Cpuid features(1, 0);
    if (!(features.c & 1u << 27)) return false;  // OSXSAVE: the next instruction works
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return all_of(low, registers);
}
inline bool runs_ssse3() { return Cpuid(1, 0).c & 1u << 9; }
inline bool runs_avx2() {
    return all_of(Cpuid(1, 0).c, 1u << 12 | 1u << 28) && (Cpuid(7, 0).b & 1u << 5) && system_saves(0x06);  // FMA, AVX
}
inline bool runs_avxvnni() { return runs_avx2() && (Cpuid(7, 1).a & 1u << 4); }
inline bool runs_avx512() {  // F, DQ, BW, VL
    return runs_avx2() && all_of(Cpuid(7, 0).b, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) && system_saves(0xe6);
}
inline bool runs_avx512vnni() { return runs_avx512() && (Cpuid(7, 0).c & 1u << 11); }
#elif defined(__aarch64__)
inline bool runs_armv8() { return true; }
inline bool runs_neon() {  // with dot products of int8
#if defined(__APPLE__)
    return true;
#elif defined(_WIN32)
    return IsProcessorFeaturePresent(43);  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
#else
    return getauxval(AT_HWCAP) & (1ul << 20);  // HWCAP_ASIMDDP
#endif
}
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
