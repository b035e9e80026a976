"""What no change may make more of, counted and never timed: bytes, calls of the system, torch's operations and memory, imports.

A number here that has to grow is a decision: say in the commit why it is worth it.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import UNET, draw, merge_in, model, plan_in, stored, write_models
from torch.utils._python_dispatch import TorchDispatchMode

from bench.counters import counters, since
from lib_chilly import live, measure, passes
from lib_chilly.fileio import POSITIONAL
from lib_chilly.live import LiveWeights
from lib_chilly.memory import BLOCK_BYTES, blocks_of
from lib_chilly.resident import ResidentWeights

ROOT = Path(__file__).parents[1]
LARGE = UNET + "input_blocks.1.0.in_layers.0.weight"
"""Of several slabs, and of more than one block."""
LANE_ALONE = "weighted_sum(a, b, alpha={{M00: {}, *: 0.3}})"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {
        name: model(seed, extras={LARGE: stored(draw(seed, LARGE, (1100, 2000)), "fp16")}) for seed, name in enumerate("ab")
    }
    return write_models(tmp_path_factory.mktemp("counted"), **models)


# ---- bytes and calls of the system ----


class Calls:
    """Calls of os.preadv and os.pwrite: (file, offset, bytes)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.read: list[tuple[str, int, int]] = []
        self.written: list[tuple[str, int, int]] = []
        for name, found in (("preadv", self.read), ("pwrite", self.written)):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name), found))

    @staticmethod
    def _counting(call: Callable[..., int], found: list[tuple[str, int, int]]) -> Callable[..., int]:
        def counted(descriptor: int, data: object, offset: int) -> int:
            count = call(descriptor, data, offset)
            found.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, offset, count))
            return count

        return counted

    def tensors_read(self, folder: Path) -> list[tuple[str, int, int]]:
        """Reads of what lies behind the headers."""
        starts = {path.name: 8 + int.from_bytes(path.read_bytes()[:8], "little") for path in folder.glob("*.safetensors")}
        return [each for each in self.read if each[0] in starts and each[1] >= starts[each[0]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    if not POSITIONAL or not Path("/proc/self/fd").exists():
        pytest.skip("calls are counted as Linux has them")
    return Calls(monkeypatch)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("weighted_sum(a, b, alpha=0.3)", {}),
        ("weighted_sum(a, b, alpha={M00: 1, OUT*: 0, *: 0.4})", {}),
        ("a", {"dtype": "source"}),
        ("weighted_sum(a, b, alpha=0.3)", {"dtype": "fp8_scaled"}),
        ("X = mean(a, b)\nY = mean(X, b)\nZ = weighted_sum(Y, a, alpha=0.2)", {}),
    ],
    ids=["everywhere", "some lanes of one alone", "a copy", "read twice for its scales", "three steps"],
)
def test_a_merge_reads_each_needed_byte_once_and_writes_each_once(folder, tmp_path, calls, recipe, options):
    plan, output = plan_in(folder, recipe, **options), tmp_path / "m.safetensors"
    merge_in(folder, recipe, output, options=options)  # which imports what it needs
    calls.read.clear(), calls.written.clear()
    before = counters()
    merge_in(folder, recipe, output, options=options)
    seen = since(before)
    read = calls.tensors_read(folder)
    assert sum(count for _, _, count in read) == plan.reads_bytes
    assert len(set(read)) == len(read) or any(job.is_scaled for job in plan.jobs)
    written = sorted((offset, count) for _, offset, count in calls.written)
    assert sum(count for _, count in written) == output.stat().st_size == plan.writes_bytes
    assert [offset for offset, _ in written] == [0, *(offset + count for offset, count in written[:-1])]
    assert 0 <= seen["read_bytes"] - plan.reads_bytes < 1 << 16 and 0 <= seen["written_bytes"] - plan.writes_bytes < 1 << 10


def test_calls_of_a_merge_are_one_a_slab_and_source_and_one_a_block(folder, tmp_path, calls):
    recipe = "weighted_sum(a, b, alpha=0.3)"
    blocks = blocks_of(plan_in(folder, recipe).jobs)
    for threads in (1, 2):
        calls.read.clear(), calls.written.clear()
        merge_in(folder, recipe, tmp_path / "m.safetensors", threads=threads)
        assert len(calls.tensors_read(folder)) == 2 * sum(len(block.slabs) for block in blocks)
        assert len(calls.written) == len(blocks) + 1  # the header
    assert len(blocks) == -(-plan_in(folder, recipe).data_bytes // BLOCK_BYTES) == 2


# ---- torch's operations and memory ----


VIEWS = {"view", "slice", "split", "as_strided", "detach", "narrow", "alias", "reshape"}


class Operations(TorchDispatchMode):
    """What torch carries out in this thread: operations but for views, by their name, and bytes of new tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.new_bytes = 0

    def __torch_dispatch__(self, operation, types, given=(), named=None):
        result = operation(*given, **(named or {}))
        stores = {
            each.untyped_storage().data_ptr() for each in (*given, *(named or {}).values()) if isinstance(each, torch.Tensor)
        }
        if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in stores:
            self.new_bytes += result.untyped_storage().nbytes()
        self.found.update({str(operation).split(".")[1]} - VIEWS)
        return result


@pytest.fixture
def in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done here instead of in threads, so that it is counted."""
    for module in (live, passes, measure):
        monkeypatch.setattr(module, "work_together", lambda threads, tasks, work, *_: work(iter(tasks)))


@pytest.mark.usefixtures("in_this_thread")
def test_update_from_files_reads_each_key_once_with_eleven_operations_and_three_buffers(tmp_path, calls):
    folder = write_models(tmp_path, a=model(1), b=model(2))
    weights, plans = LiveWeights(), [plan_in(folder, LANE_ALONE.format(alpha)) for alpha in (0.2, 0.4)]
    for plan in plans:
        weights.update(plan)
    keys, seen = sum(job.lane == "M00" for job in plans[0].jobs), set()
    calls.read.clear()
    for number in range(100):
        with Operations() as done:
            weights.update(plans[number % 2])
        seen.add((sum(done.found.values()), done.new_bytes))
    ((operations, new_bytes),) = seen
    assert len(calls.read) == 100 * 2 * keys
    # Read: a copy, twice. Weigh, weigh, add; the change and its size, each a sum of squares and its value; round. Of the rest
    # each update makes the three buffers of a slab, the one that is read into, and the sums of squares.
    assert operations <= 11 * keys + 7 and new_bytes < (3 << 20) + (1 << 14)


@pytest.mark.usefixtures("in_this_thread")
def test_update_of_sources_in_memory_reads_and_allocates_nothing_and_joins_keys_that_lie_side_by_side(tmp_path, calls):
    folder = write_models(tmp_path, a=model(1), b=model(2))
    weights, plans = ResidentWeights("cpu"), [plan_in(folder, LANE_ALONE.format(alpha)) for alpha in (0.2, 0.4)]
    for plan in plans:
        weights.update(plan)
    calls.read.clear()
    with Operations() as done:
        for number in range(1000):
            weights.update(plans[number % 2])
    assert done.new_bytes == 0 and calls.read == []
    assert done.found == {"copy_": 3000, "mul_": 2000, "add_": 1000}, "six keys of a lane are one stretch of memory"


@pytest.mark.parametrize("kind", [LiveWeights, lambda: ResidentWeights("cpu")], ids=["from files", "resident"])
def test_updates_leave_nothing_behind_in_memory(tmp_path, kind):
    folder = write_models(tmp_path, a=model(1), b=model(2))
    weights, plans = kind(), [plan_in(folder, LANE_ALONE.format(alpha)) for alpha in (0.2, 0.4)]
    for plan in plans * 10:
        weights.update(plan)
    tracemalloc.start()
    try:
        for plan in plans:
            weights.update(plan)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for plan in plans * 100:
            weights.update(plan)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


# ---- what is imported ----


@pytest.mark.parametrize(
    ("arguments", "most"),
    [("--help", 130), ("grid --help", 130), ("methods", 150), ("plan mean(a,b)", 150), ("inspect FILE", 130)],
)
def test_a_command_imports_what_it_needs(folder, tmp_path, arguments, most):
    given = [str(folder / "a.safetensors") if each == "FILE" else each for each in arguments.split(" ")]
    script = (
        "import json, os, sys\n"
        "before = set(sys.modules)\n"
        "from lib_chilly import cli\n"
        "try:\n    cli.main(sys.argv[2:])\nexcept SystemExit:\n    pass\n"
        "open(sys.argv[1], 'w').write(json.dumps(sorted(set(sys.modules) - before)))"
    )
    environment = os.environ | {"CHILLY_MODELS": str(folder), "CHILLY_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script, str(tmp_path / "found"), *given]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "found").read_text())
    others = {name.partition(".")[0] for name in found} - sys.stdlib_module_names
    assert others <= {"lib_chilly", "lark", "regex"}
    assert sum(name.startswith("lib_chilly") for name in found) <= most
