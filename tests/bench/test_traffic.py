"""The bench of what a training step reads and writes, at demo scale."""

import json
import sys

import pytest
import torch
import traffic as bench

from cpu1.ops import products
from cpu1.ops.operator import KERNELS


def test_a_product_counts_its_inputs_and_its_output_once():
    a, b = torch.ones(8, 16), torch.ones(16, 4)
    with bench.Traffic() as traffic:
        torch.mm(a, b).t()
    assert traffic.moved == {"mm": 4 * (8 * 16 + 16 * 4 + 8 * 4)}
    assert bench.size([a, (a, b), a.t()]) == 4 * (8 * 16 + 16 * 4)


def test_an_operator_made_of_others_counts_as_they_do():
    a = torch.ones(8, 16)
    traffic = bench.Traffic()
    twice = traffic.own("twice", lambda x: x.exp().exp())
    with traffic:
        twice(a)
    assert traffic.moved == {"twice": 4 * a.numel() * 4}


def test_a_step_is_counted_and_the_kernels_are_put_back(monkeypatch, capsys):
    monkeypatch.setattr(products, "multiplies_bf16", products.multiplies_bf16)  # put back after the test
    before = dict(KERNELS["CPU"])
    words = ["--run", "07", "--scale", "demo", "--memory", "1T", "--rate", "100T", "--json"]
    monkeypatch.setattr(sys, "argv", ["traffic.py", *words])
    bench.main()
    assert KERNELS["CPU"] == before
    found = json.loads(capsys.readouterr().out)
    assert {"ternary_linear", "quantise", "mm"} <= found["operators"].keys()
    assert found["bytes_a_patch"] == pytest.approx(sum(found["operators"].values()))
    assert 0 < found["most_of_rate"] < 1
    assert found["least_ms"] > found["products_ms"]
