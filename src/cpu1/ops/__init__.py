"""The operations of training: a plain torch reference beside each fast form, one signature."""

from cpu1.ops.memory import retain_memory
from cpu1.ops.native import native_available, use_reference
from cpu1.ops.products import bit_linear, linear, ternarise
from cpu1.ops.reference import cross_entropy
from cpu1.ops.rows import quantise, rms_norm, swiglu
from cpu1.ops.scan import gate_scan, leaky_scan, mlgru_mix

__all__ = [
    "bit_linear",
    "cross_entropy",
    "gate_scan",
    "leaky_scan",
    "linear",
    "mlgru_mix",
    "native_available",
    "quantise",
    "retain_memory",
    "rms_norm",
    "swiglu",
    "ternarise",
    "use_reference",
]
