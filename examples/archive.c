/* A model used where it lies in memory, as in flash or in a mapped file: packs a message, and unpacks it again.
 *
 *     cmake -S examples -B build/examples
 *     cmake --build build/examples --parallel 4 --target archive
 *     build/examples/archive checkpoints/default.cpu1 "See you at the station at half past six."
 *
 * Needs mmap, which Linux and macOS have. A program with the model in its own data needs no system at all for this.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu1.h"

static int fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return fail("usage: archive MODEL.cpu1 MESSAGE");
    const int file = open(argv[1], O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0) return fail("the model cannot be read");
    const void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED) return fail("the model cannot be mapped");
    close(file);

    cpu1_error error;
    cpu1_model *model = cpu1_model_borrow(bytes, about.st_size, NULL, &error);
    if (!model) return fail(error.text);
    const cpu1_fingerprint fingerprint = cpu1_fingerprint_bytes(bytes, about.st_size);
    uint8_t *archive, *text;
    int64_t archive_size, text_size;
    const int64_t size = (int64_t)strlen(argv[2]);
    if (!cpu1_compress(model, &fingerprint, argv[2], size, 1, &archive, &archive_size, &error)) return fail(error.text);
    if (!cpu1_decompress(model, &fingerprint, archive, archive_size, &text, &text_size, &error)) return fail(error.text);
    printf("%lld bytes, as an archive %lld: %.*s\n", (long long)size, (long long)archive_size, (int)text_size,
           (const char *)text);
    cpu1_free(archive);
    cpu1_free(text);
    cpu1_model_close(model); /* only now may the bytes go */
    munmap((void *)bytes, (size_t)about.st_size);
    return 0;
}
