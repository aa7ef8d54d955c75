// The kernels of one instruction set: this file is compiled once for each, with its flags and CPU1_ISA.
//
// Everything in it has internal linkage but the table, and it includes no C++ library header: an inline function
// shared with other files could be kept by the linker in its AVX-512 form, and crash a lesser processor.
#include "math.inl"
#include "norm.inl"
#include "product.inl"
#include "scan.inl"
#include "swiglu.inl"
#include "ternarise.inl"
#include "train.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define TEXT2(a) #a
#define TEXT(a) TEXT2(a)

extern "C" const cpu1_train JOIN(cpu1_train_, CPU1_ISA) = {
    TEXT(CPU1_ISA),
    gate_scan,
    gate_scan_backward,
    leaky_scan,
    leaky_scan_backward,
    gated_norm,
    gated_norm_backward,
    rms_norm,
    rms_norm_backward<float>,
    rms_norm_backward<cpu1_bf16>,
    swiglu,
    swiglu_backward,
    quantise,
    ternarise,
    dequantise,
    narrow,
    widen,
    int8_to_bf16,
};
