"""Buckets by quantiles."""

import numpy as np
import pytest

from cpu1.corpora.buckets import bounds, bucket_of
from cpu1.errors import UserError


def test_thirds_by_default():
    bits = np.array([3.0, 1.0, 2.0, np.nan, 6.0, 5.0, 4.0])
    assert bucket_of(bits, bounds(bits)) == ["middle", "head", "head", None, "tail", "tail", "middle"]


def test_equal_texts_share_a_bucket():
    assert set(bucket_of(np.full(9, 2.0), bounds(np.full(9, 2.0)))) == {"head"}


@pytest.mark.parametrize("shares", [(60, 30), (0, 50), (50, 100), (30,), (10, 20, 30)])
def test_other_shares_are_refused(shares):
    with pytest.raises(UserError, match="two that rise"):
        bounds(np.arange(5.0), shares)


def test_nothing_to_score_is_refused():
    with pytest.raises(UserError, match="no text"):
        bounds(np.array([np.nan]))
