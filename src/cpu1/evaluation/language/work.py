"""Independent pieces of work in threads: sessions of one model release the GIL."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]  # items done, of how many


def in_blocks(
    work: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    threads: int,
    progress: Progress | None,
    size: int = 100,
) -> Iterator[Result]:
    """What `work` makes of the items, in their order, `size` at a time so that each call can share a session."""
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
        pool.shutdown(cancel_futures=True)  # when interrupted, what has not begun is left
