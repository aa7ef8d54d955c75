// The tables of training kernels, and the choice among them.
#include "isa/isa.h"
#include "train.h"

#define SET(isa) extern "C" const cpu1_train cpu1_train_##isa;
#include "train_sets.inc"
#undef SET

namespace {

#define SET(isa) {&cpu1_train_##isa, cpu1::runs_##isa},
const cpu1::Candidate<cpu1_train> best_first[] = {
#include "train_sets.inc"
};
#undef SET

}  // namespace

const cpu1_train *cpu1_train_find(const char *name) { return cpu1::find_kernels(best_first, name); }

const char *cpu1_train_names(void) {
    static const std::string names = cpu1::kernel_names(best_first);
    return names.c_str();
}
