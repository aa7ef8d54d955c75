"""The device that holds tensors: the processor, or a GPU of this machine."""

from typing import TYPE_CHECKING

from cpu1.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")


def choose(name: str = "auto", index: int = 0) -> "torch.device":
    """The device called `name`; `auto` is a GPU where there is one. `index` is the process's number on this machine.

    Raises UserError for an unknown name, and when there is no GPU, or none of that number.
    """
    import torch

    if name not in DEVICES:
        raise UserError(f"--device {name}: there are {', '.join(DEVICES)}")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    if not gpus:
        raise UserError("--device cuda: torch finds no GPU here; take --device cpu, or install torch for CUDA")
    if index >= gpus:
        raise UserError(
            f"{index + 1} or more processes on a machine with {gpus} GPU: start {gpus}, or take --device cpu"
        )
    return torch.device("cuda", index)


def fast_precision(device: "torch.device") -> str:
    """Returns "bf16" where the device multiplies it natively, else "fp32", which is faster there."""
    import torch

    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.13, on a machine lent for its GPU
        return "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"
