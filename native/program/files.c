#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <windows.h>
#define getpid _getpid
static int replace(const char *from, const char *to) { return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING) ? 0 : -1; }
static void binary(FILE *stream) { _setmode(_fileno(stream), _O_BINARY); }
static int flush(FILE *stream) { return fflush(stream); }
#else
#include <unistd.h>
static int replace(const char *from, const char *to) { return rename(from, to); }
static void binary(FILE *stream) { (void)stream; }
static int flush(FILE *stream) { return fflush(stream) || fsync(fileno(stream)); }
#endif

static int complain(const char *path) {
    fprintf(stderr, "cpu1: %s: %s\n", path, strerror(errno));
    return 0;
}

block read_file(const char *path) {
    const int standard = !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file) {
        complain(path);
        exit(1);
    }
    if (standard) binary(stdin);
    block out = {NULL, 0};
    int64_t room = 0;
    for (;;) {
        if (out.size == room) {
            room = room ? 2 * room : 1 << 16;
            uint8_t *more = realloc(out.bytes, (size_t)room);
            if (!more) {
                fprintf(stderr, "cpu1: %s: not enough memory\n", path);
                exit(1);
            }
            out.bytes = more;
        }
        const size_t got = fread(out.bytes + out.size, 1, (size_t)(room - out.size), file);
        if (got == 0) break;
        out.size += (int64_t)got;
    }
    if (ferror(file)) {
        complain(path);
        exit(1);
    }
    if (!standard) fclose(file);
    return out;
}

static int put(FILE *file, const uint8_t *bytes, int64_t size) {
    return fwrite(bytes, 1, (size_t)size, file) == (size_t)size;
}

int write_file(const char *path, const uint8_t *bytes, int64_t size) {
    if (!strcmp(path, "-")) {
        binary(stdout);
        return (put(stdout, bytes, size) && fflush(stdout) == 0) || complain("standard output");
    }
    const size_t room = strlen(path) + 32;
    char *beside = malloc(room);
    if (!beside) return complain(path);
    snprintf(beside, room, "%s.%ld.part", path, (long)getpid());
    FILE *file = fopen(beside, "wbx");
    int written = file && put(file, bytes, size) && flush(file) == 0;
    if (file && fclose(file) != 0) written = 0;
    if (written && replace(beside, path) != 0) written = 0;
    if (!written) {
        complain(path);
        if (file) remove(beside);
    }
    free(beside);
    return written;
}
