"""Threads that share one piece of work and end together; the first failure in the order of the work is the one that is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

from .errors import Interrupted

Task = TypeVar("Task")
_turn = threading.Lock()


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


def work_together(
    threads: int,
    tasks: Sequence[Task],
    work: Callable[[Iterator[Task]], None],
    failures: Failures,
    should_stop: Callable[[], bool],
    stopped: str = "stopped. Nothing was left behind.",
) -> None:
    """Run `work` in each thread, over those tasks that the thread takes, and wait for all.

    Args:
        tasks: taken in their order; after a failure no more are.
        failures: the first of them is raised, where Ctrl-C comes before all others.
        should_stop: asked before each task.
        stopped: what to say if it says so.
    """
    queue = enumerate(tasks)

    def work_alone() -> None:
        number = -1

        def taken() -> Iterator[Task]:
            nonlocal number
            while True:
                with failures.turn:
                    found = None if failures else next(queue, None)
                if found is None:
                    return
                number, task = found
                if should_stop():
                    raise Interrupted(stopped)
                yield task

        try:
            _use_here(1)
            work(taken())
        except BaseException as error:  # whatever it is, the others must stop, or its task would stay undone
            failures.add(number, error)

    _run([threading.Thread(target=work_alone, daemon=True) for _ in range(max(1, threads))], failures)
    failures.raise_first()


def _run(workers: Sequence[threading.Thread], failures: Failures) -> None:
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


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """How many threads torch itself may use in the calling thread."""
    before = torch.get_num_threads()
    _use_here(count)
    try:
        yield
    finally:
        _use_here(before)


def _use_here(count: int) -> None:
    """Set it for the calling thread alone. torch takes what any thread sets for the number of all threads that begin later, and
    those may be the webui's, so a new thread says what it was, and another one sets it again."""
    with _turn:
        of_others: list[int] = []
        _in_a_new_thread(lambda: of_others.append(torch.get_num_threads()))
        torch.get_num_threads()  # a thread that has not asked yet would take the others' number with its first sum
        torch.set_num_threads(count)
        _in_a_new_thread(lambda: torch.set_num_threads(of_others[0]))


def _in_a_new_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def single_threaded_torch() -> AbstractContextManager[None]:
    """Our threads share the cores already; torch's own would get in their way."""
    return torch_threads(1)
