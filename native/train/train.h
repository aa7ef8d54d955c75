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
    float *dx;
    float *dgain_blocks;  // (ceil(M / CPU1_ROW_BLOCK), K), with gain
} cpu1_norm_backward;

typedef struct {
    const char *isa;

    void (*gate_scan)(const cpu1_gate_scan *, int threads);
    void (*gate_scan_backward)(const cpu1_gate_scan *, int threads);
    void (*leaky_scan)(const cpu1_leaky_scan *, int threads);
    void (*leaky_scan_backward)(const cpu1_leaky_scan *, int threads);

    // u = h r silu(g), r (M,) kept for the backward pass; g's rows lie g_stride apart, as do dh's and dg's
    void (*gated_norm)(const float *h, const float *g, float *u, float *r, int64_t rows, int64_t width,
                       int64_t g_stride, float eps, int threads);
    void (*gated_norm_backward)(const float *du, const float *h, const float *g, const float *r, float *dh,
                                float *dg, int64_t rows, int64_t width, int64_t g_stride, int threads);

    void (*rms_norm)(const float *x, const float *gain, float *y, float *r, int64_t rows, int64_t width, float eps,
                     int threads);
    void (*rms_norm_backward)(const cpu1_norm_backward *, int threads);
    void (*rms_norm_backward_bf16)(const cpu1_norm_backward *, int threads);

    // gate_up (M, 2H) -> out (M, H)
    void (*swiglu)(const float *gate_up, float *out, int64_t rows, int64_t width, int threads);
    void (*swiglu_backward)(const float *gate_up, const float *dout, float *dgate_up, int64_t rows, int64_t width,
                            int threads);

    // x (M, K) -> q int8, s (M,), r (M,)
    void (*quantise)(const float *x, const float *gain, int8_t *q, float *s, float *r, int64_t rows, int64_t width,
                     float eps, int threads);
    // one matrix (N, K) -> w int8, *scale and row_scale (N,), all of them γ
    void (*ternarise)(const float *weight, int8_t *w, float *scale, float *row_scale, double *sums, int64_t rows,
                      int64_t width, int threads);
    // int32 sums (M, N), in place, to fp32: sum * row[m] * column[n]
    void (*dequantise)(void *sums, const float *row, const float *column, int64_t rows, int64_t width, int threads);

    // out[m][n] = in[m][n] * row[m] * column[n], rounded to bf16 (nearest, ties to even); both optional
    void (*narrow)(const float *in, const float *row, const float *column, cpu1_bf16 *out, int64_t rows,
                   int64_t width, int threads);
    // out[m][n] = in[m][n] / row[m]
    void (*widen)(const cpu1_bf16 *in, const float *row, float *out, int64_t rows, int64_t width, int threads);
    // small integers are exact in bf16
    void (*int8_to_bf16)(const int8_t *in, cpu1_bf16 *out, int64_t count, int threads);
} cpu1_train;

extern const cpu1_train cpu1_train_baseline, cpu1_train_avx2, cpu1_train_avx512;

// The best table that the machine can run, or the one called `name`; null if it is not built in or cannot run.
const cpu1_train *cpu1_train_find(const char *name);

// Calls body(context, i) for every i of [0, tasks), on up to `threads` threads of the OpenMP team that the process
// already has (torch's); serially if there is none.
void cpu1_parallel(int threads, int64_t tasks, void (*body)(const void *context, int64_t task), const void *context);

#ifdef __cplusplus
}
#endif
