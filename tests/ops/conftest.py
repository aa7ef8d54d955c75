"""What the tests of operations share."""

from collections.abc import Iterator

import pytest

from cpu1 import ops
from cpu1.ops import native

ISAS = ("portable", "avx2", "avx512")


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test on each instruction set that this machine has."""
    if not ops.native_available():
        pytest.skip("built without native kernels")
    try:
        native.train.use_isa(request.param)
    except ValueError:
        pytest.skip(f"no {request.param} here")
    yield request.param
    native.train.use_isa("")
