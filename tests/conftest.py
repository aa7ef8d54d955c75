"""What every test file shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.native_build import build_for_aarch64


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fills fresh memory of torch with NaN (or the largest integer): reading what nobody wrote shows."""
    torch.use_deterministic_algorithms(True)  # fills memory by torch.utils.deterministic's default
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and a busy machine makes threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def aarch64(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The engine's programs for aarch64: the emulator that runs them, and their folder."""
    return build_for_aarch64(tmp_path_factory.mktemp("aarch64"), ["test_kernels", "code"])
