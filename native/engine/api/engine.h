// The engine's C interface: packed models, and sessions that run them. Needs no Python and no torch.
//
// Every function that can fail returns 0 (or null) and fills `error`. A model is read-only and may be shared by
// threads; a session belongs to one thread at a time. No result depends on the number of threads or streams, nor on
// how units are divided among calls.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cpu1_model cpu1_model;
typedef struct cpu1_session cpu1_session;
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

// `isa`: which kernels ("portable", "avx2", ...; null: the best, or what CPU1_ISA says).
cpu1_model *cpu1_model_open(const char *path, const char *isa, cpu1_error *error);
cpu1_model *cpu1_model_read(const void *bytes, int64_t size, const char *isa, cpu1_error *error);
// As `read`, but ternary matrices and tables are not copied: the bytes must stay as they are until the model and its
// sessions are closed.
cpu1_model *cpu1_model_borrow(const void *bytes, int64_t size, const char *isa, cpu1_error *error);
void cpu1_model_close(cpu1_model *);  // sessions keep what they need
cpu1_facts cpu1_model_facts(const cpu1_model *);

// `streams` documents, each before its first unit. `threads` work on one call.
cpu1_session *cpu1_session_new(const cpu1_model *, int64_t streams, int threads, cpu1_error *error);
void cpu1_session_close(cpu1_session *);
// From now on the streams learn from what they read, with 2^size counts for each context, 10 to 22 (docs/lookups.md). For
// models of bytes. What was learned before is forgotten.
int cpu1_session_learn(cpu1_session *, int size, cpu1_error *error);

// Reads `counts[i]` units of `units[i]` into stream i.
int cpu1_session_advance(cpu1_session *, const uint32_t *const *units, const int64_t *counts, cpu1_error *error);
// logits (streams, vocabulary) of the next unit of each stream
int cpu1_session_logits(cpu1_session *, float *logits, cpu1_error *error);
// As advance for one stream; nats[i] is what unit i cost
int cpu1_session_score(cpu1_session *, int64_t stream, const uint32_t *units, int64_t count, double *nats,
                       cpu1_error *error);
// Draws up to `count` units for each stream, out (streams, count), made[i] of them; `random` moves on.
int cpu1_session_generate(cpu1_session *, const cpu1_sampling *sampling, cpu1_random *random, int64_t count,
                          uint32_t *out, int64_t *made, cpu1_error *error);

// A code of units: each takes as many bits as the stream finds it surprising. Decoding a stream that is where the
// one that encoded stood gives the same units, on kernels of the same arithmetic.
cpu1_encoder *cpu1_encoder_new(cpu1_error *error);
void cpu1_encoder_close(cpu1_encoder *);
int64_t cpu1_encoder_finish(cpu1_encoder *, const uint8_t **code, cpu1_error *error);  // its size, -1: failed; once
cpu1_decoder *cpu1_decoder_new(const void *code, int64_t size, cpu1_error *error);
void cpu1_decoder_close(cpu1_decoder *);
// Reads units and adds them to the code; takes units from the code and reads them.
int cpu1_session_encode(cpu1_session *, int64_t stream, cpu1_encoder *, const uint32_t *units, int64_t count,
                        cpu1_error *error);
int cpu1_session_decode(cpu1_session *, int64_t stream, cpu1_decoder *, int64_t count, uint32_t *out,
                        cpu1_error *error);

// A stream's state as bytes: how many, and the bytes; restoring refuses what is not of this model.
int64_t cpu1_session_state_size(cpu1_session *, int64_t stream);
void cpu1_session_save(cpu1_session *, int64_t stream, void *bytes);
int cpu1_session_restore(cpu1_session *, int64_t stream, const void *bytes, int64_t size, cpu1_error *error);

// Nanoseconds and calls by operation since it was switched on; `on` < 0 leaves the switch as it is.
typedef struct {
    const char *operation;
    int64_t nanoseconds, calls;
} cpu1_profile_row;
int cpu1_session_profile(cpu1_session *, int on, cpu1_profile_row *rows, int most);

// All operations that programs may have, comma-separated; all instruction sets this machine runs, best first.
const char *cpu1_operations(void);
const char *cpu1_isas(void);
// What the last bits of results depend on: instruction sets of one arithmetic agree to the bit. Null for a set that this
// machine does not run.
const char *cpu1_arithmetic(const char *isa);

#ifdef __cplusplus
}
#endif
