"""How far a save is, in bytes; and how long one takes on this machine, learnt from those before it."""

from __future__ import annotations

import contextlib
import math
import threading
import time

from ..errors import Interrupted, OutputError
from ..hashes import known_hashes
from ..host.base import Host, Progress
from ..plan import Plan

_OPTION = "bytes_a_second"
_FIRST_GUESS = {"hash": 700e6, "merge": 350e6}
"""Of a processor and a disk of the middle sort; the first save sets them right."""
_LEAST_BYTES = 1 << 20
"""A smaller save says more of what begins and ends than of the pace."""
_OVERHEAD_SECONDS = 0.2
_WORDS = {
    "hash": "hashing sources",
    "measure": "measuring",
    "merge": "merging and writing",
    "check": "reading back",
}


class SaveClock:
    """The pace of this machine, remembered in the host's settings.

    Args:
        host: keeps the settings.
    """

    def __init__(self, host: Host):
        self._host = host
        self._lock = threading.Lock()

    def seconds(self, plan: Plan) -> float:
        """What saving a plan will take."""
        pace = self._pace()
        hashed = unhashed_bytes(plan) + plan.writes_bytes  # the output is read back
        moved = plan.reads_bytes + plan.writes_bytes
        return _OVERHEAD_SECONDS + hashed / pace["hash"] + moved / pace["merge"]

    def learn(self, what: str, count: int, seconds: float) -> None:
        """Take into account what "hash" or "merge" really took."""
        if count < _LEAST_BYTES or seconds <= 0:
            return
        with self._lock:
            pace = self._pace()
            # Half of the old: a disk that was busy once is not believed for ever.
            pace[what] = math.sqrt(pace[what] * count / seconds) if self.is_known else count / seconds
            with contextlib.suppress(OutputError):  # the file that was saved is there nevertheless
                self._host.set_option(_OPTION, pace)

    @property
    def is_known(self) -> bool:
        """Whether anything was saved on this machine before."""
        return isinstance(self._host.option(_OPTION, None), dict)

    def _pace(self) -> dict[str, float]:
        known = self._host.option(_OPTION, None)
        known = known if isinstance(known, dict) else {}
        return {what: known[what] if _is_pace(known.get(what)) else guess for what, guess in _FIRST_GUESS.items()}


def in_words(seconds: float, is_known: bool) -> str:
    """An estimate as the page shows it."""
    about = "about" if is_known else "perhaps"
    if seconds < 90:
        return f"{about} {max(1, round(seconds))} s"
    return f"{about} {round(seconds / 60)} min"


def unhashed_bytes(plan: Plan) -> int:
    """Bytes of sources whose hash is not known yet."""
    checkpoints = [source.checkpoint for source in plan.sources]
    pairs = zip(checkpoints, known_hashes(checkpoints), strict=True)
    return sum(checkpoint.size_bytes for checkpoint, known in pairs if known is None)


class SaveProgress:
    """Bytes of a save, told to a job; called by many threads.

    Args:
        progress: of the job.
    """

    def __init__(self, plan: Plan, progress: Progress):
        self.totals = {
            "hash": unhashed_bytes(plan),
            "measure": plan.measured_bytes,
            "merge": plan.data_bytes,
            "check": plan.writes_bytes,
        }
        self.started: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self.done = dict.fromkeys(self.totals, 0)
        self._all = max(1, sum(self.totals.values()))
        self._progress, self._lock = progress, threading.Lock()

    def advance(self, what: str, count: int) -> None:
        """`count` more bytes of "hash", "measure", "merge" or "check" are done."""
        with self._lock:
            now = time.perf_counter()
            started = self.started.setdefault(what, now)
            self.done[what] += count
            self.seconds[what] = now - started
            pace = f", {in_bytes(self.done[what] / (now - started))}/s" if now - started > 0.2 else ""
            said = f"{_WORDS[what]}: {in_bytes(self.done[what])} of {in_bytes(max(self.totals[what], self.done[what]))}{pace}"
            self._progress.at(sum(self.done.values()) / self._all, said)

    def stop_if_cancelled(self) -> None:
        if self._progress.cancelled:
            raise Interrupted("stopped.")


def in_bytes(count: float) -> str:
    """A size as people say it, with three figures: 2.13 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 99.95 else f"{count:.3g} {unit}"


def _is_pace(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 1e4 < value < 1e12
