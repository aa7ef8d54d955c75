"""Scores the texts of Ray datasets: one actor for each core, and the model loaded once in each.

import ray
from cpu1.corpora.on_ray import score

scored = score(ray.data.read_parquet("s3://bucket/pages"), field="text")
scored.filter(expr="bucket != 'tail'").write_parquet("s3://bucket/kept")

Shapes: T texts.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.corpora.buckets import SHARES, bounds, bucket_of
from cpu1.corpora.scorer import BITS, BUCKET, LineScorer, Scorer, check_columns, packed_bytes

ROWS = 32  # of a block: seconds of work, and enough texts to be read side by side
SHARE_OF_CORE = (
    0.5  # that an actor asks for, so that tasks which read and write are let in between; it uses a whole one
)


def score(
    dataset: Any,
    field: str = "text",
    model: str | Path | None = None,
    *,
    actors: int | None = None,
    shares: Sequence[float] | None = SHARES,
) -> Any:
    """A Ray dataset with the columns `bits_per_byte` (null without a text), `bytes` and `bucket`.

    field: the column with the text, strings or bytes. model: a packed file, or None for the default one; it is sent to
    the nodes. actors: how many, or None for one for each core of the cluster. shares: per cent of texts below the
    bounds of the buckets head, middle and tail, which need all texts to be scored first; None leaves `bucket` out, and
    then nothing is computed before rows are asked for.

    Raises UserError for a column that is missing or would be lost, and for a file that is no model.
    """
    check_columns(dataset.schema().names, field)
    scored = mapped(dataset, Scorer, packed_bytes(model), field, actors)
    return scored if shares is None else bucketed(scored, shares)


def score_lines(dataset: Any, field: str, model: str | Path | None = None, shares: Sequence[float] = SHARES) -> Any:
    """The same for a dataset of one column that holds lines of JSON: `line`, the added columns, and `error`."""
    return bucketed(mapped(dataset, LineScorer, packed_bytes(model), field, None), shares)


def mapped(dataset: Any, scorer: type[Scorer], packed: bytes, field: str, actors: int | None) -> Any:
    """A dataset whose blocks a scorer reads, an actor for each core."""
    import ray

    cores = actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
    return dataset.repartition(target_num_rows_per_block=ROWS, strict=True).map_batches(
        _Actor,
        fn_constructor_args=(scorer, [ray.put(packed)], field),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=SHARE_OF_CORE,
        compute=ray.data.ActorPoolStrategy(size=cores),
    )


class _Actor:
    """A scorer on a node. The model's bytes come in a box, as one object for all actors of a node."""

    def __init__(self, scorer: type[Scorer], box: list[Any], field: str) -> None:
        import ray

        self.scorer = scorer(ray.get(box[0]), field)

    def __call__(self, table: Any) -> Any:
        return self.scorer(table)


def in_order(ray: Any) -> None:
    """Has Ray Data keep the order of rows, and print nothing of its own but warnings."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def bucketed(scored: Any, shares: Sequence[float]) -> Any:
    """Scores all texts, and adds the bucket of each."""
    done = scored.materialize()
    borders = bounds(bits_of(done), shares)
    return done.map_batches(_add_bucket, fn_args=(borders,), batch_size=None, batch_format="pyarrow")


def bits_of(scored: Any) -> NDArray[np.float64]:
    """The bits per byte of all texts (T,), NaN where there is none."""
    batches = scored.select_columns([BITS]).iter_batches(batch_size=None, batch_format="pyarrow")
    found = [_floats(batch) for batch in batches]
    return np.concatenate(found) if found else np.empty(0)


def _floats(table: Any) -> NDArray[np.float64]:
    values = [np.nan if value is None else value for value in table.column(BITS).to_pylist()]
    return np.array(values, np.float64)


def _add_bucket(table: Any, borders: Sequence[float]) -> Any:
    import pyarrow

    return table.append_column(BUCKET, pyarrow.array(bucket_of(_floats(table), borders), pyarrow.string()))
