"""The target is the old file or the whole new one: temporaries, locks, full disks, links, modes and two writers at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import model, plan_in, write_models
from reference import read_file

from lib_chilly import fileio, memory, stream
from lib_chilly.engine import merge
from lib_chilly.errors import OutputError
from lib_chilly.report import Report
from lib_chilly.writer import TEMPORARY_SUFFIX, CheckpointWriter, check_target

RECIPE = "MIX = 0.3 * a + 0.7 * b"
OLD = b"what stood here before"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("writing") / "models", a=model(1), b=model(2))


@pytest.fixture(scope="module")
def merged(models: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the recipe gives."""
    output = tmp_path_factory.mktemp("merged") / "out.safetensors"
    merge_durably(models, RECIPE, output)
    return output.read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An old file in a folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "mix.safetensors"
    path.write_bytes(OLD)
    return path


def merge_durably(folder: Path, text: str, output: Path, overwrite: bool = True, use_mmap: bool = False) -> Report:
    """Merge and wait for the disk, as users do."""
    return merge(plan_in(folder, text), output, overwrite=overwrite, threads=2, use_mmap=use_mmap, source_hashes=False)


def temporaries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f".*{TEMPORARY_SUFFIX}"))


def assert_untouched(target: Path) -> None:
    """The old file stands alone in its folder, byte for byte."""
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.read_bytes() == OLD


def abandon(target: Path) -> Path:
    """Let a process die with a half-written temporary."""
    child = os.fork()
    if child == 0:
        CheckpointWriter(target, 4096, overwrite=True).write_at(b"half", 0)
        os._exit(9)
    os.waitpid(child, 0)
    (path,) = temporaries(target.parent)
    return path


# ---- temporaries ----


def test_temporary_of_a_living_writer_lies_beside_its_target_and_is_locked(target: Path):
    with CheckpointWriter(target, 8, overwrite=True):
        (path,) = temporaries(target.parent)
        assert path.stat().st_dev == target.stat().st_dev
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert_untouched(target)


def test_temporary_of_a_killed_writer_is_removed_by_the_next_merge_but_a_locked_one_stays(models: Path, target: Path):
    abandoned = abandon(target)
    with CheckpointWriter(target.with_name("other.safetensors"), 8, overwrite=True):
        (locked,) = temporaries(target.parent)
        assert locked != abandoned
        abandoned = abandon_again(target, locked)
        merge_durably(models, RECIPE, target)
        assert temporaries(target.parent) == [locked]
        assert not abandoned.exists()


def abandon_again(target: Path, locked: Path) -> Path:
    """One more abandoned temporary beside a locked one."""
    child = os.fork()
    if child == 0:
        CheckpointWriter(target, 4096, overwrite=True)
        os._exit(9)
    os.waitpid(child, 0)
    (path,) = set(temporaries(target.parent)) - {locked}
    return path


def test_files_that_only_look_like_temporaries_stay(models: Path, target: Path):
    strangers = [target.parent / name for name in ("mine.chilly-tmp", ".chilly-tmp.txt", ".hidden.safetensors")]
    for path in strangers:
        path.write_bytes(b"mine")
    merge_durably(models, RECIPE, target)
    assert [path.read_bytes() for path in strangers] == [b"mine"] * 3


def test_abandoned_temporary_makes_room_before_space_is_checked(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes
):
    abandon(target)
    usage = shutil.disk_usage(target.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=0 if temporaries(Path(folder)) else 1 << 40))
    merge_durably(models, RECIPE, target)
    assert target.read_bytes() == merged


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted already", "about to be deleted"])
def test_writer_whose_temporary_was_taken_for_abandoned_makes_another(
    target: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
):
    """Another run may lock the file between its creation and its lock; it then deletes it."""
    lock, taken = fileio.lock_exclusively, []

    def take_first(descriptor: int) -> bool | None:
        if taken:
            return lock(descriptor)
        taken.extend(temporaries(target.parent))
        if is_deleted:
            taken[0].unlink()
        return is_deleted

    monkeypatch.setattr(fileio, "lock_exclusively", take_first)
    with CheckpointWriter(target, 3, overwrite=True) as writer:
        taken[0].unlink(missing_ok=True)
        assert temporaries(target.parent)
        writer.write_at(b"new", 0)
        writer.commit()
    assert target.read_bytes() == b"new" and not temporaries(target.parent)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_writer_in_a_folder_without_locks_writes_all_the_same_and_deletes_no_temporary(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    other = target.with_name(f".other{TEMPORARY_SUFFIX}")
    other.write_bytes(b"perhaps of a living writer")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with CheckpointWriter(target, 3, overwrite=True) as writer:
        writer.write_at(b"new", 0)
        writer.commit()
    assert target.read_bytes() == b"new" and temporaries(target.parent) == [other]


def test_target_with_a_long_name_of_wide_letters_is_written(models: Path, tmp_path: Path, merged: bytes):
    target = tmp_path / f"{'模' * 80}.safetensors"
    merge_durably(models, RECIPE, target)
    assert target.read_bytes() == merged


# ---- full disks ----


def test_disk_without_room_is_refused_before_anything_is_written(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch):
    plan = plan_in(models, RECIPE)
    usage = shutil.disk_usage(target.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=plan.writes_bytes - 1))
    monkeypatch.setattr(fileio.TargetFile, "__init__", lambda *_: pytest.fail("a file was made"))
    with pytest.raises(OutputError, match=f"{plan.writes_bytes:,} bytes are needed .* {plan.writes_bytes - 1:,} are free"):
        merge(plan, target, overwrite=True, source_hashes=False)
    assert_untouched(target)


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, after: int = 0) -> list[int]:
    """Let the call `os.NAME` fail with this errno from its call number `after` on; the list counts calls."""
    real, calls = getattr(os, name), [0]

    def call(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(os, name, call)
    return calls


@pytest.mark.parametrize(
    ("call", "number", "after", "said"),
    [
        ("pwrite", errno.ENOSPC, 0, "became full"),
        ("pwrite", errno.ENOSPC, 2, "became full"),
        ("pwrite", errno.EDQUOT, 1, "became full"),
        ("pwrite", errno.EIO, 1, "Input/output error"),
        ("fsync", errno.ENOSPC, 0, "became full"),
        ("fsync", errno.EIO, 0, "Input/output error"),
        ("ftruncate", errno.EFBIG, 0, "too large"),
        ("replace", errno.EIO, 0, "Input/output error"),
    ],
)
def test_disk_that_fails_midway_leaves_the_old_file_and_nothing_else(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, after: int, said: str
):
    monkeypatch.setattr(stream, "BLOCK_BYTES", 8192)
    monkeypatch.setattr("lib_chilly.memory.BLOCK_BYTES", 8192)
    calls = fail_at(monkeypatch, call, number, after)
    with pytest.raises(OutputError, match=said):
        merge_durably(models, RECIPE, target)
    assert calls[0] > after
    assert_untouched(target)


def test_short_writes_are_continued(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real(file, data[: len(data) // 3 + 1], offset))
    merge_durably(models, RECIPE, target)
    assert target.read_bytes() == merged


def bypasses_page_cache(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def test_whole_pages_go_past_the_page_cache_and_only_the_rest_through_it(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes
):
    for module in (stream, memory):
        monkeypatch.setattr(module, "BLOCK_BYTES", 8192)
    real, passed = os.pwrite, {True: 0, False: 0}

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        count = real(descriptor, data, offset)
        passed[bypasses_page_cache(descriptor)] += count
        return count

    monkeypatch.setattr(os, "pwrite", pwrite)
    merge_durably(models, RECIPE, target)
    assert target.read_bytes() == merged
    assert passed[True] > 0.8 * len(merged) and sum(passed.values()) == len(merged)


def test_disk_that_refuses_to_bypass_the_page_cache_is_written_through_it(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes
):
    real = os.open

    def refuse(path: object, flags: int, *more: object, **options: object) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", refuse)
    merge_durably(models, RECIPE, target)
    assert target.read_bytes() == merged


def test_disk_that_wants_wider_alignment_is_written_through_the_page_cache(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes
):
    real, refused = os.pwrite, [0]

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if bypasses_page_cache(descriptor):
            refused[0] += 1
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    merge_durably(models, RECIPE, target)
    assert refused[0] and target.read_bytes() == merged


def test_workers_that_cannot_start_never_leave_an_empty_file_behind(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch):
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(stream, "Kernel", no_memory)
    with pytest.raises(MemoryError):
        merge_durably(models, RECIPE, target)
    assert_untouched(target)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), "size=64k"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


CAN_MOUNT = _can_mount()
"""Where mounting is not allowed, only the same situations as simulated above are tested."""


@pytest.mark.parametrize("check_lies", [False, True] if CAN_MOUNT else [], ids=["refused at once", "full midway"])
def test_small_disk_is_left_as_it_was(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, check_lies: bool):
    with mounted(target.parent, "size=64k"):
        target.write_bytes(OLD)
        if check_lies:
            usage = shutil.disk_usage(target.parent)
            monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1 << 40))
        with pytest.raises(OutputError, match="became full" if check_lies else "the disk is full: "):
            merge_durably(models, RECIPE, target)
        assert_untouched(target)


# ---- folders and targets that are refused ----


@pytest.mark.parametrize("how", ["simulated", *(["read-only disk"] if CAN_MOUNT else [])])
@pytest.mark.parametrize("access_lies", [False, True], ids=["access says so", "opening says so"])
def test_unwritable_folder_is_said_in_a_sentence(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, how: str, access_lies: bool
):
    with contextlib.ExitStack() as stack:
        if how == "read-only disk":
            stack.enter_context(mounted(target.parent, "ro,size=1m"))
        elif access_lies:
            refuse_opening(monkeypatch, target.parent)
        if access_lies or how == "simulated":
            monkeypatch.setattr(os, "access", lambda *_: access_lies)
        said = "cannot be written: (Permission denied|Read-only file system)" if access_lies else "is not writable"
        with pytest.raises(OutputError, match=said):
            merge_durably(models, RECIPE, target)
    assert_untouched(target)


def refuse_opening(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    real = os.open

    def open_elsewhere(path: object, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and Path(str(path)).parent == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, mode)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", open_elsewhere)


def test_target_that_exists_is_refused_without_overwrite_and_untouched(models: Path, target: Path):
    before = target.stat()
    with pytest.raises(OutputError, match=r"exists\. Choose another name, or pass --overwrite"):
        merge_durably(models, RECIPE, target, overwrite=False)
    assert target.stat() == before
    assert_untouched(target)


def make_link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize(
    ("make", "said"),
    [(os.mkfifo, "no regular file"), (make_link_to_pipe, "no regular file"), (Path.mkdir, "is a folder")],
    ids=["pipe", "link to a pipe", "folder"],
)
def test_target_that_is_no_regular_file_is_never_replaced(models: Path, tmp_path: Path, make: Callable[[Path], None], said: str):
    path = tmp_path / "target"
    make(path)
    before = path.stat()
    with pytest.raises(OutputError, match=said):
        merge_durably(models, RECIPE, path)
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere/mix.safetensors", "does not exist; create it"), ("n" * 300, "File name too long"), (".", "is a folder")],
    ids=["no folder", "long name", "folder"],
)
def test_target_that_cannot_be_is_said_in_a_sentence(models: Path, tmp_path: Path, name: str, said: str):
    with pytest.raises(OutputError, match=said):
        merge_durably(models, RECIPE, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_target_that_appears_during_the_pass_stays_where_overwrite_was_not_allowed(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
):
    if not has_links:
        fail_at(monkeypatch, "link", errno.EPERM)
    target.unlink()
    sync = fileio.TargetFile.sync

    def sync_while_another_writes(file: fileio.TargetFile) -> None:
        sync(file)
        target.write_bytes(OLD)

    monkeypatch.setattr(fileio.TargetFile, "sync", sync_while_another_writes)
    with pytest.raises(OutputError, match="written by somebody else meanwhile"):
        merge_durably(models, RECIPE, target, overwrite=False)
    assert_untouched(target)


def test_disk_without_hard_links_takes_a_new_file(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes):
    fail_at(monkeypatch, "link", errno.EPERM)
    merge_durably(models, RECIPE, tmp_path / "mix.safetensors", overwrite=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [merged]


# ---- the order of things ----


def record(monkeypatch: pytest.MonkeyPatch, target: Path) -> list[str]:
    """Note in the list what reaches the disk, in order."""
    events: list[str] = []

    def wrap(name: str, say: Callable[[object], str]) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            result = real(*arguments, **options)
            events.append(say(arguments[0]))
            return result

        monkeypatch.setattr(os, name, call)

    wrap("pwrite", lambda _: "write")
    wrap("fsync", lambda file: "sync folder" if stat.S_ISDIR(os.fstat(int(str(file))).st_mode) else "sync file")
    wrap("replace", lambda _: "name")
    wrap("link", lambda _: "name")
    return events


@pytest.mark.parametrize("overwrite", [True, False])
def test_file_is_on_the_disk_before_it_gets_its_name(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
):
    if not overwrite:
        target.unlink()
    events = record(monkeypatch, target)
    merge_durably(models, RECIPE, target, overwrite=overwrite)
    assert events[-3:] == ["sync file", "name", "sync folder"]
    assert len(events) > 4 and set(events[:-3]) == {"write"}


def test_folder_that_cannot_be_synced_has_the_file_all_the_same(
    models: Path, target: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes
):
    real = os.fsync

    def sync_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files_only)
    merge_durably(models, RECIPE, target)
    assert target.read_bytes() == merged


@pytest.mark.parametrize("mapped", [False, True])
def test_target_that_is_a_source_is_replaced_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merged: bytes, mapped: bool
):
    folder = write_models(tmp_path / "models", a=model(1), b=model(2))
    source = folder / "b.safetensors"
    before, seen = source.read_bytes(), []
    sync = fileio.TargetFile.sync

    def look(file: fileio.TargetFile) -> None:
        sync(file)
        seen.append(source.read_bytes())

    monkeypatch.setattr(fileio.TargetFile, "sync", look)
    merge_durably(folder, RECIPE, source, use_mmap=mapped)
    assert seen == [before]
    assert source.read_bytes() == merged
    assert sorted(path.name for path in folder.iterdir()) == ["a.safetensors", "b.safetensors"]


# ---- links and modes ----


def test_models_behind_links_are_found_and_give_the_same_file(models: Path, tmp_path: Path, merged: bytes):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real").write_bytes((models / "b.safetensors").read_bytes())
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "sub").symlink_to(models, target_is_directory=True)
    (linked / "sub-loop").symlink_to(linked, target_is_directory=True)
    (linked / "c.safetensors").symlink_to(tmp_path / "elsewhere" / "real")
    output = tmp_path / "out.safetensors"
    merge_durably(linked, RECIPE, output)
    assert output.read_bytes() == merged
    merge_durably(linked, RECIPE.replace("b", "c"), tmp_path / "by file")
    assert read_file(tmp_path / "by file") == read_file(output)


@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "to nothing yet"])
def test_target_behind_links_is_written_where_they_lead_and_the_links_stay(
    models: Path, target: Path, tmp_path: Path, merged: bytes, exists: bool
):
    links = tmp_path / "links"
    links.mkdir()
    (links / "out").symlink_to(target.parent, target_is_directory=True)
    link = links / "mix.safetensors"
    link.symlink_to(Path("out") / target.name)
    if not exists:
        target.unlink()
    merge_durably(models, RECIPE, link, overwrite=exists)
    assert link.readlink() == Path("out") / target.name
    assert target.read_bytes() == merged
    assert sorted(path.name for path in links.iterdir()) == ["mix.safetensors", "out"]
    assert not temporaries(links) and not temporaries(target.parent)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("overwrite", [True, False])
def test_mode_of_the_file_is_what_the_umask_says(models: Path, target: Path, umask: int, overwrite: bool):
    target.chmod(0o600)
    if not overwrite:
        target.unlink()
    before = os.umask(umask)
    try:
        merge_durably(models, RECIPE, target, overwrite=overwrite)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


# ---- two merges to one target at once ----

RACE = """
import json, os, sys
from pathlib import Path
import torch
from lib_chilly import fileio
from lib_chilly.engine import merge
from lib_chilly.errors import OutputError
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe

models, target, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
plans = [make_plan(parse_recipe(text), ModelLibrary([models])) for text in sys.argv[4:]]

def run(plan, overwrite, ready, go):
    sync = fileio.TargetFile.sync
    def meet(file):  # both have all their bytes on the disk before either is renamed
        sync(file)
        os.write(ready, b"x")
        os.read(go, 1)
    fileio.TargetFile.sync = meet
    try:
        merge(plan, target, overwrite=overwrite, source_hashes=False)
    except OutputError as error:
        os._exit(2 if "somebody else" in str(error) else 3)
    os._exit(0)

for turn in range(rounds):
    overwrite = turn % 2 == 0
    target.unlink(missing_ok=True)
    (seen, ready), (go, start) = os.pipe(), os.pipe()
    children = []
    for plan in plans:
        children.append(os.fork())
        if children[-1] == 0:
            run(plan, overwrite, ready, go)
    met = [os.read(seen, 1) for _ in children]
    os.write(start, b"go")
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for end in (seen, ready, go, start):
        os.close(end)
    left = sorted(os.listdir(target.parent))
    print(json.dumps({"overwrite": overwrite, "codes": codes, "left": left, "bytes": target.read_bytes().hex()}))
"""


@pytest.fixture(scope="module")
def races(models: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What two merges at once left, in turns with and without overwriting."""
    target = tmp_path_factory.mktemp("race") / "mix.safetensors"
    command = [sys.executable, "-c", RACE, models, target, "16", RECIPE, RECIPE.replace("MIX", "MAX")]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("overwrite", [True, False])
def test_two_merges_to_one_target_at_once_leave_one_whole_file(
    models: Path, tmp_path: Path, merged: bytes, races: list[dict], overwrite: bool
):
    merge_durably(models, RECIPE.replace("MIX", "MAX"), tmp_path / "other")
    results = {merged: 0, (tmp_path / "other").read_bytes(): 1}
    seen = [race for race in races if race["overwrite"] == overwrite]
    assert len(seen) == 8
    for race in seen:
        assert race["left"] == ["mix.safetensors"]
        winner = results[bytes.fromhex(race["bytes"])]
        assert race["codes"] == ([0, 0] if overwrite else [0, 2] if winner == 0 else [2, 0])


def test_check_target_follows_links_and_keeps_plain_paths(tmp_path: Path):
    (tmp_path / "link").symlink_to("real.safetensors")
    assert check_target(tmp_path / "link", overwrite=False) == tmp_path.resolve() / "real.safetensors"
