// The C interface of CPU-1: packed models, and sessions that run them. Needs no Python and no torch.
//
// Every function that can fail returns 0 (or null) and fills `error`. A model is read-only and may be shared by
// threads; a session belongs to one thread at a time. No result depends on the number of threads or streams, nor on
// how units are divided among calls.
//
// Stability: within a major version no function is removed, none changes its arguments or what it does, and no struct
// changes its size or order. New functions raise the minor version. CPU1_HAS(major, minor) asks at compile time, and
// cpu1_version() is the version that the program was linked with. docs/c-library.md has an introduction.
#pragma once
#include <stdint.h>

#define CPU1_MAJOR 1
#define CPU1_MINOR 0
#define CPU1_HAS(major, minor) (CPU1_MAJOR == (major) && CPU1_MINOR >= (minor))

#ifndef CPU1_API  // the build of the shared library defines it
#define CPU1_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cpu1_model cpu1_model;
typedef struct cpu1_session cpu1_session;
typedef struct cpu1_batch cpu1_batch;
typedef struct cpu1_encoder cpu1_encoder;  // a code that is being written
typedef struct cpu1_decoder cpu1_decoder;  // a code that is being read
typedef struct {
    char text[512];
} cpu1_error;

// What a caller needs to know of a model.
typedef struct {
    int is_bytes;  // units are bytes, else tokens
    int64_t patch, vocabulary, width;
    int64_t separator;  // the unit between documents: behind the bytes, NUL in older models; 0 among tokens
    const char *about;  // the file's own description, JSON
    const char *tokenizer;
    int64_t tokenizer_size;  // 0: none
    const char *isa, *arithmetic;  // see cpu1_arithmetic
    // what a step costs at least: bytes of matrices, multiply-adds of trunk and head
    int64_t weight_bytes, trunk_products, head_products;
} cpu1_facts;

enum { CPU1_LONGEST_WORD = 256 };

// How units are drawn: temperature (0: the best unit), top-k (0: all), top-p, min-p, in this order.
typedef struct {
    double temperature;
    int64_t top_k;
    double top_p, min_p;
    int64_t end;   // a unit that ends the text, -1: none
    int may_end;   // whether it may be drawn
} cpu1_sampling;

// A generator of random numbers (PCG64, as numpy's): high and low halves of its state and its increment.
typedef struct {
    uint64_t state[2], increment[2];
} cpu1_random;

// The version of the library: 1000 * major + minor.
CPU1_API int cpu1_version(void);

// `isa`: which kernels ("portable", "avx2", ...; null: the best, or what CPU1_ISA says).
CPU1_API cpu1_model *cpu1_model_open(const char *path, const char *isa, cpu1_error *error);
CPU1_API cpu1_model *cpu1_model_read(const void *bytes, int64_t size, const char *isa, cpu1_error *error);
// As `read`, but ternary matrices and tables are not copied: the bytes must stay as they are until the model and its
// sessions are closed.
CPU1_API cpu1_model *cpu1_model_borrow(const void *bytes, int64_t size, const char *isa, cpu1_error *error);
CPU1_API void cpu1_model_close(cpu1_model *);  // sessions keep what they need
CPU1_API cpu1_facts cpu1_model_facts(const cpu1_model *);

// The separator of the facts, for languages that cannot take a struct from a function: drawn, it ends a text.
CPU1_API int64_t cpu1_model_separator(const cpu1_model *);

// `streams` documents, each before its first unit. `threads` work on one call.
CPU1_API cpu1_session *cpu1_session_new(const cpu1_model *, int64_t streams, int threads, cpu1_error *error);
CPU1_API void cpu1_session_close(cpu1_session *);
// From now on the streams learn from what they read, with 2^size counts for each context, 10 to 22 (docs/lookups.md). For
// models of bytes. What was learned before is forgotten.
CPU1_API int cpu1_session_learn(cpu1_session *, int size, cpu1_error *error);

// Reads `counts[i]` units of `units[i]` into stream i.
CPU1_API int cpu1_session_advance(cpu1_session *, const uint32_t *const *units, const int64_t *counts,
                                  cpu1_error *error);
// logits (streams, vocabulary) of the next unit of each stream
CPU1_API int cpu1_session_logits(cpu1_session *, float *logits, cpu1_error *error);
// As advance for one stream; nats[i] is what unit i cost
CPU1_API int cpu1_session_score(cpu1_session *, int64_t stream, const uint32_t *units, int64_t count, double *nats,
                                cpu1_error *error);
// Draws up to `count` units for each stream, out (streams, count), made[i] of them; `random` moves on.
// cpu1_random_seed gives the generator that numpy and the Python package make of a seed.
CPU1_API cpu1_random cpu1_random_seed(uint64_t seed);
CPU1_API int cpu1_session_generate(cpu1_session *, const cpu1_sampling *sampling, cpu1_random *random, int64_t count,
                                   uint32_t *out, int64_t *made, cpu1_error *error);

// Reads a unit as if it had drawn it: nothing is learned from it.
CPU1_API int cpu1_session_draw(cpu1_session *, int64_t stream, uint32_t unit, cpu1_error *error);

// A word that may come next, and its probability: that of its bytes and of a byte after them that ends it.
typedef struct {
    char bytes[CPU1_LONGEST_WORD];
    int64_t size;
    double probability;
} cpu1_word;
// The `most` likeliest words, likeliest first; returns how many there are, -1: failed. `in_words` (256) says which bytes
// words are made of; before the first of them a blank may stand. `width`: how many beginnings of each length are followed.
CPU1_API int64_t cpu1_session_complete(cpu1_session *, int64_t stream, int64_t most, int64_t width, int64_t longest,
                                       const uint8_t *in_words, cpu1_word *words, cpu1_error *error);

// ---- streams that join and leave, each with its own task; what each writes is what it would write alone ----

// `threads` work on one step, each on its part of the streams. `spelling`, `sizes`: the bytes of each token of a model of
// tokens, else null.
CPU1_API cpu1_batch *cpu1_batch_new(const cpu1_model *, int threads, const uint8_t *const *spelling,
                                    const int64_t *sizes, cpu1_error *error);
CPU1_API void cpu1_batch_close(cpu1_batch *);
// Where streams without a state start: a saved state, of a stream that learns with 2^learn counts (0: it does not).
CPU1_API int cpu1_batch_start_from(cpu1_batch *, const void *state, int64_t size, int learn, cpu1_error *error);

typedef struct {
    const uint32_t *prompt;
    int64_t prompt_size;
    int64_t most;  // bytes to write
    const uint8_t *const *stops;  // it ends before the first of these
    const int64_t *stop_sizes;
    int64_t stop_count;
    cpu1_sampling sampling;
    cpu1_random random;
    int learn;          // 2^learn counts; 0: it does not learn
    int bits;           // whether the cost of each byte is wanted
    const void *state;  // null: where the batch's streams start
    int64_t state_size;
} cpu1_task;
// A new stream, and the end of one; from any thread, and without waiting for a step.
CPU1_API int cpu1_batch_add(cpu1_batch *, int64_t stream, const cpu1_task *, cpu1_error *error);
CPU1_API int cpu1_batch_cancel(cpu1_batch *, int64_t stream, cpu1_error *error);

typedef enum { CPU1_GOES_ON, CPU1_STOP, CPU1_END, CPU1_LIMIT, CPU1_NOT_FINITE } cpu1_ending;
// What a step brought a stream; valid until the next step.
typedef struct {
    int64_t stream;
    const uint8_t *bytes;
    int64_t size;
    const double *bits;  // of each byte; null where they are not wanted
    cpu1_ending ending;
} cpu1_piece;
// Each stream writes `patches` patches, or reads a part of its prompt. Returns how many pieces there are, -1: failed. By
// one thread at a time, which then takes the pieces.
CPU1_API int64_t cpu1_batch_step(cpu1_batch *, int64_t patches, cpu1_error *error);
CPU1_API cpu1_piece cpu1_batch_piece(const cpu1_batch *, int64_t index);

// A code of units: each takes as many bits as the stream finds it surprising. Decoding a stream that is where the
// one that encoded stood gives the same units, on kernels of the same arithmetic.
CPU1_API cpu1_encoder *cpu1_encoder_new(cpu1_error *error);
CPU1_API void cpu1_encoder_close(cpu1_encoder *);
CPU1_API int64_t cpu1_encoder_finish(cpu1_encoder *, const uint8_t **code,
                                     cpu1_error *error);  // its size, -1: failed; once
CPU1_API cpu1_decoder *cpu1_decoder_new(const void *code, int64_t size, cpu1_error *error);
CPU1_API void cpu1_decoder_close(cpu1_decoder *);
// Reads units and adds them to the code; takes units from the code and reads them.
CPU1_API int cpu1_session_encode(cpu1_session *, int64_t stream, cpu1_encoder *, const uint32_t *units, int64_t count,
                                 cpu1_error *error);
CPU1_API int cpu1_session_decode(cpu1_session *, int64_t stream, cpu1_decoder *, int64_t count, uint32_t *out,
                                 cpu1_error *error);

// Archives as `cpu1 compress` writes them (docs/compression.md), by models of bytes. An archive names its model by a
// fingerprint, which is that of the model's file. Its arithmetic is that of the kernels; see cpu1_isa_of.
typedef struct {
    uint8_t bytes[8];
} cpu1_fingerprint;
CPU1_API int cpu1_fingerprint_file(const char *path, cpu1_fingerprint *out, cpu1_error *error);
CPU1_API cpu1_fingerprint cpu1_fingerprint_bytes(const void *file, int64_t size);
// The archive of a text; `learn`: whether the model learns from it. `archive` is to be freed by cpu1_free.
CPU1_API int cpu1_compress(const cpu1_model *, const cpu1_fingerprint *, const void *text, int64_t size, int learn,
                           uint8_t **archive, int64_t *archive_size, cpu1_error *error);
// The text of an archive, and never another: fails for a damaged one and for one of another model or arithmetic.
CPU1_API int cpu1_decompress(const cpu1_model *, const cpu1_fingerprint *, const void *archive, int64_t size,
                             uint8_t **text, int64_t *text_size, cpu1_error *error);
// The arithmetic that an archive was made with ("fma", "plain", "numpy"), null for what is no archive.
CPU1_API const char *cpu1_archive_arithmetic(const void *archive, int64_t size);
CPU1_API void cpu1_free(void *);

// A stream's state as bytes: how many, and the bytes; restoring refuses what is not of this model.
CPU1_API int64_t cpu1_session_state_size(cpu1_session *, int64_t stream);
CPU1_API void cpu1_session_save(cpu1_session *, int64_t stream, void *bytes);
CPU1_API int cpu1_session_restore(cpu1_session *, int64_t stream, const void *bytes, int64_t size, cpu1_error *error);

// Nanoseconds and calls by operation since it was switched on; `on` < 0 leaves the switch as it is.
typedef struct {
    const char *operation;
    int64_t nanoseconds, calls;
} cpu1_profile_row;
CPU1_API int cpu1_session_profile(cpu1_session *, int on, cpu1_profile_row *rows, int most);

// All operations that programs may have, comma-separated; all instruction sets this machine runs, best first.
CPU1_API const char *cpu1_operations(void);
CPU1_API const char *cpu1_isas(void);
// What the last bits of results depend on: instruction sets of one arithmetic agree to the bit. Null for a set that this
// machine does not run.
CPU1_API const char *cpu1_arithmetic(const char *isa);

// The best instruction set of this machine with an arithmetic, null if it has none.
CPU1_API const char *cpu1_isa_of(const char *arithmetic);

#ifdef __cplusplus
}
#endif
