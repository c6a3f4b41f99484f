"""Several videos at a time, in threads: FFmpeg, NumPy and torch release Python's lock."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _StopError(Exception):
    """Ends the work of a thread whose result is no longer wanted."""


def until(stop: Event, items: Iterable[T]) -> Iterator[T]:
    """The items, until the event is set; then the thread's work ends with an exception."""
    for item in items:
        if stop.is_set():
            raise _StopError
        yield item


def in_threads(
    work: Callable[[T, Event], R], items: Iterable[T], threads: int
) -> Generator[R, None, None]:
    """The results of `work` for each item, in order.

    Unlike Executor.map, this takes only a few items ahead, since a model may label them meanwhile.
    `work` gets an event that is set when its result is no longer wanted; its exceptions are raised
    here. Closing the generator waits for running work.
    """
    stop = Event()
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[R]] = deque()
    # PyAV's containers and streams refer to each other and hold tens of megabytes. Collecting them
    # is quick once the many objects of torch are set aside.
    gc.freeze()
    try:
        for item in items:
            waiting.append(pool.submit(work, item, stop))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
                gc.collect()
        while waiting:
            yield waiting.popleft().result()
            gc.collect()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()
