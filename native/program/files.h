/* Files as blocks of memory. "-" is the standard input or output. */
#pragma once
#include <stdint.h>

typedef struct {
    uint8_t *bytes;
    int64_t size;
} block;

/* What a file has, to be freed. Prints one line and ends the program where it cannot be read. */
block read_file(const char *path);
/* Writes a whole file, or nothing: a temporary file beside it gets its name. Returns 0 and prints one line on failure. */
int write_file(const char *path, const uint8_t *bytes, int64_t size);
