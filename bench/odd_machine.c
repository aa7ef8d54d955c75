/* Loaded into a process by LD_PRELOAD: its disk is slow and its clock wrong, as the file named by ODD_MACHINE asks.
 *
 * The file holds two int64: microseconds that each write takes longer, and seconds that the clock is set on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *asked;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ODD_MACHINE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, 2 * sizeof *asked, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) asked = map;
    close(file);
}

static void wait_for_disk(void) {
    if (!asked || asked[0] <= 0) return;
    struct timespec left = {asked[0] / 1000000, asked[0] % 1000000 * 1000};
    nanosleep(&left, NULL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    wait_for_disk();
    return REAL(write)(file, data, size);
}

int fsync(int file) {
    wait_for_disk();
    return REAL(fsync)(file);
}

int fdatasync(int file) {
    wait_for_disk();
    return REAL(fdatasync)(file);
}

int rename(const char *from, const char *to) {
    wait_for_disk();
    return REAL(rename)(from, to);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = REAL(clock_gettime)(clock, now);
    if (!status && asked && clock == CLOCK_REALTIME) now->tv_sec += asked[1];
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int status = REAL(gettimeofday)(now, zone);
    if (!status && asked) now->tv_sec += asked[1];
    return status;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
