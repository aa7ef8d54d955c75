// cpu1._train: the kernels as Python functions of addresses (integers; 0 for none) and sizes.
//
// The callers in cpu1/ops check types, layouts and sizes; nothing here can. The interpreter's lock is released.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "train.h"

namespace nb = nanobind;

namespace {

const cpu1_train *table = nullptr;

void use_isa(const std::string &name) {
    const cpu1_train *found = cpu1_train_find(name.empty() ? nullptr : name.c_str());
    if (!found) throw std::invalid_argument("instruction set '" + name + "' is not built in or not supported here");
    table = found;
}

template <class T = float>
T *at(uintptr_t address) {
    return reinterpret_cast<T *>(address);
}

// out[i] = the sum over blocks of parts[block][i], in order
void sum_blocks(const std::vector<float> &parts, float *out, size_t width) {
    for (size_t i = 0; i < width; i++) out[i] = 0;
    for (size_t start = 0; start < parts.size(); start += width) {
        for (size_t i = 0; i < width; i++) out[i] += parts[start + i];
    }
}

size_t blocks_of(int64_t count, int64_t block) { return static_cast<size_t>((count + block - 1) / block); }

void sum_dkeep(const std::vector<float> &parts, float *dkeep, int64_t batch, int64_t time) {
    const size_t each = parts.size() / static_cast<size_t>(batch ? batch : 1);
    for (int64_t b = 0; b < batch; b++) {
        const auto first = parts.begin() + static_cast<ptrdiff_t>(each) * b;
        sum_blocks({first, first + static_cast<ptrdiff_t>(each)}, dkeep + b * time, static_cast<size_t>(time));
    }
}

void gate_scan(uintptr_t f, uintptr_t c, int64_t input_batch, int64_t input_time, uintptr_t keep, uintptr_t h0,
               uintptr_t h, int64_t batch, int64_t time, int64_t width, int threads) {
    cpu1_gate_scan a{};
    a.batch = batch, a.time = time, a.width = width;
    a.f = at(f), a.c = at(c), a.input_batch = input_batch, a.input_time = input_time;
    a.keep = at(keep), a.h0 = at(h0), a.h = at(h);
    table->gate_scan(&a, threads);
}

void gate_scan_backward(uintptr_t f, uintptr_t c, int64_t input_batch, int64_t input_time, uintptr_t keep,
                        uintptr_t h0, uintptr_t h, uintptr_t dh, uintptr_t df, uintptr_t dc, int64_t grad_batch,
                        int64_t grad_time, uintptr_t dkeep, uintptr_t dh0, int64_t batch, int64_t time,
                        int64_t width, int threads) {
    cpu1_gate_scan a{};
    a.batch = batch, a.time = time, a.width = width;
    a.f = at(f), a.c = at(c), a.input_batch = input_batch, a.input_time = input_time;
    a.keep = at(keep), a.h0 = at(h0), a.h = at(h);
    a.dh = at(dh), a.df = at(df), a.dc = at(dc), a.grad_batch = grad_batch, a.grad_time = grad_time, a.dh0 = at(dh0);
    std::vector<float> parts(dkeep ? blocks_of(width, CPU1_CHANNEL_BLOCK) * static_cast<size_t>(batch * time) : 0);
    a.dkeep_blocks = dkeep ? parts.data() : nullptr;
    table->gate_scan_backward(&a, threads);
    if (dkeep) sum_dkeep(parts, at(dkeep), batch, time);
}

void leaky_scan(uintptr_t u, uintptr_t decay, uintptr_t keep, uintptr_t m0, uintptr_t m, int64_t batch, int64_t time,
                int64_t width, int threads) {
    cpu1_leaky_scan a{};
    a.batch = batch, a.time = time, a.width = width;
    a.u = at(u), a.decay = at(decay), a.keep = at(keep), a.m0 = at(m0), a.m = at(m);
    table->leaky_scan(&a, threads);
}

void leaky_scan_backward(uintptr_t u, uintptr_t decay, uintptr_t keep, uintptr_t m0, uintptr_t m, uintptr_t dm,
                         uintptr_t du, uintptr_t ddecay, uintptr_t dkeep, uintptr_t dm0, int64_t batch, int64_t time,
                         int64_t width, int threads) {
    cpu1_leaky_scan a{};
    a.batch = batch, a.time = time, a.width = width;
    a.u = at(u), a.decay = at(decay), a.keep = at(keep), a.m0 = at(m0), a.m = at(m);
    a.dm = at(dm), a.du = at(du), a.dm0 = at(dm0);
    std::vector<float> ddecay_batches(static_cast<size_t>(batch * width));
    std::vector<float> parts(dkeep ? blocks_of(width, CPU1_CHANNEL_BLOCK) * static_cast<size_t>(batch * time) : 0);
    a.ddecay_batches = ddecay_batches.data();
    a.dkeep_blocks = dkeep ? parts.data() : nullptr;
    table->leaky_scan_backward(&a, threads);
    sum_blocks(ddecay_batches, at(ddecay), static_cast<size_t>(width));
    if (dkeep) sum_dkeep(parts, at(dkeep), batch, time);
}

void gated_norm(uintptr_t h, uintptr_t g, uintptr_t u, uintptr_t r, int64_t rows, int64_t width, int64_t g_stride,
                float eps, int threads) {
    table->gated_norm(at(h), at(g), at(u), at(r), rows, width, g_stride, eps, threads);
}

void gated_norm_backward(uintptr_t du, uintptr_t h, uintptr_t g, uintptr_t r, uintptr_t dh, uintptr_t dg,
                         int64_t rows, int64_t width, int64_t g_stride, int threads) {
    table->gated_norm_backward(at(du), at(h), at(g), at(r), at(dh), at(dg), rows, width, g_stride, threads);
}

void rms_norm(uintptr_t x, uintptr_t gain, uintptr_t y, uintptr_t r, int64_t rows, int64_t width, float eps,
              int threads) {
    table->rms_norm(at(x), at(gain), at(y), at(r), rows, width, eps, threads);
}

void rms_norm_backward(uintptr_t dy, bool bf16, uintptr_t divide, uintptr_t x, uintptr_t r, uintptr_t gain,
                       uintptr_t dx, uintptr_t dgain, int64_t rows, int64_t width, int threads) {
    std::vector<float> parts(gain ? blocks_of(rows, CPU1_ROW_BLOCK) * static_cast<size_t>(width) : 0);
    const cpu1_norm_backward a{rows, width,    at<void>(dy), at(divide),  at(x),
                               at(r), at(gain), at(dx),       parts.data()};
    (bf16 ? table->rms_norm_backward_bf16 : table->rms_norm_backward)(&a, threads);
    if (gain) sum_blocks(parts, at(dgain), static_cast<size_t>(width));
}

void swiglu(uintptr_t gate_up, uintptr_t out, int64_t rows, int64_t width, int threads) {
    table->swiglu(at(gate_up), at(out), rows, width, threads);
}

void swiglu_backward(uintptr_t gate_up, uintptr_t dout, uintptr_t dgate_up, int64_t rows, int64_t width,
                     int threads) {
    table->swiglu_backward(at(gate_up), at(dout), at(dgate_up), rows, width, threads);
}

void quantise(uintptr_t x, uintptr_t gain, uintptr_t q, uintptr_t s, uintptr_t r, int64_t rows, int64_t width,
              float eps, int threads) {
    table->quantise(at(x), at(gain), at<int8_t>(q), at(s), at(r), rows, width, eps, threads);
}

void ternarise(uintptr_t weight, uintptr_t w, uintptr_t scale, uintptr_t row_scale, int64_t rows, int64_t width,
               int threads) {
    std::vector<double> sums(static_cast<size_t>(rows));
    table->ternarise(at(weight), at<int8_t>(w), at(scale), at(row_scale), sums.data(), rows, width, threads);
}

void dequantise(uintptr_t sums, uintptr_t row, uintptr_t column, int64_t rows, int64_t width, int threads) {
    table->dequantise(at<void>(sums), at(row), at(column), rows, width, threads);
}

void narrow(uintptr_t in, uintptr_t row, uintptr_t column, uintptr_t out, int64_t rows, int64_t width, int threads) {
    table->narrow(at(in), at(row), at(column), at<cpu1_bf16>(out), rows, width, threads);
}

void widen(uintptr_t in, uintptr_t row, uintptr_t out, int64_t rows, int64_t width, int threads) {
    table->widen(at<cpu1_bf16>(in), at(row), at(out), rows, width, threads);
}

void int8_to_bf16(uintptr_t in, uintptr_t out, int64_t count, int threads) {
    table->int8_to_bf16(at<int8_t>(in), at<cpu1_bf16>(out), count, threads);
}

}  // namespace

NB_MODULE(_train, m) {
    const char *forced = std::getenv("CPU1_TRAIN_ISA");
    use_isa(forced ? forced : "");
    m.def("isa", [] { return std::string(table->isa); }, "The instruction set in use.");
    m.def("use_isa", use_isa, "Changes it: 'baseline', 'avx2', 'avx512', or '' for the best.");

    using unlocked = nb::call_guard<nb::gil_scoped_release>;
#define DEF(name) m.def(#name, name, unlocked())
    DEF(gate_scan);
    DEF(gate_scan_backward);
    DEF(leaky_scan);
    DEF(leaky_scan_backward);
    DEF(gated_norm);
    DEF(gated_norm_backward);
    DEF(rms_norm);
    DEF(rms_norm_backward);
    DEF(swiglu);
    DEF(swiglu_backward);
    DEF(quantise);
    DEF(ternarise);
    DEF(dequantise);
    DEF(narrow);
    DEF(widen);
    DEF(int8_to_bf16);
#undef DEF
}
