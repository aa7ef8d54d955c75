/* A C program with a model in it: reads a packed model, continues a prompt, prints the text.
 *
 *     cmake -S examples -B build/examples
 *     cmake --build build/examples --parallel 4 --target embed
 *     build/examples/embed checkpoints/default.cpu1 "Once upon a time"
 *
 * CMakeLists.txt in this folder shows what a program of your own needs. No Python package has to be installed.
 * The interface and its promises are in native/engine/api/cpu1.h.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cpu1.h"

#define PROMPT 1024 /* bytes of a prompt at most */
#define LENGTH 120  /* bytes to write */

static int fail(const cpu1_error *error) {
    fprintf(stderr, "%s\n", error->text);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3 || strlen(argv[2]) > PROMPT) {
        fprintf(stderr, "usage: %s MODEL.cpu1 PROMPT (at most %d bytes)\n", argv[0], PROMPT);
        return 2;
    }
    cpu1_error error = {{0}};
    cpu1_model *model = cpu1_model_open(argv[1], NULL, &error);
    if (!model) return fail(&error);
    cpu1_session *session = cpu1_session_new(model, 1, 1, &error);
    if (!session) return fail(&error);

    uint32_t units[PROMPT]; /* of a byte-level model each unit is a byte */
    const int64_t count = (int64_t)strlen(argv[2]);
    for (int64_t i = 0; i < count; i++) units[i] = (unsigned char)argv[2][i];
    const uint32_t *stream = units;
    if (!cpu1_session_advance(session, &stream, &count, &error)) return fail(&error);

    const int64_t end = cpu1_model_facts(model).separator;
    const cpu1_sampling sampling = {.temperature = 0.6, .top_k = 0, .top_p = 1, .min_p = 0, .end = end, .may_end = 1};
    cpu1_random random = {{0, 42}, {0, 1}}; /* the seed: any state, and an odd increment */
    uint32_t drawn[LENGTH];
    int64_t made = 0;
    if (!cpu1_session_generate(session, &sampling, &random, LENGTH, drawn, &made, &error)) return fail(&error);

    fputs(argv[2], stdout);
    for (int64_t i = 0; i < made; i++) putchar((int)drawn[i]);
    putchar('\n');
    cpu1_session_close(session);
    cpu1_model_close(model);
    return 0;
}
