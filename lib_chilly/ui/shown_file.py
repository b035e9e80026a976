"""Whether a saved file is what a picture was made of: said in the report of its save, when the program has time for it."""

from __future__ import annotations

from pathlib import Path

from ..host.base import Host
from ..plan import Plan
from .job import Job
from .problem import problem_of

_NOT_AS_SHOWN = (
    "the file is not what the last picture was made of, though its recipe is: the memory of this machine may be failing. "
    "Make the picture again and save again."
)


def compare(host: Host, plan: Plan, output: Path, written: tuple[int, ...], job: Job) -> None:
    """Say it in the job's report. The file is saved, whatever this meets.

    Args:
        plan, output, written: of the file; the last is its `identity` when it had been written.
    """
    assert job.report is not None
    try:
        is_as_shown = host.is_as_shown(plan, output, job.report["sha256"], job.progress)
    except Exception as error:
        problem_of(error, "comparison with the picture")  # which tells the log
        return
    if identity(output) != written:  # another has had its name since
        return
    job.report["warnings"] += [_NOT_AS_SHOWN] if is_as_shown is False else []
    job.report["as_shown"] = is_as_shown


def identity(path: Path) -> tuple[int, ...]:
    """What tells a file from another that has its name later; empty where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
