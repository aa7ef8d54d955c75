"""The operators on a GPU, as Triton kernels (triton-lang.org): importing this registers them for CUDA.

What has no kernel here uses the plain reference there: products in bf16, which torch does well by itself, and the steps
around them.
"""

from cpu1.ops.gpu import chunks, lookups, mlgru, norm, quantise, scan, swiglu, ternary

__all__ = ["chunks", "lookups", "mlgru", "norm", "quantise", "scan", "swiglu", "ternary"]
