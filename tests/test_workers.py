"""Threads that work together: how many of its own torch may use meanwhile is their affair alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from lib_chilly.workers import Failures, torch_threads, work_together


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch with two threads for everybody, also on a machine with one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(call: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def count_after_a_sum() -> int:
    torch.ones(1 << 18).add_(1)
    return torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_workers_use_one_thread_of_torch_each_and_threads_that_begin_meanwhile_or_later_use_all():
    own: list[int] = []
    meanwhile: list[int] = []
    both_have_begun = threading.Barrier(2)

    def work(tasks: Iterator[int]) -> None:
        both_have_begun.wait(30)
        for _ in tasks:
            own.append(count_after_a_sum())
            meanwhile.append(in_a_new_thread(count_after_a_sum))
            own.append(count_after_a_sum())

    with torch_threads(1):
        work_together(2, range(4), work, Failures(), lambda: False)
        assert count_after_a_sum() == 1
    assert (set(own), set(meanwhile)) == ({1}, {2})
    assert (count_after_a_sum(), in_a_new_thread(count_after_a_sum)) == (2, 2)


@pytest.mark.usefixtures("two_threads")
def test_two_works_that_overlap_leave_torch_as_it_was():
    inside, outside = threading.Event(), threading.Event()

    def other() -> None:
        with torch_threads(1):
            inside.set()
            outside.wait(30)

    thread = threading.Thread(target=other)
    with torch_threads(1):
        thread.start()
        inside.wait(30)
    outside.set()
    thread.join()
    assert (count_after_a_sum(), in_a_new_thread(count_after_a_sum)) == (2, 2)
