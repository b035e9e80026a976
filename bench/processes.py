"""Each thing that is measured runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIB = 1 << 20


def floor(sources: Sequence[Path], folder: Path, size: int, block: int, threads: int, *more: str) -> dict:
    arguments = [*sources, "--output", folder / "floor.out", "--size", size, "--block", block, "--threads", threads, *more]
    return run("bench.floor", arguments)


def merge(recipe: str, folder: Path, threads: int, *more: str) -> dict:
    with tempfile.TemporaryDirectory() as home:
        arguments = [recipe, "--models", folder, "--output", folder / "out.safetensors", "--threads", threads, *more]
        return run("bench.worker", arguments, home)


def run(module: str, arguments: Sequence[object], home: str = "", python: str = sys.executable) -> dict:
    """What a module of this folder prints as JSON, run in a process of its own."""
    command = [python, "-m", module, *(str(argument) for argument in arguments)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CHILLY_HOME": home}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # some programs print words of their own before


def prepare(sources: Sequence[Path], cold: bool) -> None:
    """Bring the sources into the page cache, or throw them out of it."""
    for path in sources:
        descriptor = os.open(path, os.O_RDONLY)
        if cold:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while os.read(descriptor, 16 * MIB):
                pass
        os.close(descriptor)
