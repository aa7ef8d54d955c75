"""The operations of training. `reference` defines each in plain torch; the other files hold the fast forms.

A fast form has the signature and the docstring of its reference (`native.fast_form_of`), and replaces it where a
kernel for the device was built. `bit_linear` and `retain_memory` have no second form.
"""

import importlib
import importlib.util
import os

import torch

from cpu1.ops.arena import retain_memory
from cpu1.ops.dense import linear, relu2_mlp
from cpu1.ops.lookups import gather_rows, recall
from cpu1.ops.native import native_available, use_reference
from cpu1.ops.products import autocast_product
from cpu1.ops.quantiser import mlgru_quantise, quantise
from cpu1.ops.rows import branch, rms_norm, swiglu
from cpu1.ops.scan import gate_scan, leaky_scan, mlgru_mix
from cpu1.ops.symbols import cross_entropy, look_back
from cpu1.ops.ternary import bit_linear, ternarise, ternary_linear, ternary_swiglu

# triton comes with torch's builds for CUDA; elsewhere neither is looked for. CPU1_TRITON=0 leaves its kernels out.
if torch.cuda.is_available() and importlib.util.find_spec("triton") and os.environ.get("CPU1_TRITON") != "0":
    importlib.import_module("cpu1.ops.gpu")

__all__ = [
    "autocast_product",
    "bit_linear",
    "branch",
    "cross_entropy",
    "gate_scan",
    "gather_rows",
    "leaky_scan",
    "linear",
    "look_back",
    "mlgru_mix",
    "mlgru_quantise",
    "native_available",
    "quantise",
    "recall",
    "relu2_mlp",
    "retain_memory",
    "rms_norm",
    "swiglu",
    "ternarise",
    "ternary_linear",
    "ternary_swiglu",
    "use_reference",
]
