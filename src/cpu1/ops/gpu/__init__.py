"""The operators on a GPU, as Triton kernels (triton-lang.org): importing this registers them for CUDA.

What has no kernel here is the plain reference there: products in bf16 that torch does well by itself, and what
stands around them.
"""

from cpu1.ops.gpu import chunks, mlgru, norm, quantise, scan, swiglu, ternary

__all__ = ["chunks", "mlgru", "norm", "quantise", "scan", "swiglu", "ternary"]
