// The engine's tables of kernels, and the choice among them.
#include "isa/isa.h"
#include "kernels/kernels.h"

#define SET(isa) extern const cpu1_kernels cpu1_kernels_##isa;
#include "engine_sets.inc"
#undef SET

namespace {

#define SET(isa) {&cpu1_kernels_##isa, cpu1::runs_##isa},
const cpu1::Candidate<cpu1_kernels> best_first[] = {
#include "engine_sets.inc"
};
#undef SET

}  // namespace

const cpu1_kernels *cpu1_kernels_find(const char *name) { return cpu1::find_kernels(best_first, name); }

const char *cpu1_kernels_names(void) {
    static const std::string names = cpu1::kernel_names(best_first);
    return names.c_str();
}
