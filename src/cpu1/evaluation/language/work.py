"""Independent pieces of work in threads, which is worth it because sessions of a model release the GIL."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

CheckProgress = Callable[[int, int], None]  # called with the items done and their total


def in_blocks(
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    threads: int,
    progress: CheckProgress | None,
    size: int = 100,
) -> Iterator[R]:
    """The results of `work` for the items, in their order. It gets `size` items a call, which can share a session."""
    blocks = [items[start : start + size] for start in range(0, len(items), size)]
    pool = ThreadPoolExecutor(threads)
    done = 0
    try:
        for results in pool.map(work, blocks):
            done += len(results)
            if progress:
                progress(done, len(items))
            yield from results
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # when interrupted, blocks that have not begun are dropped
