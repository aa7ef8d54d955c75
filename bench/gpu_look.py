"""What machine this is, as a line of JSON: versions, GPU, and whether a kernel of Triton can be started.

python bench/gpu_look.py
"""

import json
import platform
import shutil
import sys
from typing import Any

import gpu_here
import torch

from cpu1.ops.native import native_available
from cpu1.ops.operator import KERNELS


def main() -> int:
    about: dict[str, Any] = {
        "kind": "machine",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "native_parts": native_available(),
        "compiler": shutil.which("gcc") or shutil.which("cc") or shutil.which("clang"),
        "missing": gpu_here.missing(),
        "gpu": None,
        "triton_runs": None,  # not known
    }
    print(json.dumps(about), flush=True)
    if torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
        about["gpu_memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
        about |= started()
        print(json.dumps(about), flush=True)
    return 0


def started() -> dict[str, Any]:
    """Whether a norm on the GPU is computed by Triton; the reason, if not."""
    try:
        import triton

        from cpu1 import ops

        y = ops.rms_norm(torch.ones(4, 64, device="cuda"))
        return {"triton": triton.__version__, "triton_runs": "rms_norm" in KERNELS["CUDA"] and bool((y > 0.9).all())}
    except Exception as error:  # of a compiler or driver: then plain torch is used
        return {"triton_runs": False, "triton_fault": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    sys.exit(main())
