// Mutated packed files through the loader, and what still loads through a short run. Every refusal must be an error
// with words; nothing may crash, hang, or allocate beyond the file's own scale. Build with CPU1_SANITIZE=ON, then:
// fuzz SEED_FILE RUNS [FIRST]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <atomic>
#include <new>
#include <string>
#include <vector>

#include "api/cpu1.h"
#include "tests/exercise.h"

namespace {

std::atomic<int64_t> live{0}, most{0};

double seconds() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

// A file may ask for more memory than there is; that must be an error with words as well.
extern "C" const char *__asan_default_options() { return "allocator_may_return_null=1"; }

// What the engine allocates, counted: the size is in front of each block.
void *operator new(size_t size) {
    char *block = static_cast<char *>(malloc(size + 16));
    if (!block) throw std::bad_alloc();
    memcpy(block, &size, sizeof size);
    const int64_t now = live += static_cast<int64_t>(size);
    if (now > most) most = now;
    return block + 16;
}
void *operator new(size_t size, const std::nothrow_t &) noexcept {
    try {
        return operator new(size);
    } catch (...) {
        return nullptr;
    }
}
void operator delete(void *pointer) noexcept {
    if (!pointer) return;
    char *block = static_cast<char *>(pointer) - 16;
    size_t size;
    memcpy(&size, block, sizeof size);
    live -= static_cast<int64_t>(size);
    free(block);
}
void operator delete(void *pointer, size_t) noexcept { operator delete(pointer); }
void operator delete(void *pointer, const std::nothrow_t &) noexcept { operator delete(pointer); }

int main(int count, char **words) {
    if (count < 3) return printf("fuzz SEED_FILE RUNS [FIRST]\n"), 2;
    const std::string seed = read_all(words[1]);
    const uint64_t runs = strtoull(words[2], nullptr, 10), first = count > 3 ? strtoull(words[3], nullptr, 10) : 0;
    uint64_t loaded = 0;
    double slowest = 0;
    int64_t largest = 0;
    for (uint64_t run = first; run < first + runs; ++run) {
        Random random(run);
        const std::string file = mutated(seed, random);
        const int64_t before = live;
        most = before;
        const double begin = seconds();
        cpu1_error error{};
        cpu1_model *model = cpu1_model_read(file.data(), static_cast<int64_t>(file.size()), nullptr, &error);
        if (!model && !error.text[0]) return printf("run %llu: refused without words\n", (unsigned long long)run), 1;
        const int64_t took = most - before;  // loading; a session has its own size
        if (model) {
            ++loaded;
            run_model(model, random);
            cpu1_model_close(model);
        }
        const double passed = seconds() - begin;
        slowest = passed > slowest ? passed : slowest;
        largest = took > largest ? took : largest;
        const int64_t fair = 32 * static_cast<int64_t>(file.size()) + (4 << 20);
        if (took > fair) return printf("run %llu: %lld bytes\n", (unsigned long long)run, (long long)took), 1;
        if (passed > 20) return printf("run %llu: %.1f seconds\n", (unsigned long long)run, passed), 1;
    }
    printf("%llu files, %llu of them loaded and run; slowest %.2f s, most memory to load %lld bytes\n",
           (unsigned long long)runs, (unsigned long long)loaded, slowest, (long long)largest);
    return 0;
}
