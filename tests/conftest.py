"""What every test file shares."""

from collections.abc import Iterator

import pytest
import torch


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
