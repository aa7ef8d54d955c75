// cpu1._train: the kernels as Python functions of addresses (integers; 0 for none) and sizes.
//
// The callers in cpu1/ops check types, layouts and sizes; nothing here can. The interpreter's lock is released.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/api/interpreters.h"
#include "engine/api/without_python.h"
#include "train.h"

namespace nb = nanobind;

namespace {

const cpu1_train *table = nullptr;

void use_isa(const std::string &name) {
    const cpu1_train *found = cpu1_train_find(name.empty() ? nullptr : name.c_str());
    if (!found)
        throw std::invalid_argument("CPU1_TRAIN_ISA: no instruction set '" + name + "' on this machine; it has " +
                                    cpu1_train_names());
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

void gate_scan_backward(uintptr_t f, uintptr_t c, int64_t input_batch, int64_t input_time, uintptr_t keep, uintptr_t h0,
                        uintptr_t h, uintptr_t dh, uintptr_t df, uintptr_t dc, int64_t grad_batch, int64_t grad_time,
                        uintptr_t dkeep, uintptr_t dh0, int64_t batch, int64_t time, int64_t width, int threads) {
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

cpu1_gated_norm gated(uintptr_t h, uintptr_t g, int64_t stride, float eps, uintptr_t dh = 0, uintptr_t dg = 0) {
    return {at(h), at(g), stride, eps, at(dh), at(dg)};
}

void gated_norm(uintptr_t h, uintptr_t g, int64_t stride, uintptr_t u, int64_t rows, int64_t width, float eps,
                int threads) {
    const cpu1_gated_norm a = gated(h, g, stride, eps);
    table->gated_norm(&a, at(u), rows, width, threads);
}

void gated_norm_backward(uintptr_t du, uintptr_t h, uintptr_t g, uintptr_t dh, uintptr_t dg, int64_t stride,
                         int64_t rows, int64_t width, float eps, int threads) {
    const cpu1_gated_norm a = gated(h, g, stride, eps, dh, dg);
    table->gated_norm_backward(&a, at(du), rows, width, threads);
}

void rms_norm(uintptr_t x, uintptr_t gain, uintptr_t y, bool bf16, uintptr_t r, int64_t rows, int64_t width, float eps,
              int threads) {
    (bf16 ? table->rms_norm_bf16 : table->rms_norm)(at(x), at(gain), at<void>(y), at(r), rows, width, eps, threads);
}

void rms_norm_backward(uintptr_t dy, bool bf16, uintptr_t divide, uintptr_t x, uintptr_t r, uintptr_t gain,
                       uintptr_t through, uintptr_t dx, uintptr_t dgain, int64_t rows, int64_t width, int threads) {
    std::vector<float> parts(gain ? blocks_of(rows, CPU1_ROW_BLOCK) * static_cast<size_t>(width) : 0);
    const cpu1_norm_backward a{rows,  width,    at<void>(dy), at(divide), at(x),
                               at(r), at(gain), at(through),  at(dx),     parts.data()};
    (bf16 ? table->rms_norm_backward_bf16 : table->rms_norm_backward)(&a, threads);
    if (gain) sum_blocks(parts, at(dgain), static_cast<size_t>(width));
}

void branch(uintptr_t x, uintptr_t y, uintptr_t keep, uintptr_t out, uintptr_t kept, bool bf16, int64_t rows,
            int64_t width, int threads) {
    const auto kernel = bf16 ? table->branch_bf16 : table->branch;
    kernel(at(x), at(y), at(keep), at(out), at<void>(kept), rows, width, threads);
}

void branch_backward(uintptr_t dout, uintptr_t kept, bool bf16, uintptr_t keep, uintptr_t dy, uintptr_t dkeep,
                     int64_t rows, int64_t width, int threads) {
    const auto kernel = bf16 ? table->branch_backward_bf16 : table->branch_backward;
    kernel(at(dout), at<void>(kept), at(keep), at(dy), at(dkeep), rows, width, threads);
}

void swiglu(uintptr_t gate_up, uintptr_t out, int64_t rows, int64_t width, int threads) {
    table->swiglu(at(gate_up), at(out), rows, width, threads);
}

void swiglu_backward(uintptr_t gate_up, uintptr_t dout, uintptr_t dgate_up, int64_t rows, int64_t width, int threads) {
    table->swiglu_backward(at(gate_up), at(dout), at(dgate_up), rows, width, threads);
}

// The rows of a quantiser, its scratch memory, and the blocks of its gain's gradient.
struct Quantiser {
    std::vector<float> scratch, parts;
    cpu1_quantise a{};

    Quantiser(uintptr_t gain, uintptr_t q, uintptr_t s, uintptr_t r, int64_t rows, int64_t width, float eps,
              int threads)
        : scratch(static_cast<size_t>(CPU1_SCRATCH_ROWS * width * (threads > 1 ? threads : 1))) {
        a.rows = rows, a.width = width, a.eps = eps, a.gain = at(gain);
        a.q = at<int8_t>(q), a.s = at(s), a.r = at(r), a.scratch = scratch.data();
    }
    void backward(uintptr_t dq) {
        parts.resize(a.gain ? blocks_of(a.rows, CPU1_ROW_BLOCK) * static_cast<size_t>(a.width) : 0);
        a.dq = at<void>(dq), a.dgain_blocks = parts.data();
    }
    void finish(uintptr_t dgain) {
        if (a.gain) sum_blocks(parts, at(dgain), static_cast<size_t>(a.width));
    }
};

void quantise(uintptr_t x, uintptr_t gain, uintptr_t q, uintptr_t s, uintptr_t r, int64_t rows, int64_t width,
              float eps, int threads) {
    const Quantiser quantiser(gain, q, s, r, rows, width, eps, threads);
    table->quantise(at(x), &quantiser.a, threads);
}

void product_swiglu_quantise(uintptr_t sums, uintptr_t row, uintptr_t column, uintptr_t gate_up, bool bf16,
                             uintptr_t gain, uintptr_t q, uintptr_t s, uintptr_t r, int64_t rows, int64_t width,
                             float eps, int threads) {
    const Quantiser quantiser(gain, q, s, r, rows, width, eps, threads);
    const cpu1_product_swiglu product{at<int32_t>(sums), at(row), at(column), at<void>(gate_up),
                                      nullptr,           nullptr, nullptr};
    (bf16 ? table->product_swiglu_quantise_bf16 : table->product_swiglu_quantise)(&product, &quantiser.a, threads);
}

void product_swiglu_quantise_backward(uintptr_t dq, bool bf16, uintptr_t row, uintptr_t column, uintptr_t gate_up,
                                      uintptr_t dgate_up, uintptr_t levels, uintptr_t scale, uintptr_t gain,
                                      uintptr_t s, uintptr_t r, uintptr_t dgain, int64_t rows, int64_t width,
                                      int threads) {
    Quantiser quantiser(gain, 0, s, r, rows, width, 0, threads);
    quantiser.backward(dq);
    const cpu1_product_swiglu product{
        nullptr, at(row), at(column), at<void>(gate_up), at<void>(dgate_up), at<int8_t>(levels), at(scale)};
    (bf16 ? table->product_swiglu_quantise_backward_bf16 : table->product_swiglu_quantise_backward)(
        &product, &quantiser.a, threads);
    quantiser.finish(dgain);
}

void gated_norm_quantise(uintptr_t h, uintptr_t g, int64_t stride, uintptr_t gain, uintptr_t q, uintptr_t s,
                         uintptr_t r, int64_t rows, int64_t width, float eps, int threads) {
    const Quantiser quantiser(gain, q, s, r, rows, width, eps, threads);
    const cpu1_gated_norm source = gated(h, g, stride, eps);
    table->gated_norm_quantise(&source, &quantiser.a, threads);
}

void gated_norm_quantise_backward(uintptr_t dq, bool bf16, uintptr_t h, uintptr_t g, uintptr_t dh, uintptr_t dg,
                                  int64_t stride, uintptr_t gain, uintptr_t s, uintptr_t r, uintptr_t dgain,
                                  int64_t rows, int64_t width, float eps, int threads) {
    Quantiser quantiser(gain, 0, s, r, rows, width, eps, threads);
    quantiser.backward(dq);
    const cpu1_gated_norm source = gated(h, g, stride, eps, dh, dg);
    (bf16 ? table->gated_norm_quantise_backward_bf16 : table->gated_norm_quantise_backward)(&source, &quantiser.a,
                                                                                            threads);
    quantiser.finish(dgain);
}

void ternarise(uintptr_t weight, uintptr_t w, uintptr_t scale, uintptr_t row_scale, int64_t rows, int64_t width,
               int threads) {
    std::vector<double> sums(static_cast<size_t>(rows));
    table->ternarise(at(weight), at<int8_t>(w), at(scale), at(row_scale), sums.data(), rows, width, threads);
}

void integer_product(uintptr_t q, uintptr_t w, bool transposed, uintptr_t panel, uintptr_t sums, int64_t rows,
                     int64_t inputs, int64_t outputs, int threads) {
    const cpu1_integer_product a{
        rows, inputs, outputs, at<int8_t>(q), at<int8_t>(w), transposed, at<uint8_t>(panel), at<int32_t>(sums)};
    table->integer_product(&a, threads);
}

void weight_gradient(uintptr_t dy, uintptr_t q, uintptr_t row_scale, uintptr_t panel, uintptr_t dw, int64_t rows,
                     int64_t inputs, int64_t outputs, int threads) {
    const cpu1_weight_gradient a{
        rows, inputs, outputs, at<cpu1_bf16>(dy), at<int8_t>(q), at(row_scale), at<int16_t>(panel), at(dw)};
    table->weight_gradient(&a, threads);
}

cpu1_low_rank low_rank(uintptr_t inner, uintptr_t up, const std::vector<int64_t> &parts, int64_t rank) {
    cpu1_low_rank a{};
    a.parts = static_cast<int64_t>(parts.size()), a.rank = rank, a.sizes = parts.data();
    a.inner = at(inner), a.up = at(up);
    return a;
}

void dequantise(uintptr_t sums, uintptr_t row, uintptr_t column, uintptr_t inner, uintptr_t up,
                const std::vector<int64_t> &parts, int64_t rank, int64_t rows, int64_t width, int threads) {
    const cpu1_low_rank beside = low_rank(inner, up, parts, rank);
    table->dequantise(at<void>(sums), at(row), at(column), inner ? &beside : nullptr, rows, width, threads);
}

void fold(uintptr_t dy, uintptr_t row, uintptr_t column, uintptr_t out, bool bf16, uintptr_t levels, uintptr_t scale,
          uintptr_t sum, uintptr_t inner, uintptr_t up, uintptr_t dinner, uintptr_t dup,
          const std::vector<int64_t> &parts, int64_t rank, int64_t rows, int64_t width, int threads) {
    const size_t blocks = blocks_of(rows, CPU1_ROW_BLOCK);
    std::vector<float> sums(sum ? blocks * static_cast<size_t>(width) : 0);
    std::vector<float> dups(inner ? blocks * static_cast<size_t>(rank * width) : 0);
    cpu1_low_rank beside = low_rank(inner, up, parts, rank);
    beside.dinner = at(dinner), beside.dup_blocks = dups.data();
    const cpu1_fold a{rows,
                      width,
                      at(dy),
                      at(row),
                      at(column),
                      at<void>(out),
                      at<int8_t>(levels),
                      at(scale),
                      sum ? sums.data() : nullptr,
                      inner ? &beside : nullptr};
    (bf16 ? table->fold_bf16 : table->fold)(&a, threads);
    if (sum) sum_blocks(sums, at(sum), static_cast<size_t>(width));
    if (inner) sum_blocks(dups, at(dup), static_cast<size_t>(rank * width));
}

void widen(uintptr_t in, uintptr_t row, uintptr_t bias, uintptr_t residual, uintptr_t out, int64_t rows, int64_t width,
           int threads) {
    table->widen(at<cpu1_bf16>(in), at(row), at(bias), at(residual), at(out), rows, width, threads);
}

void narrow_sums(uintptr_t in, uintptr_t row, uintptr_t out, int64_t rows, int64_t width, int threads) {
    table->narrow_sums(at<int32_t>(in), at(row), at<cpu1_bf16>(out), rows, width, threads);
}

void int8_to_bf16(uintptr_t in, uintptr_t out, int64_t count, int threads) {
    table->int8_to_bf16(at<int8_t>(in), at<cpu1_bf16>(out), count, threads);
}

void relu2(uintptr_t a, uintptr_t bias, uintptr_t out, int64_t rows, int64_t width, int threads) {
    table->relu2(at<cpu1_bf16>(a), at(bias), at<cpu1_bf16>(out), rows, width, threads);
}

void relu2_backward(uintptr_t a, uintptr_t bias, uintptr_t dout, uintptr_t da, uintptr_t dbias, int64_t rows,
                    int64_t width, int threads) {
    std::vector<float> sums(blocks_of(rows, CPU1_ROW_BLOCK) * static_cast<size_t>(width));
    table->relu2_backward(at<cpu1_bf16>(a), at(bias), at<cpu1_bf16>(dout), at<cpu1_bf16>(da), sums.data(), rows, width,
                          threads);
    sum_blocks(sums, at(dbias), static_cast<size_t>(width));
}

void look_back(uintptr_t base, uintptr_t vectors, uintptr_t stream, uintptr_t out, int64_t batch, int64_t units,
               int64_t width, int64_t taps, int64_t symbols, int threads) {
    const cpu1_look_back a{batch, units, width, taps, symbols, at<int64_t>(stream), at(vectors)};
    table->look_back(&a, at(base), at(out), threads);
}

void look_back_backward(uintptr_t dout, uintptr_t stream, uintptr_t dvectors, int64_t batch, int64_t units,
                        int64_t width, int64_t taps, int64_t symbols, int threads) {
    const cpu1_look_back a{batch, units, width, taps, symbols, at<int64_t>(stream), nullptr};
    table->look_back_backward(&a, at(dout), at(dvectors), threads);
}

void gather_rows(uintptr_t rows, uintptr_t index, uintptr_t out, int64_t count, int64_t width, int64_t levels,
                 int threads) {
    table->gather_rows(at(rows), at<int32_t>(index), at(out), count, width, levels, threads);
}

int64_t mark_rows(uintptr_t index, int64_t count, int64_t table_rows, uintptr_t rows, uintptr_t place) {
    std::vector<uint64_t> marks(static_cast<size_t>(table_rows + 63) / 64);
    return table->mark_rows(at<int32_t>(index), count, table_rows, marks.data(), at<int64_t>(rows), at<int32_t>(place));
}

void sum_rows(uintptr_t dout, uintptr_t index, uintptr_t place, uintptr_t dvalues, int64_t rows, int64_t contexts,
              int64_t width, int threads) {
    table->sum_rows(at(dout), at<int32_t>(index), at<int32_t>(place), at(dvalues), rows, contexts, width, threads);
}

cpu1_recall recall_of(const std::vector<uintptr_t> &tensors, const std::vector<int64_t> &sizes) {
    return {sizes.at(0),       sizes.at(1),       sizes.at(2),       sizes.at(3),       at<uint8_t>(tensors.at(0)),
            at(tensors.at(1)), at(tensors.at(2)), at(tensors.at(3)), at(tensors.at(4)), at(tensors.at(5))};
}

// tensors: codes, first, second, first_gains, second_gains, offsets; sizes: rows, width, contexts, levels
void recall(uintptr_t x, const std::vector<uintptr_t> &tensors, uintptr_t out, const std::vector<int64_t> &sizes,
            int threads) {
    const cpu1_recall a = recall_of(tensors, sizes);
    table->recall(&a, at(x), at(out), threads);
}

void recall_backward(uintptr_t dout, const std::vector<uintptr_t> &tensors, const std::vector<uintptr_t> &gradients,
                     const std::vector<int64_t> &sizes, int threads) {
    const cpu1_recall a = recall_of(tensors, sizes);
    const cpu1_recall_gradients g{at(gradients.at(0)), at(gradients.at(1)), at(gradients.at(2)), at(gradients.at(3)),
                                  at(gradients.at(4))};
    table->recall_backward(&a, at(dout), &g, threads);
}

void cross_entropy(uintptr_t logits, uintptr_t target, uintptr_t nats, uintptr_t total, int64_t rows, int64_t width,
                   int threads) {
    table->cross_entropy(at(logits), at<int64_t>(target), at(nats), at(total), rows, width, threads);
}

void cross_entropy_backward(uintptr_t logits, uintptr_t target, uintptr_t total, uintptr_t dnats, uintptr_t dlogits,
                            int64_t rows, int64_t width, int threads) {
    table->cross_entropy_backward(at(logits), at<int64_t>(target), at(total), at(dnats), at(dlogits), rows, width,
                                  threads);
}

}  // namespace

NB_MODULE(_train, m) {
    refuse_subinterpreters();
    const char *forced = std::getenv("CPU1_TRAIN_ISA");
    use_isa(forced ? forced : "");
    m.def("isa", [] { return std::string(table->isa); }, "The instruction set in use.");
    m.def("isas", cpu1_train_names, "The instruction sets that this machine runs, best first, comma-separated.");
    m.def("has_integer_product", [] { return table->integer_product != nullptr; },
          "Whether this set has the function of that name, and `weight_gradient`.");
    m.def("use_isa", use_isa, "Changes it to one of isas(), or '' for the best.");

    using unlocked = nb::call_guard<WithoutPython>;
#define DEF(name) m.def(#name, name, unlocked())
    DEF(gate_scan);
    DEF(gate_scan_backward);
    DEF(leaky_scan);
    DEF(leaky_scan_backward);
    DEF(gated_norm);
    DEF(gated_norm_backward);
    DEF(rms_norm);
    DEF(rms_norm_backward);
    DEF(branch);
    DEF(branch_backward);
    DEF(swiglu);
    DEF(swiglu_backward);
    DEF(quantise);
    DEF(product_swiglu_quantise);
    DEF(product_swiglu_quantise_backward);
    DEF(gated_norm_quantise);
    DEF(gated_norm_quantise_backward);
    DEF(ternarise);
    DEF(integer_product);
    DEF(weight_gradient);
    DEF(dequantise);
    DEF(fold);
    DEF(widen);
    DEF(narrow_sums);
    DEF(int8_to_bf16);
    DEF(relu2);
    DEF(relu2_backward);
    DEF(look_back);
    DEF(look_back_backward);
    DEF(gather_rows);
    DEF(mark_rows);
    DEF(sum_rows);
    DEF(recall);
    DEF(recall_backward);
    DEF(cross_entropy);
    DEF(cross_entropy_backward);
#undef DEF
}
