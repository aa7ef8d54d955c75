"""Rows of tables and what a memory says: every form against the reference; packing rounds as training does."""

import numpy as np
import pytest
import torch
from helpers.comparing import check
from torch import Tensor, nn

from cpu1 import ops
from cpu1.format.tensors import load_rows, store_rows, to_rows
from cpu1.ops import reference
from cpu1.training.optim import Rows, Together, parts_of

CONTEXTS, ROWS, WIDTH, LEVELS = 3, 50, 24, 32


@pytest.fixture
def table() -> Tensor:
    """Rows from tiny to large, one of zeros, one that a power of two just holds."""
    torch.manual_seed(0)
    rows = torch.randn(CONTEXTS * ROWS, WIDTH) * torch.exp(4 * torch.randn(CONTEXTS * ROWS, 1))
    rows[5] = 0
    rows[6] = 7 * 2.0**-3
    rows[7] = 1e-35
    return rows


@pytest.fixture
def index() -> Tensor:
    torch.manual_seed(1)
    return (torch.randint(0, ROWS, (2, 37, CONTEXTS)) + torch.arange(CONTEXTS) * ROWS).int()


@pytest.mark.parametrize("levels", [1, 7, 127])
@pytest.mark.usefixtures("isa")
def test_rows_are_rounded_as_the_reference_does(table: Tensor, index: Tensor, levels: int) -> None:
    rows = ops.gather_rows(table, index, levels)
    assert torch.equal(rows, reference.gather_rows(table, index, levels))
    scale = reference.row_scales(table, levels)
    assert (table.abs().amax(-1) <= levels * scale).all()
    assert torch.equal(ops.gather_rows(reference.round_rows(table, levels), index, levels), rows)  # once is enough


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packing_changes_nothing_that_training_read(table: Tensor, bits: int) -> None:
    packed = to_rows(table.numpy(), bits)
    wanted = reference.round_rows(table, 2 ** (bits - 1) - 1)
    assert np.array_equal(packed.unpacked(), wanted.numpy())
    stored = store_rows(packed)
    assert stored.shape == (len(table), 1 + WIDTH * bits // 8)
    again = load_rows(stored, bits)
    assert np.array_equal(again.q, packed.q)
    assert np.array_equal(again.power, packed.power)
    assert np.array_equal(store_rows(to_rows(again.unpacked(), bits)), stored)


def test_rows_that_packing_cannot_give_are_refused() -> None:
    stored = store_rows(to_rows(np.ones((2, 8), np.float32), 4))
    for place, byte, words in (((0, 1), 0x10, "a value of -8"), ((1, 0), 0x80, "a power"), ((1, 0), 101, "a power")):
        hostile = stored.copy()
        hostile[place] = byte
        with pytest.raises(ValueError, match=words):
            load_rows(hostile, 4)
    with pytest.raises(ValueError, match=r"reach 2\^"):
        to_rows(np.full((1, 8), 1e38, np.float32), 4)


@pytest.mark.usefixtures("isa")
def test_gradients_are_the_sums_of_each_row(table: Tensor, index: Tensor) -> None:
    probe = torch.randn(*index.shape, WIDTH)
    gradients = []
    for form in (reference.gather_rows, ops.gather_rows, lambda *args: ops.gather_rows(*args, sparse=True)):
        leaf = table.clone().requires_grad_()
        (form(leaf, index, 7) * probe).sum().backward()
        gradients.append(leaf.grad)
    plain, dense, sparse = gradients
    assert sparse is not None
    assert sparse.is_sparse
    assert torch.equal(sparse.to_dense(), dense)
    assert sparse._indices()[0].tolist() == index.unique().tolist()
    torch.testing.assert_close(dense, plain)


@pytest.mark.parametrize("width", [1, 16, 70])
@pytest.mark.usefixtures("isa")
def test_recall(width: int) -> None:
    torch.manual_seed(2)
    shape = (2, 33, CONTEXTS)
    level = torch.randint(0, LEVELS, shape) * torch.randint(0, 2, shape)  # half of them know nothing
    codes = torch.stack([torch.randint(0, 256, shape), torch.randint(0, 256, shape), level], -1).to(torch.uint8)
    vectors = [torch.randn(256, CONTEXTS, width) for _ in range(2)]
    gains = [torch.randn(CONTEXTS, LEVELS, width) for _ in range(3)]

    def by(form):
        return lambda x, *tensors: form(x, codes, *tensors)

    check(by(ops.recall), by(reference.recall), torch.randn(2, 33, width), *vectors, *gains)


def test_wrong_numbers_are_refused(table: Tensor, index: Tensor) -> None:
    if not ops.native_available():
        pytest.skip("built without native kernels")
    with pytest.raises(IndexError, match="of a table of 150"):
        ops.gather_rows(table, index + 1, 7)
    with pytest.raises(ValueError, match="int32"):
        ops.gather_rows(table, index.long(), 7)
    tensors = [torch.zeros(256, 1, 4)] * 2 + [torch.zeros(1, 8, 4)] * 3
    with pytest.raises(IndexError, match="level 9 of 8"):
        ops.recall(torch.zeros(1, 1, 4), torch.tensor([[[[1, 2, 9]]]], dtype=torch.uint8), *tensors)


@pytest.mark.parametrize("sparse", [True, False])
def test_only_rows_with_a_gradient_move(sparse: bool) -> None:
    """By hand, two steps: the first gradient is the moment, so a row moves by its sign; sparse and dense alike."""
    parameter = nn.Parameter(torch.zeros(4, 2))
    optimizer = Rows([{"params": [parameter], "lr": 0.5}], decay=0.75)
    for value in (2.0, 4.0):
        gradient = torch.zeros(4, 2)
        gradient[1] = value
        parameter.grad = gradient.to_sparse(1) if sparse else gradient
        optimizer.step()
    moment = 0.75 * 4 + 0.25 * 16
    assert torch.allclose(parameter[1], torch.full((2,), -0.5 - 0.5 * 4 / moment**0.5))
    assert torch.equal(parameter.detach()[[0, 2, 3]], torch.zeros(3, 2))
    assert torch.allclose(optimizer.state[parameter]["square"], torch.tensor([0, moment, 0, 0]))


def test_optimisers_together_share_groups_and_state() -> None:
    weight, table = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(4, 2))
    adamw = torch.optim.AdamW([{"params": [weight]}], lr=0.1)
    both = Together([adamw, Rows([{"params": [table], "lr": 0.1}], decay=0.9)])
    for parameter in (weight, table):
        parameter.grad = torch.ones_like(parameter)
    both.step()
    assert parts_of(both)[0] is adamw
    assert parts_of(adamw) == [adamw]
    assert set(both.state) == {weight, table}
    assert [len(group["params"]) for group in both.param_groups] == [1, 1]
    assert torch.allclose(table, torch.full((4, 2), 0.9))
