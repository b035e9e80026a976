"""Threads that share one piece of work and end together; the first failure in the order of the work is the one that is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Failures:
    """What went wrong, by the number of the task in which it did; shared by all threads."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self._found: list[tuple[int, BaseException]] = []

    def add(self, number: int, error: BaseException) -> None:
        """Note a failure and wake up whoever waits for `turn`."""
        with self.turn:
            self._found.append((number, error))
            self.turn.notify_all()

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_first(self) -> None:
        """Raise the failure of the earliest task, if there is any."""
        if self._found:
            raise min(self._found, key=lambda failure: failure[0])[1]


def work_together(threads: int, work: Callable[[], None], failures: Failures) -> None:
    """Run `work` in each thread and wait for all; raises the first of `failures`, where Ctrl-C comes before all others."""
    workers = [threading.Thread(target=work, daemon=True) for _ in range(max(1, threads))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(0.1)  # a wait without end would hold back Ctrl-C on Windows
    except BaseException as error:
        failures.add(-1, error)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    failures.raise_first()


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Our threads share the cores already; torch's own would get in their way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
