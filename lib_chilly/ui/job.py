"""One piece of long work for a page: how far it is, what it has found, and its form in a reply."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MergeError
from ..host.base import Progress
from .png import live_url
from .problem import problem_of

if TYPE_CHECKING:
    from PIL.Image import Image

WAITING, WORKING, DONE, STOPPED, FAILED = "waiting", "working", "done", "stopped", "failed"
_MOST_BYTES = 512 << 20
"""Of one job's pictures."""

Do = Callable[["Job"], "Iterator[None] | None"]
"""What a job does. Where it is a generator, others may have their turn at each `yield`."""


class Job:
    """A job; its thread writes, replies read.

    Attributes:
        number: names it; never used twice.
        thread: of `Work`, which does it. What it does may name another one, which goes on with it after the next `yield`.
        progress: for the engine and the host. Set by them, cancelled by a stop.
        part, parts: where it makes several things one after another: which of them `progress` speaks of, from 0, of how many.
        report: what was found; once it is there, a stop leaves out what is still to come, and the job is done.
        at_end: called once it is over in whatever way, begun or not.
    """

    def __init__(self, number: int, page: str, kind: str, lane: str | None, do: Do | None):
        self.number, self.page, self.kind, self.lane = number, page, kind, lane
        self.state = WAITING if do else DONE
        self.progress = Progress()
        self.part, self.parts = 0, 1
        self.report: dict[str, Any] | None = None
        self.problem: dict[str, Any] | None = None
        self.pictures: list[dict[str, Any]] = []
        self._live: tuple[str, Image] | None = None
        self._lives = 0
        self.size_bytes = 0
        self.turn = 0
        self.thread = ""
        self.work: Iterator[None] | None = None
        self.do = do
        self.at_end: Callable[[], None] = lambda: None

    def add(self, picture: dict[str, Any]) -> None:
        """One more picture; the page gets it at its next poll.

        Raises:
            MergeError: there are too many.
        """
        self.size_bytes += sum(len(value) for value in picture.values() if isinstance(value, str))
        if self.size_bytes > _MOST_BYTES:
            raise MergeError(f"the pictures take more than {_MOST_BYTES >> 20} MiB. Ask for fewer, or for smaller ones.")
        self.pictures.append(picture)
        self._live = None

    def show(self, picture: str, image: Image) -> None:
        """What the picture of that id looks like by now."""
        self._live, self._lives = (picture, image), self._lives + 1

    @property
    def is_over(self) -> bool:
        return self.state in (DONE, STOPPED, FAILED)

    def advance(self) -> bool:
        """Do the next piece; whether there is another one."""
        if self.work is None:
            assert self.do is not None
            self.work = self.do(self) or iter(())
        return next(self.work, self) is not self

    def end(self, state: str, problem: dict[str, Any] | None = None) -> None:
        """Nothing more is done; what it held is let go."""
        if isinstance(self.work, Generator):
            try:
                self.work.close()
            except Exception as error:  # it is over all the same
                problem_of(error, self.kind)
        self.state, self.problem, self.work, self.do, self._live = state, problem, None, None, None
        self.at_end()

    def reply(self, seen: int | None = None, live: int | None = None) -> dict[str, Any]:
        """JOB as docs/page-protocol.md has it.

        Args:
            seen: how many pictures the page has; None leaves all of them out.
            live: the number of the last picture in the making that it has; None leaves that out.
        """
        share = 1.0 if self.state == DONE else (self.part + self.progress.share) / self.parts
        text = self.progress.text
        if self.state == WORKING and self.parts > 1:
            text = f"picture {self.part + 1} of {self.parts}: {text}"
        pictures: Sequence[dict[str, Any]] = [] if seen is None else self.pictures[seen:]
        return {
            **{"job": self.number, "kind": self.kind, "lane": self.lane or "", "state": self.state},
            **{"text": text, "share": round(min(1.0, share), 4), "problem": self.problem},
            **{"pictures": pictures, "live": None if live is None else self._live_after(live), "report": self.report},
        }

    def _live_after(self, number: int) -> dict[str, Any] | None:
        if self._live is None or self._lives == number:
            return None
        picture, image = self._live
        return {"number": self._lives, "id": picture, "image": live_url(image)}


def forgotten(number: int) -> dict[str, Any]:
    """JOB of a number that nobody has."""
    job = Job(number, "", "", None, None)
    message = "this work is no longer known here: it ended long ago, or the program was started again since. Start it again."
    job.end(FAILED, {"message": message, "field": None})
    return job.reply()
