"""Where tensors live: the processor, or a GPU of this machine."""

from typing import TYPE_CHECKING

from cpu1.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")


def choose(name: str = "auto", index: int = 0) -> "torch.device":
    """The device of a name; `auto` is a GPU where there is one. `index` counts the processes of this machine.

    Raises UserError when a GPU is asked for, or shared, that is not there.
    """
    import torch

    if name not in DEVICES:
        raise UserError(f"--device {name}: there are {', '.join(DEVICES)}")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    if not found:
        raise UserError("--device cuda: torch finds no GPU here; take --device cpu, or install torch for CUDA")
    if index >= found:
        raise UserError(
            f"{index + 1} or more processes on a machine with {found} GPU: start {found}, or take --device cpu"
        )
    return torch.device("cuda", index)


def fast_precision(device: "torch.device") -> str:
    """bf16 where the device multiplies it natively; elsewhere it is slower than fp32."""
    import torch

    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.13, on a machine lent for its GPU
        return "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"
