// The engine's kernels: one table of functions for each instruction set, chosen once at load.
//
// Every weight matrix (N outputs, K inputs) is a *panel*: blocks of 16 outputs, each a run of 64-byte groups. A
// group has one 32-bit lane for each of the 16 outputs, and a lane holds 16 ternary weights, 4 of int8, 2 of bf16 or
// 1 of fp32 for consecutive inputs. So a product broadcasts inputs, keeps 16 sums in a vector and never adds across
// lanes, and any N and K will do (padding holds zero weights).
//
// No result depends on how many rows are computed at once, nor on which blocks are asked for in one call.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CPU1_LANES = 16, CPU1_GROUP = 64 };  // outputs a block, bytes a group

typedef enum { CPU1_TERNARY, CPU1_INT8, CPU1_BF16, CPU1_FP32, CPU1_KINDS } cpu1_kind;
typedef enum { CPU1_NONE, CPU1_SILU, CPU1_RELU2 } cpu1_activation;

// What `prepare` finds out about a row of inputs.
typedef struct {
    float scale;  // input ~ scale * integer
    int32_t sum;  // of the integers
} cpu1_row;

// out[m][n] (+)= activation(scale * (weights . in[m]) + bias[n]).
typedef struct {
    const void *weights;
    int64_t groups;      // a block
    int64_t outputs;     // N: lanes beyond it are not stored
    const float *scale;  // of block b at scale + b * scale_step; integer kinds only
    int64_t scale_step;  // 16, or 0 where all blocks have the same
    const float *bias;   // optional, padded to 16
    cpu1_activation activation;
    int accumulate;
    int64_t rows;        // M
    const uint8_t *in;   // rows as `prepare` leaves them
    int64_t in_stride;   // bytes
    const cpu1_row *row;
    const int32_t *slot; // row m goes to row slot[m] of `out`; null: m
    float *out;
    int64_t out_stride;  // floats
} cpu1_product;

// One query row over the keys and values that it may see.
typedef struct {
    int64_t heads, head_size;
    const float *qkv;        // 3 * heads * head_size
    const float *turn;       // 2 * head_size: cos, -sin, sin, cos of the position's angle, pair by pair
    float *keys, *values;    // (entries, heads, padded head); `entries` - 1 old ones, this row's own is written
    int64_t padded, entries;
    float *query, *scores;   // scratch: heads * padded, entries
    float *out;              // heads * head_size
} cpu1_attention;

// What the memory of a document says of one byte (docs/operations.md): out += it.
typedef struct {
    int64_t contexts, width;
    const uint8_t *code;        // (contexts, 3): first byte, second byte, level
    const float *first, *second;                        // (bytes, contexts, width)
    const float *first_gains, *second_gains, *offsets;  // (contexts, 32, width)
    float *out;
} cpu1_recall;

typedef struct {
    const char *isa;
    // Tables of one arithmetic agree to the bit: "fma" fuses the same multiply-adds and sums lanes in the same order,
    // "plain" fuses none.
    const char *arithmetic;
    // which blocks of panels: [first, last)
    void (*product[CPU1_KINDS])(const cpu1_product *, int64_t first, int64_t last);
    // x (K), optional gain -> one row of inputs of ceil(K / 16) * cpu1_prepared(kind) bytes. `norm` applies rms_norm;
    // ternary rows always are (their scale holds it).
    void (*prepare[CPU1_KINDS])(const float *x, const float *gain, int norm, int64_t width, uint8_t *out,
                                cpu1_row *row);
    void (*rms_norm)(const float *x, const float *gain, float *out, int64_t width);
    // h = F h + (1 - F) C with F = sigmoid(fcg[0..d)), C = silu(fcg[d..2d)); out = h
    void (*gate_scan)(const float *fcg, float *h, float *out, int64_t width);
    void (*leaky_scan)(const float *u, const float *decay, float *m, float *out, int64_t width);
    void (*silu_mul)(const float *a, const float *b, float *out, int64_t width);
    void (*add)(const float *in, float *out, int64_t width);
    float (*dot)(const float *a, const float *b, int64_t width);
    void (*attend)(const cpu1_attention *);
    void (*recall)(const cpu1_recall *);
    // Integers, exact: the sum of weights[i] opinions[i]; and weights[i] += step opinions[i] / 2^20, rounded, within
    // +-most. |opinions| < 2^12, |step| < 2^24, |weights| < 2^30; count is a multiple of 16.
    int64_t (*mix)(const int32_t *weights, const int32_t *opinions, int64_t count);
    void (*adapt)(int32_t *weights, const int32_t *opinions, int64_t count, int32_t step, int32_t most);
    // -log softmax(logits)[target]; weights[i] = exp((logits[i] - max) / temperature), logits finite
    double (*nats)(const float *logits, int64_t count, int64_t target);
    void (*weigh)(const float *logits, int64_t count, double temperature, double *weights);
    int (*finite)(const float *x, int64_t count);
    // For benches: reads all bytes; multiplies and adds in registers alone and says how many times (rounds < 2^20).
    float (*read_all)(const void *from, int64_t bytes);
    int64_t (*multiply_adds)(int64_t rounds);
} cpu1_kernels;

// Bytes of a prepared row for each 16 inputs.
static inline int64_t cpu1_prepared(cpu1_kind kind) { return kind == CPU1_TERNARY ? 16 : kind == CPU1_INT8 ? 32 : 64; }
// Inputs whose weights share a group.
static inline int64_t cpu1_inputs_a_group(cpu1_kind kind) {
    return kind == CPU1_TERNARY ? 16 : kind == CPU1_INT8 ? 4 : kind == CPU1_BF16 ? 2 : 1;
}

// Integer sums are exact in int32 for K of at most this:
// - ternary: |q| <= 127 and the weights of bit pair 3 count 64-fold until the end, 2 * 64 * 127 * K / 4 < 2^29;
// - int8: inputs are cut to the largest +-levels for which 128 * levels * K < 2^31 (cpu1_levels).
enum { CPU1_MOST_INPUTS = 65536, CPU1_MOST_LEVELS = 32512 };  // levels: 255.5 * 127 splits into two int8

static inline int32_t cpu1_levels(int64_t width) {
    const int64_t fits = 2147483647 / (128 * (width > 0 ? width : 1));
    return fits < CPU1_MOST_LEVELS ? (int32_t)fits : CPU1_MOST_LEVELS;
}

// The best table that the machine can run, or the one called `name`; null if it is not built in or cannot run.
const cpu1_kernels *cpu1_kernels_find(const char *name);
// The names of those it can run, best first, comma-separated.
const char *cpu1_kernels_names(void);

#ifdef __cplusplus
}
#endif
