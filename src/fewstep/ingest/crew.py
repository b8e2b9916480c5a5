"""Work that several threads do ahead of who needs it; decoders run outside of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class CalledOffError(Exception):
    """The work is no longer needed."""


class Crew:
    """Threads that go home when the `with` ends; work that still runs is called off."""

    def __init__(self, workers: int):
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers)
        self.called_off = Event()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self.called_off.set()
        self.pool.shutdown(cancel_futures=True)

    def map(self, make: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """`make` of each item, in order; no more than one result per thread waits to be taken."""
        waiting: deque[Future[R]] = deque()
        for item in items:
            if len(waiting) > self.workers:
                yield waiting.popleft().result()
            waiting.append(self.pool.submit(make, item))
        while waiting:
            yield waiting.popleft().result()

    def require_work(self) -> None:
        """To be called from long work now and then: raises CalledOffError when it is no longer needed."""
        if self.called_off.is_set():
            raise CalledOffError
