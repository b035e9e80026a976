"""Long work of all pages, in four threads: pictures and measurements in one, saves in another, what compares files with
pictures in the third, and what only reads files, for their health and their cards, in the fourth.

Newest wins: a new job in the lane of a page stops the older one there. Pages take turns, and so do the jobs of one page, a piece
at a time; what is new comes first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import Interrupted, MergeError
from .job import DONE, FAILED, STOPPED, WORKING, Do, Job, forgotten
from .problem import FieldError, problem_of

PICTURES, SAVES, COMPARISONS, LOOKS = "pictures", "saves", "comparisons", "looks"
_OVERTAKEN = "stopped, since something newer was asked for."
_STOPPED = "stopped."
_MOST_AT_ONCE = 100
"""Jobs that one poll may ask for."""


class Work:
    """The jobs of one server, in any number of pages.

    Args:
        kept, kept_bytes: how many jobs that are over are kept for pages that ask again, and how large they may be together.
        most_waiting: jobs of one page that are not over and have found nothing yet.
        most_pages: pages that have such jobs.
    """

    def __init__(self, *, kept: int = 100, kept_bytes: int = 256 << 20, most_waiting: int = 32, most_pages: int = 64):
        self._kept, self._kept_bytes, self._most_waiting, self._most_pages = kept, kept_bytes, most_waiting, most_pages
        self._changed = threading.Condition()
        self._threads: dict[str, threading.Thread] = {}
        self._jobs: dict[int, Job] = {}
        self._running: set[int] = set()
        self._turns: dict[str, int] = {}
        self._numbers = self._clock = 0
        self._is_closed = False

    def start(
        self,
        page: str,
        kind: str,
        do: Do | None,
        *,
        lane: str | None = None,
        thread: str = PICTURES,
        pictures: Sequence[dict[str, Any]] = (),
        report: dict[str, Any] | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """A new job, as a reply.

        Args:
            do: None where everything is there already.
            lane: what is new in it stops what is older; None stands in nobody's way.
            thread: PICTURES, where pages take turns, or one of the others, where all wait in one row.
            pictures, report: what the job has from the beginning.
            at_end: called when the job is over in whatever way, begun or not; must not ask this Work anything.

        Raises:
            MergeError: too much waits already.
        """
        with self._changed:
            if lane is not None:
                self._overtake(page, lane)
            if do is not None:
                self._check_room(page)
            self._numbers += 1
            job = Job(self._numbers, page, kind, lane, do)
            job.thread, job.report, job.at_end = thread, report, at_end or job.at_end
            for picture in pictures:
                job.add(picture)
            self._jobs[job.number] = job
            if do is None:
                self._forget()
            else:
                self._begin(thread)
            self._changed.notify_all()
            return job.reply()

    def poll(self, page: str, wanted: object) -> list[dict[str, Any]]:
        """How far jobs are, with those of their pictures that the page has not seen.

        Args:
            wanted: `[{"job": number, "seen": pictures that the page has, "live": of the one in the making the last that it has}]`
                as the page sent it.
        """
        if not isinstance(wanted, list) or len(wanted) > _MOST_AT_ONCE or not all(isinstance(each, dict) for each in wanted):
            raise FieldError(
                f"'jobs' is a list of at most {_MOST_AT_ONCE} entries, each with a job and what was seen of it.", "jobs"
            )
        with self._changed:
            return [self._told(page, each) for each in wanted]

    def stop(self, page: str, number: object) -> dict[str, Any]:
        """Stop a job; what is being done ends at its next step."""
        wanted = _number(number, "job")
        with self._changed:
            job = self._find(page, wanted)
            if job is not None and not job.is_over:
                self._stop(job, _STOPPED)
                self._forget()
            return job.reply() if job else forgotten(wanted)

    def dismiss(self, page: str, number: object) -> None:
        """Let go of a job that is over, as its page has seen enough of it; one that goes on stays."""
        wanted = _number(number, "job")
        with self._changed:
            job = self._find(page, wanted)
            if job is not None and job.is_over:
                del self._jobs[wanted]

    def jobs_of(self, page: str) -> list[dict[str, Any]]:
        """All jobs of a page, without their pictures."""
        with self._changed:
            return [job.reply() for job in self._jobs.values() if job.page == page]

    def picture(self, page: str, number: object, name: object) -> dict[str, Any] | None:
        """The picture of that id that a job has made; None where it is no longer there."""
        with self._changed:
            job = self._find(page, _number(number, "job"))
            return next((picture for picture in job.pictures if picture.get("id") == name), None) if job else None

    def newest_pictures(self, page: str) -> list[dict[str, Any]]:
        """All pictures of a page that are still here, the newest job's first."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.page == page]
            return [picture for job in reversed(jobs) for picture in job.pictures]

    def close(self, seconds: float = 10.0) -> bool:
        """Stop everything and wait for the threads; whether they have ended in that time."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                if not job.is_over:
                    self._stop(job, _STOPPED)
            self._changed.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads.values())

    # ---- all below is called with the lock held, but for what a job does ----

    def _check_room(self, page: str) -> None:
        if self._is_closed:
            raise MergeError("the program is ending; nothing new is begun.")
        pages = [job.page for job in self._jobs.values() if not job.is_over and job.report is None]
        if pages.count(page) >= self._most_waiting or (page not in pages and len(set(pages)) >= self._most_pages):
            raise MergeError("too much is waiting to be done already. Wait until some of it is done, or stop it.")

    def _overtake(self, page: str, lane: str) -> None:
        for job in list(self._jobs.values()):
            if (job.page, job.lane) == (page, lane) and not job.is_over:
                self._stop(job, _OVERTAKEN)

    def _told(self, page: str, asked: dict[str, Any]) -> dict[str, Any]:
        number, seen = _number(asked.get("job"), "job"), _number(asked.get("seen", 0), "seen")
        live = _number(asked["live"], "live") if "live" in asked else None
        job = self._find(page, number)
        return job.reply(seen, live) if job else forgotten(number)

    def _begin(self, thread: str) -> None:
        if thread not in self._threads:
            self._threads[thread] = threading.Thread(target=self._run, args=(thread,), name=f"chilly-{thread}", daemon=True)
            self._threads[thread].start()

    def _find(self, page: str, number: int) -> Job | None:
        job = self._jobs.get(number)
        return job if job is not None and job.page == page else None

    def _stop(self, job: Job, why: str) -> None:
        """End a job that no thread is at; tell it to the thread otherwise. One that has its report is done as it is."""
        job.progress.cancelled = True
        if job.number not in self._running:
            job.progress.text = why
            job.end(STOPPED if job.report is None else DONE)

    def _forget(self) -> None:
        """Let go of the oldest jobs that are over, but never of the newest of them."""
        over = [job for job in self._jobs.values() if job.is_over]
        held = sum(job.size_bytes for job in over)
        for count, job in zip(range(len(over), 1, -1), over, strict=False):
            if count > self._kept or held > self._kept_bytes:
                held -= job.size_bytes
                del self._jobs[job.number]
        pages = {job.page for job in self._jobs.values()}
        self._turns = {page: turn for page, turn in self._turns.items() if page in pages}

    def _next(self, thread: str) -> Job | None:
        """Whose turn it is: the page's that had none for longest, and of its jobs the one of which that holds."""
        todo = [
            job for job in self._jobs.values() if job.thread == thread and not job.is_over and job.number not in self._running
        ]
        if thread != PICTURES:
            return min(todo, key=lambda job: job.number, default=None)
        return min(todo, key=lambda job: (self._turns.get(job.page, 0), job.turn, job.number), default=None)

    def _run(self, thread: str) -> None:
        """What a thread does until the end."""
        while True:
            with self._changed:
                while (job := self._next(thread)) is None:
                    if self._is_closed:
                        return
                    self._changed.wait()
                self._clock += 1
                self._turns[job.page] = job.turn = self._clock
                self._running.add(job.number)
                job.state = WORKING
            state, problem = _advance(job)
            with self._changed:
                self._running.discard(job.number)
                if state == STOPPED or (state == WORKING and job.progress.cancelled):
                    self._stop(job, _STOPPED)
                elif state != WORKING:
                    job.end(state, problem)
                elif job.thread != thread:
                    self._begin(job.thread)
                    self._changed.notify_all()
                self._forget()
            del job  # its pictures may be large, and the next one may be long in coming


def _advance(job: Job) -> tuple[str, dict[str, Any] | None]:
    """Do a job's next piece: its state after that, and what went wrong."""
    try:
        return (WORKING if job.advance() else DONE), None
    except Interrupted:
        return STOPPED, None
    except BaseException as error:  # whatever it is, this thread has other work to do
        return FAILED, problem_of(error, job.kind)


def _number(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FieldError(f"'{field}' is a whole number, 0 or more.", field)
    return value
