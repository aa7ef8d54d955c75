// The kernels of one instruction set: this file is compiled once for each, with its flags and CPU1_SET.
//
// Everything in it has internal linkage but the table, and it includes no C++ library header: an inline function
// shared with other files could be kept by the linker in its AVX-512 form, and crash a lesser processor.
#include "bytes.inl"
#include "integers.inl"
#include "lookups.inl"
#include "math.inl"
#include "norm.inl"
#include "product.inl"
#include "quantise.inl"
#include "scan.inl"
#include "short_products.inl"
#include "swiglu.inl"
#include "ternarise.inl"
#include "train.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define TEXT2(a) #a
#define TEXT(a) TEXT2(a)

extern "C" const cpu1_train JOIN(cpu1_train_, CPU1_SET) = {
    TEXT(CPU1_SET),
    gate_scan,
    gate_scan_backward,
    leaky_scan,
    leaky_scan_backward,
    gated_norm,
    gated_norm_backward,
    rms_norm<float>,
    rms_norm<cpu1_bf16>,
    rms_norm_backward<float>,
    rms_norm_backward<cpu1_bf16>,
    branch<float>,
    branch<cpu1_bf16>,
    branch_backward<float>,
    branch_backward<cpu1_bf16>,
    swiglu,
    swiglu_backward,
    quantise,
    product_swiglu_quantise<float>,
    product_swiglu_quantise<cpu1_bf16>,
    product_swiglu_quantise_backward<float>,
    product_swiglu_quantise_backward<cpu1_bf16>,
    gated_norm_quantise,
    gated_norm_quantise_backward<float>,
    gated_norm_quantise_backward<cpu1_bf16>,
    ternarise,
    integer_product,
    weight_gradient,
    dequantise,
    fold<float>,
    fold<cpu1_bf16>,
    widen,
    narrow_sums,
    int8_to_bf16,
    relu2,
    relu2_backward,
    look_back,
    look_back_backward,
    gather_rows,
    mark_rows,
    sum_rows,
    recall,
    recall_backward,
    cross_entropy,
    cross_entropy_backward,
};
