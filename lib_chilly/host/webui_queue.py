"""The webui's queue, and its state while something of ours is at work in it: progress, interrupt and skip work as they do for
everything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from modules import call_queue, sd_models, shared

from ..errors import Interrupted
from .base import STOPPED, Progress

_LOOK_SECONDS = 0.1
_LIVE_SECONDS = 0.5
"""Between two looks at the picture in the making, at least."""


class _Place:
    """A place in the webui's line. Its lock cannot be waited for with an end, and who tries it now and then is overtaken by all
    that stand in line; so a thread stands there, hands the turn on when it comes, and gives it back where nobody wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_come = threading.Event()
        self._is_given_up = False
        threading.Thread(target=self._stand, name="chilly-queue", daemon=True).start()

    def wait(self, progress: Progress) -> None:
        """Until it is our turn: the queue is then held by the caller, though another thread has asked for it.

        Raises:
            Interrupted: it is not wanted any more.
        """
        try:
            while not self._has_come.wait(_LOOK_SECONDS):
                if progress.is_cancelled():
                    raise Interrupted(STOPPED)
        except BaseException:
            self._give_up()
            raise

    def _stand(self) -> None:
        call_queue.queue_lock.acquire()
        with self._lock:
            self._has_come.set()
            if self._is_given_up:
                call_queue.queue_lock.release()

    def _give_up(self) -> None:
        with self._lock:
            self._is_given_up = True
            if self._has_come.is_set():
                call_queue.queue_lock.release()


@contextmanager
def turn(progress: Progress) -> Iterator[None]:
    """Wait for the turn in the webui's queue, and hold it. Not to be entered twice by one thread.

    Raises:
        Interrupted: `progress` was cancelled while this waited.
    """
    if not call_queue.queue_lock.acquire(False):
        progress.at(progress.share, "waiting for the webui, which is at work")
        _Place().wait(progress)
    try:
        if progress.is_cancelled():
            raise Interrupted(STOPPED)
        yield
    finally:
        call_queue.queue_lock.release()


@contextmanager
def queued(progress: Progress, job: str) -> Iterator[None]:
    """The turn, while which the webui's progress bar is told of the job.

    An interrupt that came before must not count: the webui would then make no picture, and say nothing.
    """
    with turn(progress):
        shared.state.begin(job=job)
        try:
            wait_for_first_model()
            yield
        finally:
            shared.state.end()
            shared.state.skipped = shared.state.interrupted = shared.state.stopping_generation = False


def wait_for_first_model() -> None:
    """Until the thread that loads the user's model when the webui starts has ended: two at once give wrong pictures."""
    if not (getattr(shared.cmd_opts, "skip_load_model_at_start", False) or sd_models.model_data.was_loaded_at_least_once):
        _ = shared.sd_model
    with sd_models.model_data.lock:
        pass


def is_interrupted() -> bool:
    """Whether the user has stopped or skipped what is at work."""
    state = shared.state
    return bool(state.interrupted or state.stopping_generation or state.skipped)


@contextmanager
def followed(progress: Progress, start: float) -> Iterator[None]:
    """While the webui samples: hand its steps and its live preview on to `progress`, and a stop of the page to it.

    Args:
        start: the share at which sampling begins.

    Raises:
        Interrupted: the page has stopped it meanwhile.
    """

    def follow() -> None:
        state = shared.state
        if progress.is_cancelled() and not state.interrupted:
            state.interrupt()
        if state.sampling_steps and state.sampling_step:
            share = start + (1 - start) * state.sampling_step / (state.sampling_steps + 1)
            progress.at(share, f"step {state.sampling_step} of {state.sampling_steps}")

    # Two threads: to decode a live preview may take longer than a stop should wait.
    with _repeating(_LOOK_SECONDS, follow), _shown(progress):
        yield
    if progress.is_cancelled():
        raise Interrupted(STOPPED)


def _shown(progress: Progress) -> AbstractContextManager[None]:
    """The webui's live preview for `progress`, as often as the webui's settings say; nothing where they, or nobody, want one."""
    show, state, options = progress.show, shared.state, shared.opts
    if show is None or not getattr(options, "live_previews_enable", False):
        return nullcontext()
    last = state.id_live_preview

    def look() -> None:
        nonlocal last
        state.set_current_image()  # which the webui does too where its own tabs ask; no more often than its settings allow
        if state.id_live_preview != last:
            last = state.id_live_preview
            show(state.current_image)

    return _repeating(max(_LIVE_SECONDS, options.live_preview_refresh_period / 1000), look)


@contextmanager
def _repeating(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Meanwhile do something again and again, in a thread of its own."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            do()

    thread = threading.Thread(target=repeat, name="chilly-follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
