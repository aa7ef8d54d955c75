#include "run/pages.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#elif defined(__wasm__)
#include <stdlib.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace cpu1 {

#ifdef _WIN32

uint8_t *reserve_pages(int64_t size) {
    return static_cast<uint8_t *>(
        VirtualAlloc(nullptr, static_cast<size_t>(size), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

int64_t trim_pages(uint8_t *pages, int64_t size, int64_t kept) {
    SYSTEM_INFO about;
    GetSystemInfo(&about);
    kept = (kept + about.dwPageSize - 1) / about.dwPageSize * about.dwPageSize;
    // Addresses stay reserved, which costs nothing: Windows releases a reservation as a whole.
    if (kept < size) VirtualFree(pages + kept, static_cast<size_t>(size - kept), MEM_DECOMMIT);
    return size;
}

void release_pages(uint8_t *pages, int64_t) { VirtualFree(pages, 0, MEM_RELEASE); }

#elif defined(__wasm__)  // without addresses that cost nothing: the rest goes back to the heap

uint8_t *reserve_pages(int64_t size) { return static_cast<uint8_t *>(calloc(static_cast<size_t>(size), 1)); }

int64_t trim_pages(uint8_t *pages, int64_t size, int64_t kept) {
    return realloc(pages, static_cast<size_t>(kept)) == pages ? kept : size;  // smaller blocks stay where they are
}

void release_pages(uint8_t *pages, int64_t) { free(pages); }

#else

uint8_t *reserve_pages(int64_t size) {
    void *memory = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
    madvise(memory, static_cast<size_t>(size), MADV_HUGEPAGE);
#endif
    return static_cast<uint8_t *>(memory);
}

int64_t trim_pages(uint8_t *pages, int64_t size, int64_t kept) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    kept = (kept + page - 1) / page * page;
    if (kept >= size || munmap(pages + kept, static_cast<size_t>(size - kept)) != 0) return size;
    return kept;
}

void release_pages(uint8_t *pages, int64_t size) { munmap(pages, static_cast<size_t>(size)); }

#endif

}  // namespace cpu1
