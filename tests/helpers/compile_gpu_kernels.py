"""Compiles every Triton kernel for an architecture such as 90 (sm_90), and prints their names; no GPU is needed.

    python tests/helpers/compile_gpu_kernels.py 90

Run by test_gpu_kernels.py in a process of its own: there the interpreter took the compiler's place. The operators
are called on the CPU with a `launch` that compiles instead of running.
"""

import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from cpu1.ops import gpu
from cpu1.ops.gpu import choice
from cpu1.ops.operator import KERNELS

POINTERS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float64: "*fp64",
    torch.int8: "*i8",
    torch.int32: "*i32",
    torch.uint8: "*u8",
}


def compiled(kernel: Any, _: Any, *arguments: Any, **constants: Any) -> None:
    """Instead of `launch`."""
    options = {"num_warps": constants.pop("num_warps"), "enable_fp_fusion": False}
    given = dict(zip(kernel.arg_names, arguments, strict=False))
    # what is a constant to Triton: None, and 1
    fixed = {name: value for name, value in given.items() if value is None or (isinstance(value, int) and value == 1)}
    fixed |= {p.name: constants.get(p.name, arguments[p.num] if p.num < len(arguments) else None)
              for p in kernel.params if p.is_constexpr}  # fmt: skip
    signature = {name: "constexpr" if name in fixed else kind(given[name]) for name in kernel.arg_names}
    source = ASTSource(kernel, signature, fixed)
    built = compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options)
    assert built.asm["cubin"]
    assert "fma." not in built.asm["ptx"], f"{kernel.__name__} fuses a product and a sum"
    print(kernel.__name__)


def kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def call_all(batch: int, time: int, size: int) -> None:
    """Every operator, with and without what it may be given."""
    call, wide = KERNELS["CUDA"], 2 * size
    x, row, narrow = torch.randn(batch, time, size), torch.rand(batch, time), torch.randn(batch, time, wide)
    for gain in (None, torch.randn(size)):
        call["rms_norm"](x, gain, 1e-6)
        call["rms_norm_backward"](x, x, row, gain)
        for bf16 in (False, True):
            q, s, r, q_real = call["quantise"](x, gain, 1e-6, bf16)
            dq = x.to(q_real.dtype)
            call["quantise_backward"](dq, x, gain, s, r)
            call["ternary_swiglu"](q_real, q, s, torch.randn(wide, size), [size, size], gain, 1e-6)
            kept = narrow.view(-1, wide).to(q_real.dtype)
            call["scale_swiglu_gradient"](dq, kept, gain, s, r, s, torch.rand(wide))
            call["scale_gradient"](narrow, s, torch.rand(wide), bf16, [size, size], None, None)
    for keep in (None, row):
        for start in (None, torch.randn(batch, size)):
            call["gate_scan"](x, x, keep, start)
            call["gate_scan_backward"](x, x, x, keep, start, x)
            call["leaky_scan"](x, torch.rand(size), keep, start)
            call["leaky_scan_backward"](x, x, torch.rand(size), keep, start, x)
    stacked = torch.cat([x, narrow], -1)
    call["mlgru_mix"](stacked, None, None)
    call["mlgru_mix_backward"](x, stacked, None, None, x)
    for gain in (None, torch.randn(size)):
        call["mlgru_quantise"](stacked, gain, None, None, True)
        call["mlgru_quantise_backward"](x.bfloat16(), stacked, gain, None, None, row, row, x)
    index = torch.zeros(batch, time, 3, dtype=torch.int32)
    call["gather_rows"](torch.randn(30, size), index, 7)
    codes = torch.zeros(batch, time, 3, 3, dtype=torch.uint8)
    said = [torch.randn(256, 3, size)] * 2 + [torch.randn(3, 32, size)] * 3
    call["recall"](x, codes, *said)
    call["recall_backward"](x, codes, *said)
    for path in ((None, None), (torch.randn(batch, time, 8), torch.randn(wide, 4))):
        call["ternary_linear"](q_real, q, s, torch.randn(wide, size), [size, size], *path)


if __name__ == "__main__":
    for module in (gpu.chunks, gpu.lookups, gpu.mlgru, gpu.norm, gpu.quantise, gpu.scan, gpu.swiglu, gpu.ternary):
        module.launch = compiled
    for form in ("order", "chunks"):
        choice.FORCED = form
        call_all(2, 9, 320)
        call_all(1, 1, 1)
