// The training kernels' C interface: one table of functions for each instruction set, chosen once at load.
//
// All arrays are fp32 and dense unless said; sizes and strides count elements. `threads` only says how many may
// work: no result depends on it. Optional arrays may be null. B batch, T time, D width, M rows, K in, N out.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint16_t cpu1_bf16;

enum {
    CPU1_ROW_BLOCK = 64,      // rows whose share of a gain's gradient is summed before the blocks are
    CPU1_CHANNEL_BLOCK = 64,  // channels that one task of a scan carries through time
    CPU1_SCRATCH_ROWS = 4,    // rows that a quantiser works on
};

// h_t = k_t (F h_{t-1} + (1 - F) C) + (1 - k_t) h_{t-1}, F = sigmoid(f), C = silu(c); see ops/reference.py.
typedef struct {
    int64_t batch, time, width;
    const float *f, *c;              // (B, T, D), rows `input_time` apart, batches `input_batch`
    int64_t input_batch, input_time;
    const float *keep;               // (B, T), optional
    const float *h0;                 // (B, D), optional: zeros
    float *h;                        // (B, T, D); the backward pass reads it
    // backward only
    const float *dh;                 // (B, T, D), may be the memory of dc
    float *df, *dc;                  // strides of dh, df and dc:
    int64_t grad_batch, grad_time;
    float *dkeep_blocks;             // (B, ceil(D / CPU1_CHANNEL_BLOCK), T): sums over a channel block; optional
    float *dh0;                      // (B, D)
} cpu1_gate_scan;

// m_t = k_t (λ m_{t-1} + (1 - λ) u_t) + (1 - k_t) m_{t-1}.
typedef struct {
    int64_t batch, time, width;
    const float *u, *decay, *keep, *m0;  // (B, T, D), (D,), (B, T) optional, (B, D) optional
    float *m;                            // (B, T, D)
    // backward only
    const float *dm;
    float *du;
    float *ddecay_batches;  // (B, D): one row a batch
    float *dkeep_blocks;    // as above; optional
    float *dm0;             // (B, D)
} cpu1_leaky_scan;

// The gradients of rms_norm: y = x r gain, r = 1 / sqrt(mean(x²) + eps), from dy (M, K), fp32 or bf16.
typedef struct {
    int64_t rows, width;
    const void *dy;
    const float *divide;  // (M,): dy's row m is divided by it; optional
    const float *x, *r, *gain;
    const float *through;  // (M, K): added to dx; optional
    float *dx;
    float *dgain_blocks;  // (ceil(M / CPU1_ROW_BLOCK), K), with gain
} cpu1_norm_backward;

// norm(h) silu(g): rows of h, and of its gradient, are dense; those of g, dh and dg lie `stride` apart.
typedef struct {
    const float *h, *g;
    int64_t stride;
    float eps;
    // backward only
    float *dh, *dg;
} cpu1_gated_norm;

// x (M, K), given by rows, to q int8, s (M,), r (M,); see ops/reference.py.
typedef struct {
    int64_t rows, width;
    float eps;
    const float *gain;  // (K,), optional
    int8_t *q;
    float *s, *r;
    float *scratch;  // CPU1_SCRATCH_ROWS * K for each thread
    // backward only
    const void *dq;       // (M, K), fp32 or bf16: gradient of q as a real number
    float *dgain_blocks;  // (ceil(M / CPU1_ROW_BLOCK), K), with gain
} cpu1_quantise;

// [gate, up] (M, 2K) = sums row column, and what is kept of it, fp32 or bf16 as the gradients are.
typedef struct {
    const int32_t *sums;
    const float *row, *column;  // (M,), (2K,)
    void *gate_up;              // (M, 2K)
    // backward only
    void *dgate_up;  // (M, 2K): times row and column
    int8_t *levels;  // (M, 2K) and scale (M,): dgate_up ~ scale levels; optional
    float *scale;
} cpu1_product_swiglu;

// A path of rank R beside stacked matrices: y[m][n] += sum over k of inner[m][part of n][k] up[k][n].
typedef struct {
    int64_t parts, rank;
    const int64_t *sizes;  // columns of each part
    const float *inner;    // (M, parts, R)
    const float *up;       // (R, N)
    // backward only
    float *dinner;
    float *dup_blocks;  // (ceil(M / CPU1_ROW_BLOCK), R, N)
} cpu1_low_rank;

// out (M, N), fp32 or bf16, = dy row column, both optional
typedef struct {
    int64_t rows, width;
    const float *dy, *row, *column;
    void *out;
    int8_t *levels;  // (M, N) and scale (M,): out ~ scale levels; optional
    float *scale;
    float *sum_blocks;  // (ceil(M / CPU1_ROW_BLOCK), N): sums of dy; optional
    const cpu1_low_rank *beside;  // optional
} cpu1_fold;

// The symbols before each position: windows (B, taps + N), vectors (symbols, taps, D).
typedef struct {
    int64_t batch, units, width, taps, symbols;
    const int64_t *stream;  // the first `taps` are those before the window
    const float *vectors;
} cpu1_look_back;

// What the memory of a document says of M bytes: codes (M, C, 3) of first byte, second byte, level.
typedef struct {
    int64_t rows, width, contexts, levels;
    const uint8_t *codes;
    const float *first, *second;                                // (256, C, D)
    const float *first_gains, *second_gains, *offsets;  // (C, L, D)
} cpu1_recall;

// Of the tensors of a cpu1_recall; all different.
typedef struct {
    float *first, *second, *first_gains, *second_gains, *offsets;
} cpu1_recall_gradients;

// sums (M, N) of q (M, K), -127 to 127, and ternary w: (N, K), or (K, N) if `transposed`. N and K are multiples of 16.
typedef struct {
    int64_t rows, inputs, outputs;
    const int8_t *q, *w;
    int transposed;
    uint8_t *panel;  // scratch: N * K
    int32_t *sums;
} cpu1_integer_product;

// dw (N, K) = dyᵀ q / row_scale, of dy (M, N) and q (M, K), -127 to 127. N and K are multiples of 16.
typedef struct {
    int64_t rows, inputs, outputs;
    const cpu1_bf16 *dy;
    const int8_t *q;
    const float *row_scale;  // (N,)
    int16_t *panel;          // scratch: K * (M, or M + 1 if it is odd)
    float *dw;
} cpu1_weight_gradient;

typedef struct {
    const char *isa;

    void (*gate_scan)(const cpu1_gate_scan *, int threads);
    void (*gate_scan_backward)(const cpu1_gate_scan *, int threads);
    void (*leaky_scan)(const cpu1_leaky_scan *, int threads);
    void (*leaky_scan_backward)(const cpu1_leaky_scan *, int threads);

    void (*gated_norm)(const cpu1_gated_norm *, float *u, int64_t rows, int64_t width, int threads);
    void (*gated_norm_backward)(const cpu1_gated_norm *, const float *du, int64_t rows, int64_t width, int threads);

    // y (M, K) fp32 or bf16, r (M,) kept for the backward pass
    void (*rms_norm)(const float *x, const float *gain, void *y, float *r, int64_t rows, int64_t width, float eps,
                     int threads);
    void (*rms_norm_bf16)(const float *x, const float *gain, void *y, float *r, int64_t rows, int64_t width, float eps,
                          int threads);
    void (*rms_norm_backward)(const cpu1_norm_backward *, int threads);
    void (*rms_norm_backward_bf16)(const cpu1_norm_backward *, int threads);

    // out = x + keep (M,) y, and y kept in fp32 or bf16; then the gradients but that of x, which is dout
    void (*branch)(const float *x, const float *y, const float *keep, float *out, void *kept, int64_t rows,
                   int64_t width, int threads);
    void (*branch_bf16)(const float *x, const float *y, const float *keep, float *out, void *kept, int64_t rows,
                        int64_t width, int threads);
    void (*branch_backward)(const float *dout, const void *kept, const float *keep, float *dy, float *dkeep,
                            int64_t rows, int64_t width, int threads);
    void (*branch_backward_bf16)(const float *dout, const void *kept, const float *keep, float *dy, float *dkeep,
                                 int64_t rows, int64_t width, int threads);

    // gate_up (M, 2H) -> out (M, H)
    void (*swiglu)(const float *gate_up, float *out, int64_t rows, int64_t width, int threads);
    void (*swiglu_backward)(const float *gate_up, const float *dout, float *dgate_up, int64_t rows, int64_t width,
                            int threads);

    void (*quantise)(const float *x, const cpu1_quantise *, int threads);
    void (*product_swiglu_quantise)(const cpu1_product_swiglu *, const cpu1_quantise *, int threads);
    void (*product_swiglu_quantise_bf16)(const cpu1_product_swiglu *, const cpu1_quantise *, int threads);
    void (*product_swiglu_quantise_backward)(const cpu1_product_swiglu *, const cpu1_quantise *, int threads);
    void (*product_swiglu_quantise_backward_bf16)(const cpu1_product_swiglu *, const cpu1_quantise *, int threads);
    void (*gated_norm_quantise)(const cpu1_gated_norm *, const cpu1_quantise *, int threads);
    void (*gated_norm_quantise_backward)(const cpu1_gated_norm *, const cpu1_quantise *, int threads);
    void (*gated_norm_quantise_backward_bf16)(const cpu1_gated_norm *, const cpu1_quantise *, int threads);

    // one matrix (N, K) -> w int8, *scale and row_scale (N,), all of them γ
    void (*ternarise)(const float *weight, int8_t *w, float *scale, float *row_scale, double *sums, int64_t rows,
                      int64_t width, int threads);
    // both null in sets without AVX2; the first is exact, the second to 15 bits of a column's largest
    void (*integer_product)(const cpu1_integer_product *, int threads);
    void (*weight_gradient)(const cpu1_weight_gradient *, int threads);
    // int32 sums (M, N), in place, to fp32: sum * row[m] * column[n], and the low-rank path beside it, if any
    void (*dequantise)(void *sums, const float *row, const float *column, const cpu1_low_rank *, int64_t rows,
                       int64_t width, int threads);
    void (*fold)(const cpu1_fold *, int threads);
    void (*fold_bf16)(const cpu1_fold *, int threads);

    // out[m][n] = in[m][n] / row[m] + bias[n] + residual[m][n], all three optional
    void (*widen)(const cpu1_bf16 *in, const float *row, const float *bias, const float *residual, float *out,
                  int64_t rows, int64_t width, int threads);
    // out = in row[m]
    void (*narrow_sums)(const int32_t *in, const float *row, cpu1_bf16 *out, int64_t rows, int64_t width, int threads);
    // small integers are exact in bf16
    void (*int8_to_bf16)(const int8_t *in, cpu1_bf16 *out, int64_t count, int threads);

    // out = relu(a + bias)²; da and the sums of its blocks of CPU1_ROW_BLOCK rows
    void (*relu2)(const cpu1_bf16 *a, const float *bias, cpu1_bf16 *out, int64_t rows, int64_t width, int threads);
    void (*relu2_backward)(const cpu1_bf16 *a, const float *bias, const cpu1_bf16 *dout, cpu1_bf16 *da,
                           float *sum_blocks, int64_t rows, int64_t width, int threads);

    void (*look_back)(const cpu1_look_back *, const float *base, float *out, int threads);
    void (*look_back_backward)(const cpu1_look_back *, const float *dout, float *dvectors, int threads);

    // table (R, D) and index (M,) -> out (M, D), see ops/reference.py
    void (*gather_rows)(const float *table, const int32_t *index, float *out, int64_t count, int64_t width,
                        int64_t levels, int threads);
    // marks (ceil(R / 64),) is scratch; rows (M,), place (R,): only those of marked rows are written
    int64_t (*mark_rows)(const int32_t *index, int64_t count, int64_t table_rows, uint64_t *marks, int64_t *rows,
                         int32_t *place);
    void (*sum_rows)(const float *dout, const int32_t *index, const int32_t *place, float *dvalues, int64_t rows,
                     int64_t contexts, int64_t width, int threads);
    void (*recall)(const cpu1_recall *, const float *x, float *out, int threads);
    void (*recall_backward)(const cpu1_recall *, const float *dout, const cpu1_recall_gradients *, int threads);

    // nats (M,) = total - logits[target], total (M,) = log sum exp; a target outside [0, V) gives NaN
    void (*cross_entropy)(const float *logits, const int64_t *target, float *nats, float *total, int64_t rows,
                          int64_t width, int threads);
    void (*cross_entropy_backward)(const float *logits, const int64_t *target, const float *total, const float *dnats,
                                   float *dlogits, int64_t rows, int64_t width, int threads);
} cpu1_train;

// The best table that the machine can run, or the one called `name`; null if it is not built in or cannot run.
const cpu1_train *cpu1_train_find(const char *name);
// The names of those it can run, best first, comma-separated.
const char *cpu1_train_names(void);

// Calls body(context, i, worker) for every i of [0, tasks), on up to `threads` threads of the OpenMP team that the
// process already has (torch's); serially if there is none. Calls at the same time differ in worker, of [0, threads).
void cpu1_parallel(int threads, int64_t tasks, void (*body)(const void *context, int64_t task, int worker),
                   const void *context);

#ifdef __cplusplus
}
#endif
