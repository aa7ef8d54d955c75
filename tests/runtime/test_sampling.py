"""Sampling: filters against a slow list version, draws against the distribution, bad input."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu1.errors import UserError
from cpu1.runtime.sampling import Sampler, Sampling, candidate_weights


def slow_candidates(logits: list[float], sampling: Sampling) -> set[int]:
    """The surviving tokens, by the definitions, one token at a time."""
    best = max(logits)
    weight = [math.exp((score - best) / sampling.temperature) for score in logits]
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    total, mass, nucleus = sum(weight[i] for i in ranked), 0.0, []
    for token in ranked:
        nucleus.append(token)
        mass += weight[token]
        if mass >= sampling.top_p * total and sampling.top_p < 1:
            break
    return {i for i in nucleus if weight[i] >= sampling.min_p and weight[i] > 0}


@given(
    # Few distinct scores, so that ties are common; sums of these weights do not land on top_p's edge.
    logits=st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12),
    temperature=st.sampled_from([0.3, 0.8, 1.7]),
    top_k=st.integers(0, 14),
    top_p=st.sampled_from([0.0, 0.2137, 0.5391, 0.9173, 1.0]),
    min_p=st.sampled_from([0.0, 0.0713, 0.4319, 1.0]),
)
def test_filters_agree_with_the_slow_version(logits, temperature, top_k, top_p, min_p):
    sampling = Sampling(temperature, top_k, top_p, min_p)
    weights = candidate_weights(np.array(logits, np.float32), sampling)
    assert set(np.flatnonzero(weights)) == slow_candidates(logits, sampling)
    assert weights[np.argmax(logits)] == 1
    assert Sampler(sampling)(np.array(logits, np.float32)) in slow_candidates(logits, sampling)


def test_temperature_zero_takes_the_lowest_index_of_the_best():
    sampler = Sampler(Sampling(temperature=0, top_k=3, min_p=0.5))
    before = sampler.state
    assert sampler(np.array([1, 5, 5, 2], np.float32)) == 1
    assert sampler.state == before


def test_top_k_keeps_exactly_k_among_equals():
    weights = candidate_weights(np.zeros(6, np.float32), Sampling(top_k=2))
    assert np.flatnonzero(weights).tolist() == [0, 1]


def test_top_p_counts_its_mass_after_top_k():
    """Of four equal tokens the half is two; of the three that top-k leaves it is two, of two it is one."""
    logits = np.zeros(4, np.float32)
    kept = [np.count_nonzero(candidate_weights(logits, Sampling(1, top_k=k, top_p=0.5))) for k in (0, 3, 2)]
    assert kept == [2, 2, 1]


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 1e6, 1e300])
def test_extreme_temperatures_and_scores_stay_finite(temperature):
    logits = np.array([-3e38, 0, 1, 3e38], np.float32)
    weights = candidate_weights(logits, Sampling(temperature, top_k=2))
    assert np.isfinite(weights).all()
    assert weights[3] == 1
    assert weights[0] == weights[1] == 0


def test_draws_follow_the_softmax():
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    sampler = Sampler(Sampling(temperature=0.5, seed=3))
    counts = np.bincount([sampler(logits) for _ in range(20_000)], minlength=4)
    expected = np.array([0.01, 0.04, 0.09, 0.16]) / 0.30
    chi_square = ((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum()
    assert chi_square < 16.3  # 0.1% point for three degrees of freedom


def test_the_seed_decides_and_a_saved_state_goes_on():
    rows = np.random.default_rng(0).normal(size=(60, 256)).astype(np.float32)
    sampling = Sampling(temperature=1, top_p=0.95, seed=11)
    first, again, other = Sampler(sampling), Sampler(sampling), Sampler(replace(sampling, seed=12))
    drawn = [first(row) for row in rows[:30]]
    assert drawn == [again(row) for row in rows[:30]]
    assert drawn != [other(row) for row in rows[:30]]

    other.restore(json.loads(json.dumps(first.state)))
    assert [other(row) for row in rows[30:]] == [first(row) for row in rows[30:]]


@pytest.mark.parametrize(
    "state", [{}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}}, None]
)
def test_a_strange_state_is_refused_and_changes_nothing(state):
    sampler = Sampler(Sampling())
    before = sampler.state
    with pytest.raises(UserError, match="PCG64"):
        sampler.restore(state)
    assert sampler.state == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0, 0.8])
def test_scores_that_are_not_finite_are_refused(value, temperature):
    logits = np.zeros(256, np.float32)
    logits[97] = value
    with pytest.raises(UserError, match=rf"1 of 256, the first {value} at index 97"):
        Sampler(Sampling(temperature=temperature))(logits)


@pytest.mark.parametrize("shape", [(0,), (1, 4), ()])
def test_anything_but_one_row_is_refused(shape):
    with pytest.raises(ValueError, match="one non-empty row"):
        Sampler(Sampling())(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_k", True),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("min_p", -0.01),
        ("min_p", None),
        ("seed", -1),
        ("seed", math.nan),
    ],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(UserError) as error:
        Sampling(**{name: value})
    assert str(error.value).startswith(f"{name} is {value!r}; give ")


def test_the_ends_of_the_ranges_are_allowed():
    Sampling(temperature=0, top_k=0, top_p=0, min_p=0, seed=0)
    Sampling(temperature=100.0, top_k=10**6, top_p=1, min_p=1, seed=2**64)
