"""Lets kernels of several processes run on one GPU at the same time, by NVIDIA's multi-process service (MPS).

Without it, processes take turns on the GPU, and a small model's kernels leave most of it idle. The service is a daemon
of the driver. It changes no setting of the GPU, and it ends with `stop`.
"""

import shutil
import subprocess
from pathlib import Path

ADDED = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
CONTROL = "nvidia-cuda-mps-control"
PROBE = "import torch; assert torch.ones(8, device='cuda').sum().item() == 8"
PATIENCE = 40.0  # seconds


def start(environment: dict[str, str], folder: Path, python: str) -> str:
    """Starts the daemon and adds to `environment` what its clients need, if a GPU works with it; what became of it."""
    if not shutil.which(CONTROL):
        return f"runs take turns on the GPU: there is no {CONTROL}"
    added = {name: str(folder / name.split("_")[2].lower()) for name in ADDED}
    for path in added.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    clients = {**environment, **added}
    try:
        subprocess.run([CONTROL, "-d"], env=clients, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
        subprocess.run([python, "-c", PROBE], env=clients, check=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError) as error:
        stop(clients)
        return f"runs take turns on the GPU: {type(error).__name__} of MPS"
    environment.update(added)
    return "kernels of several runs run at the same time (MPS)"


def stop(environment: dict[str, str]) -> None:
    """Ends the daemon, if one was started."""
    if on(environment):
        subprocess.run([CONTROL], input=b"quit -t 5\n", env=environment, check=False, timeout=PATIENCE,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        for name in ADDED:
            del environment[name]


def on(environment: dict[str, str]) -> bool:
    """Whether processes with this environment share the GPU."""
    return ADDED[0] in environment
