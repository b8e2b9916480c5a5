"""Results come in order, no further ahead than there are hands, and nobody works on when the day is over."""

from __future__ import annotations

import time
from threading import Event

import pytest

from fewstep.ingest.crew import CalledOffError, Crew


def test_results_are_in_order_and_little_is_done_ahead() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01 if number % 2 else 0)
        return number

    with Crew(2) as crew:
        made = crew.map(work, range(20))
        assert [next(made) for _ in range(4)] == [0, 1, 2, 3]
        assert len(begun) <= 4 + 3
        assert list(made) == list(range(4, 20))


def test_long_work_is_called_off_when_the_reader_leaves() -> None:
    begun, stopped = Event(), Event()

    def work(crew: Crew) -> None:
        begun.set()
        try:
            while True:
                crew.require_work()
                time.sleep(0.001)
        except CalledOffError:
            stopped.set()
            raise

    def leave() -> None:
        with Crew(1) as crew:
            crew.pool.submit(work, crew)
            assert begun.wait(5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert stopped.is_set()
