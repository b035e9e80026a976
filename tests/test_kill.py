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

models, target, how, kills, text = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
overwrite = how != "new target"
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

def child(before, done):
    count = slowed(before)
    merge(plan, target, overwrite=overwrite, threads=2, source_hashes=False)
    os.write(done, str(count[0]).encode())
    os._exit(0)

def run(before, kill_after=None):
    target.unlink(missing_ok=True)
    if overwrite:
        target.write_bytes(bytes.fromhex(sys.argv[6]))
    seen, done = os.pipe()
    started = time.perf_counter()
    process = os.fork()
    if process == 0:
        child(before, done)
    os.close(done)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    seconds = time.perf_counter() - started
    steps = int(os.read(seen, 20) or 0)
    os.close(seen)
    state = target.read_bytes().hex() if target.exists() else None
    print(json.dumps({"code": code, "state": state, "left": sorted(os.listdir(target.parent))}), flush=True)
    return seconds, steps

def pause(number):
    time.sleep(0.001)

def die_at(fatal):
    def before(number):
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    return before

(first, steps), (second, _) = run(pause), run(pause)
if how == "random":
    numbers = random.Random(7)
    for kill in range(kills):
        run(pause, (kill + numbers.random()) / kills * min(first, second))
else:
    # All steps at the ends, and some of the many writes between them.
    for step in sorted({*range(1, 14), *range(14, steps - 12, 5), *range(steps - 12, steps + 1)}):
        run(die_at(step))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("killing") / "models", a=model(1), b=model(2))


@pytest.mark.parametrize("how", ["random", "each step", "new target"])
def test_merge_killed_at_any_moment_leaves_the_old_file_or_the_new_one_and_the_next_run_sweeps_up(
    models: Path, tmp_path: Path, how: str
):
    merge_in(models, RECIPE, tmp_path / "whole.safetensors")
    new = (tmp_path / "whole.safetensors").read_bytes()
    target = tmp_path / "out" / "mix.safetensors"
    target.parent.mkdir()
    command = [sys.executable, "-c", RUNNER, models, target, how, KILLS, RECIPE, OLD.hex()]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    whole, again, *killed = [json.loads(line) for line in done.stdout.splitlines()]

    assert whole == again == {"code": 0, "state": new.hex(), "left": [target.name]}
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
