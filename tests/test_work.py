"""Jobs of the page: how they begin, take turns, fail, are stopped, and leave nothing behind."""

from __future__ import annotations

import base64
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lib_chilly.errors import CheckpointError, Interrupted, MergeError
from lib_chilly.ui.job import Job
from lib_chilly.ui.problem import FieldError
from lib_chilly.ui.work import COMPARISONS, SAVES, Work


@pytest.fixture
def work() -> Iterator[Work]:
    before = threading.active_count()
    made = Work(kept=5, kept_bytes=1000, most_waiting=4, most_pages=3)
    yield made
    assert made.close(30)
    assert threading.active_count() == before


class Gate:
    """A job that is at work until it is let go, or cancelled."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> None:
        self.entered.set()
        while not self.opened.wait(0.005):
            if job.progress.cancelled:
                raise Interrupted("stopped.")


def ended(work: Work, job: dict, page: str = "p") -> dict:
    """A job's reply once it is over, with all pictures."""
    return until(work, job, lambda reply: reply["state"] in ("done", "stopped", "failed"), page)


def until(work: Work, job: dict, is_so: Callable[[dict], bool], page: str = "p") -> dict:
    for _ in range(6000):
        (reply,) = work.poll(page, [{"job": job["job"]}])
        if is_so(reply):
            return reply
        time.sleep(0.005)
    raise AssertionError(reply)


def test_job_tells_how_far_it_is_and_gives_pictures_and_report(work):
    gate = Gate()

    def do(job: Job) -> None:
        job.parts = 2
        job.add({"id": "one", "image": "1"})
        job.progress.at(0.5, "step 4 of 8")
        gate(job)
        job.add({"id": "two", "image": "2"})
        job.report = {"found": 1}

    started = work.start("p", "preview", do, lane="main")
    assert (started["kind"], started["lane"], started["state"], started["pictures"]) == ("preview", "main", "waiting", [])
    assert gate.entered.wait(30)
    (reply,) = work.poll("p", [{"job": started["job"], "seen": 0}])
    assert (reply["state"], reply["text"], reply["share"]) == ("working", "picture 1 of 2: step 4 of 8", 0.25)
    assert [picture["id"] for picture in reply["pictures"]] == ["one"] and reply["report"] is None
    gate.opened.set()
    reply = ended(work, started)
    assert (reply["state"], reply["share"], reply["problem"], reply["report"]) == ("done", 1.0, None, {"found": 1})
    (reply,) = work.poll("p", [{"job": started["job"], "seen": 1}])
    assert [picture["id"] for picture in reply["pictures"]] == ["two"]
    assert work.picture("p", started["job"], "one") == {"id": "one", "image": "1"}
    assert work.picture("p", started["job"], "three") is None


def test_picture_in_the_making_is_told_to_who_asks_once_and_until_it_is_there():
    image = pytest.importorskip("PIL.Image")
    job = Job(1, "p", "preview", None, lambda job: None)
    job.show("merged", image.new("RGB", (1024, 512)))
    assert job.reply()["live"] is None and job.reply(0)["live"] is None
    live = job.reply(0, 0)["live"]
    assert (live["number"], live["id"], job.reply(0, 1)["live"]) == (1, "merged", None)
    address = live["image"].partition(",")[2]
    assert image.open(io.BytesIO(base64.b64decode(address))).size == (512, 256)
    job.add({"id": "merged"})
    assert job.reply(0, 0)["live"] is None
    job.show("a", image.new("RGB", (8, 8)))
    assert job.reply(1, 1)["live"]["number"] == 2
    job.end("stopped")
    assert job.reply(1, 1)["live"] is None


def test_job_that_was_dismissed_is_not_told_again_but_one_that_goes_on_is(work):
    gate = Gate()
    over, going = work.start("p", "preview", None), work.start("p", "preview", gate)
    assert gate.entered.wait(30)
    work.dismiss("other", over["job"])  # of another page
    assert [job["job"] for job in work.jobs_of("p")] == [over["job"], going["job"]]
    for job in (over, going, over):
        work.dismiss("p", job["job"])
    assert [job["job"] for job in work.jobs_of("p")] == [going["job"]]
    gate.opened.set()
    assert ended(work, going)["state"] == "done"


def test_job_that_has_everything_is_done_at_once_behind_others(work):
    gate = Gate()
    work.start("p", "preview", gate)
    reply = work.start("p", "preview", None, lane="main", pictures=[{"id": "old", "image": "x"}])
    assert reply["state"] == "done"
    assert ended(work, reply)["pictures"] == [{"id": "old", "image": "x"}]


def test_job_that_fails_says_the_engine_s_sentence_and_the_thread_goes_on(work, caplog):
    def refuse(job: Job) -> None:
        raise CheckpointError("'x' is cut short.")

    def refuse_field(job: Job) -> None:
        raise FieldError("the width is 65.", "width")

    assert ended(work, work.start("p", "save", refuse))["problem"] == {"message": "'x' is cut short.", "field": None}
    assert ended(work, work.start("p", "save", refuse_field))["problem"] == {"message": "the width is 65.", "field": "width"}
    assert not caplog.records
    assert ended(work, work.start("p", "save", lambda job: None))["state"] == "done"


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), SystemExit(1), KeyboardInterrupt()])
def test_unexpected_failure_is_a_sentence_with_its_traceback_in_the_log_only(work, caplog, error):
    def fail(job: Job) -> None:
        raise error

    with caplog.at_level(logging.ERROR, "chillymerge"):
        reply = ended(work, work.start("p", "preview", fail))
    assert reply["state"] == "failed" and type(error).__name__ in reply["problem"]["message"]
    assert "secret" not in reply["problem"]["message"] and "Traceback" in caplog.text
    assert ended(work, work.start("p", "preview", lambda job: None))["state"] == "done"


def test_too_little_memory_is_said_as_that(work, caplog):
    def fail(job: Job) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    assert "not enough memory for this preview" in ended(work, work.start("p", "preview", fail))["problem"]["message"]


def test_job_stopped_while_it_waits_is_never_begun(work):
    gate, begun = Gate(), []
    work.start("p", "preview", gate)
    waiting = work.start("p", "preview", begun.append)
    reply = work.stop("p", waiting["job"])
    assert (reply["state"], reply["text"]) == ("stopped", "stopped.")
    gate.opened.set()
    assert ended(work, work.start("p", "preview", lambda job: None))["state"] == "done"
    assert begun == []


def test_job_stopped_while_it_works_ends_and_keeps_its_pictures(work):
    gate = Gate()

    def do(job: Job) -> None:
        job.add({"id": "one"})
        gate(job)

    job = work.start("p", "preview", do)
    assert gate.entered.wait(30)
    work.stop("p", job["job"])
    reply = ended(work, job)
    assert (reply["state"], reply["problem"], reply["pictures"]) == ("stopped", None, [{"id": "one"}])


def test_job_that_was_finished_before_it_heard_of_the_stop_is_done(work):
    entered, opened = threading.Event(), threading.Event()

    def do(job: Job) -> None:
        entered.set()
        opened.wait(30)

    job = work.start("p", "save", do, thread=SAVES)
    assert entered.wait(30)
    assert work.stop("p", job["job"])["state"] == "working"
    opened.set()
    assert ended(work, job)["state"] == "done"


def test_newest_wins_within_lane_of_page_alone(work):
    old, gate = Gate(), Gate()
    oldest = work.start("p", "preview", old, lane="main")
    assert old.entered.wait(30)
    begun = []
    dropped = work.start("p", "preview", begun.append, lane="main")
    others = [work.start("p", "preview", begun.append, lane="strip"), work.start("q", "preview", begun.append, lane="main")]
    newest = work.start("p", "preview", gate, lane="main")
    assert ended(work, oldest)["state"] == "stopped"
    reply = ended(work, dropped)
    assert (reply["state"], reply["text"]) == ("stopped", "stopped, since something newer was asked for.")
    gate.opened.set()
    assert ended(work, newest)["state"] == "done"
    assert [ended(work, job, page)["state"] for job, page in zip(others, "pq", strict=True)] == ["done", "done"]
    assert [job.lane for job in begun] == ["main", "strip"] and begun[0].page == "q"


def test_jobs_without_lane_stand_in_nobody_s_way(work):
    gate = Gate()
    jobs = [work.start("p", "save", gate, thread=SAVES) for _ in range(3)]
    gate.opened.set()
    assert [ended(work, job)["state"] for job in jobs] == ["done"] * 3


def test_pages_take_turns_piece_by_piece_and_what_is_new_comes_first(work):
    gate, seen = Gate(), []

    def pieces(name: str) -> Callable[[Job], Iterator[None]]:
        def do(job: Job) -> Iterator[None]:
            for number in range(3):
                seen.append(f"{name}{number}")
                yield

        return do

    first = work.start("x", "preview", gate)
    assert gate.entered.wait(30)
    jobs = [(work.start("p", "preview", pieces("a")), "p"), (work.start("q", "preview", pieces("b")), "q")]
    gate.opened.set()
    assert [ended(work, job, page)["state"] for job, page in [(first, "x"), *jobs]] == ["done"] * 3
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_new_job_of_a_page_comes_between_the_pieces_of_its_older_one(work):
    seen, gate = [], Gate()

    def long(job: Job) -> Iterator[None]:
        for number in range(3):
            seen.append(number)
            if number == 0:
                gate(job)
            yield

    strip = work.start("p", "preview", long, lane="strip")
    assert gate.entered.wait(30)
    main = work.start("p", "preview", lambda job: seen.append("main"), lane="main")
    gate.opened.set()
    assert ended(work, strip)["state"] == ended(work, main)["state"] == "done"
    assert seen == [0, "main", 1, 2]


def test_job_stopped_between_its_pieces_is_over_at_once_and_cleaned_up(work):
    closed, gate, queued = [], Gate(), threading.Event()

    def long(job: Job) -> Iterator[None]:
        try:
            assert queued.wait(30)  # so that the other job's turn comes next
            yield
            raise AssertionError("went on")
        finally:
            closed.append(True)

    job = work.start("p", "preview", long)
    other = work.start("q", "preview", gate)
    queued.set()
    assert gate.entered.wait(30)
    assert work.stop("p", job["job"])["state"] == "stopped" and closed == [True]
    gate.opened.set()
    assert ended(work, other, "q")["state"] == "done"


def test_job_that_fails_when_it_is_stopped_is_stopped_and_the_thread_goes_on(work, caplog):
    between = threading.Event()

    def long(job: Job) -> Iterator[None]:
        try:
            while True:
                between.set()
                yield
                time.sleep(0.001)
        finally:
            raise ValueError("closing")

    job = work.start("p", "preview", long)
    assert between.wait(30)
    work.stop("p", job["job"])
    assert ended(work, job)["state"] == "stopped" and "closing" in caplog.text
    assert ended(work, work.start("p", "preview", lambda job: None))["state"] == "done"


def test_saves_go_on_beside_pictures(work):
    gate = Gate()
    work.start("p", "preview", gate)
    assert ended(work, work.start("p", "save", lambda job: None, thread=SAVES))["state"] == "done"


def test_job_that_goes_on_in_another_thread_lets_the_next_one_begin(work):
    gate, threads = Gate(), []

    def do(job: Job) -> Iterator[None]:
        threads.append(threading.current_thread().name)
        job.report, job.thread = {"file": "x"}, COMPARISONS
        yield
        threads.append(threading.current_thread().name)
        gate(job)
        job.report = {"file": "x", "as_shown": True}

    first = work.start("p", "save", do, thread=SAVES)
    assert gate.entered.wait(10)
    second = work.start("p", "save", lambda job: None, thread=SAVES)
    assert ended(work, second)["state"] == "done"
    assert until(work, first, lambda reply: True)["state"] == "working"
    gate.opened.set()
    assert ended(work, first)["report"] == {"file": "x", "as_shown": True}
    assert threads == ["chilly-saves", "chilly-comparisons"]


@pytest.mark.parametrize("is_begun", [True, False])
def test_job_that_has_its_report_is_done_when_it_is_stopped(work, is_begun):
    ahead, gate = Gate(), Gate()

    def do(job: Job) -> Iterator[None]:
        job.report, job.thread = {"file": "x"}, COMPARISONS
        yield
        gate(job)

    if not is_begun:
        work.start("p", "compare", ahead, thread=COMPARISONS)
        assert ahead.entered.wait(10)
    job = work.start("p", "save", do, thread=SAVES)
    until(work, job, lambda reply: reply["report"] is not None)
    assert not is_begun or gate.entered.wait(10)
    work.stop("p", job["job"])
    done = ended(work, job)
    assert (done["state"], done["report"], gate.entered.is_set()) == ("done", {"file": "x"}, is_begun)
    ahead.opened.set()


def test_page_sees_and_stops_its_own_jobs_alone(work):
    gate = Gate()
    job = work.start("p", "preview", gate)
    assert work.jobs_of("q") == [] and [each["job"] for each in work.jobs_of("p")] == [job["job"]]
    for reply in (work.stop("q", job["job"]), *work.poll("q", [{"job": job["job"]}])):
        assert reply["state"] == "failed" and "no longer known" in reply["problem"]["message"]
    assert work.picture("q", job["job"], "one") is None
    gate.opened.set()
    assert ended(work, job)["state"] == "done"


def test_jobs_that_are_over_are_bounded_in_number_and_bytes(work):
    def picture(size: int) -> Callable[[Job], None]:
        return lambda job: job.add({"id": "x", "image": "x" * size})

    jobs = [work.start("p", "preview", None) for _ in range(9)]
    assert [job["job"] for job in work.jobs_of("p")] == [job["job"] for job in jobs[-5:]]
    ended(work, work.start("p", "preview", picture(600)))
    ended(work, work.start("p", "preview", picture(600)))
    assert len(work.jobs_of("p")) == 1
    large = ended(work, work.start("p", "preview", picture(5000)))
    assert len(large["pictures"][0]["image"]) == 5000  # the newest stays, or nobody would ever see it


def test_what_waits_is_bounded_for_each_page_and_in_pages(work):
    gate = Gate()
    for page in "pqr":
        work.start(page, "preview", gate)
    for _ in range(3):
        work.start("p", "preview", gate)
    for page in "ps":
        with pytest.raises(MergeError, match="too much is waiting"):
            work.start(page, "preview", gate)
    work.start("q", "preview", gate)
    gate.opened.set()


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        3,
        [3],
        [{"job": "3"}],
        [{"job": True}],
        [{"job": 1, "seen": -1}],
        [{"job": 1, "live": "x"}],
        [{}],
        [{"job": 1}] * 101,
    ],
)
def test_poll_that_is_none_is_refused(work, wanted):
    with pytest.raises(FieldError):
        work.poll("p", wanted)


def test_closing_stops_what_works_and_what_waits_and_begins_nothing_new():
    before = threading.active_count()
    work, gate = Work(), Gate()
    jobs = [work.start("p", "preview", gate), work.start("p", "preview", gate), work.start("p", "save", gate, thread=SAVES)]
    assert gate.entered.wait(30) and work.close(30)
    assert {ended(work, job)["state"] for job in jobs} == {"stopped"}
    assert threading.active_count() == before
    with pytest.raises(MergeError, match="is ending"):
        work.start("p", "preview", gate)
    assert work.close()


def test_jobs_that_have_their_report_and_wait_for_more_leave_room_for_others(work):
    gate = Gate()

    def do(job: Job) -> Iterator[None]:
        job.report, job.thread = {"found": 1}, COMPARISONS
        yield
        gate(job)

    jobs = []
    for _ in range(5):
        jobs.append(work.start("p", "save", do, thread=SAVES))
        until(work, jobs[-1], lambda reply: reply["report"] is not None)
    gate.opened.set()
    assert [ended(work, job)["state"] for job in jobs] == ["done"] * 5
