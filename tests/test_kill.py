"""kill -9 at any moment of a merge: the old file or the whole new one stands there, and the next run sweeps up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import merge_in, model, write_models

from lib_chilly.writer import TEMPORARY_SUFFIX

RECIPE = "MIX = 0.3 * a + 0.7 * b"
OLD = b"what stood here before"
KILLS = 30

RUNNER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from lib_chilly import memory, stream
from lib_chilly.engine import merge
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe

models, kills, text, old = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.argv[4])
stream.BLOCK_BYTES = memory.BLOCK_BYTES = 8192
torch.set_num_threads(1)
plan = make_plan(parse_recipe(text), ModelLibrary([models]))
STEPS = ("open", "ftruncate", "pwrite", "fsync", "link", "replace", "unlink")

def slowed(before):
    # Every step towards the disk calls `before` with its number, on both of its sides.
    count = [0]
    def wrap(name):
        real = getattr(os, name)
        def call(*arguments, **options):
            count[0] += 1
            before(count[0])
            result = real(*arguments, **options)
            count[0] += 1
            before(count[0])
            return result
        setattr(os, name, call)
    for name in STEPS:
        wrap(name)
    return count

def child(before, done, target, overwrite):
    count = slowed(before)
    merge(plan, target, overwrite=overwrite, threads=2, source_hashes=False)
    os.write(done, str(count[0]).encode())
    os._exit(0)

def run(target, how, before, kill_after=None):
    target.unlink(missing_ok=True)
    if how != "new target":
        target.write_bytes(old)
    seen, done = os.pipe()
    started = time.perf_counter()
    process = os.fork()
    if process == 0:
        child(before, done, target, how != "new target")
    os.close(done)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    seconds = time.perf_counter() - started
    steps = int(os.read(seen, 20) or 0)
    os.close(seen)
    state = target.read_bytes().hex() if target.exists() else None
    left = sorted(os.listdir(target.parent))
    print(json.dumps({"how": how, "code": code, "state": state, "left": left}), flush=True)
    return seconds, steps

def pause(number):
    time.sleep(0.001)

def die_at(fatal):
    def before(number):
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    return before

for how, target in zip(sys.argv[5::2], map(Path, sys.argv[6::2])):
    (first, steps), (second, _) = run(target, how, pause), run(target, how, pause)
    if how == "random":
        numbers = random.Random(7)
        for kill in range(kills):
            run(target, how, pause, (kill + numbers.random()) / kills * min(first, second))
    else:
        # All steps at the ends, and some of the many writes between them.
        for step in sorted({*range(1, 14), *range(14, steps - 12, 5), *range(steps - 12, steps + 1)}):
            run(target, how, die_at(step))
"""


HOWS = ("random", "each step", "new target")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("killing") / "models", a=model(1), b=model(2))


@pytest.fixture(scope="module")
def killed_merges(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], list[dict]]:
    """How merges are killed to their target, and what each of them left there."""
    targets = {how: tmp_path_factory.mktemp("killed") / "mix.safetensors" for how in HOWS}
    command = [sys.executable, "-c", RUNNER, models, KILLS, RECIPE, OLD.hex(), *(part for row in targets.items() for part in row)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return targets, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("how", HOWS)
def test_merge_killed_at_any_moment_leaves_the_old_file_or_the_new_one_and_the_next_run_sweeps_up(
    models: Path, tmp_path: Path, killed_merges: tuple[dict[str, Path], list[dict]], how: str
):
    merge_in(models, RECIPE, tmp_path / "whole.safetensors")
    new = (tmp_path / "whole.safetensors").read_bytes()
    targets, seen = killed_merges
    target = targets[how]
    whole, again, *killed = [line for line in seen if line["how"] == how]

    assert whole == again == {"how": how, "code": 0, "state": new.hex(), "left": [target.name]}
    assert len(killed) >= KILLS
    old = None if how == "new target" else OLD.hex()
    states = [line["state"] for line in killed]
    assert set(states) <= {old, new.hex()}
    remains = [[name for name in line["left"] if name != target.name] for line in killed]
    assert all(name.endswith(TEMPORARY_SUFFIX) for names in remains for name in names)
    assert max(map(len, remains)) == 1, "a run left the temporary of the one before it"
    # The kills did hit the pass, with the old file still there.
    assert sum(map(len, remains)) > len(killed) // 3
    assert states.count(old) > len(killed) // 3

    merge_in(models, RECIPE, target)
    assert target.read_bytes() == new and list(target.parent.iterdir()) == [target]
