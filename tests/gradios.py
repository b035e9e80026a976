"""Pythons with the gradio of a webui, made on first use."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_FORGE = ["gradio==4.40.0", "fastapi==0.104.1", "pydantic==2.8.2", "huggingface-hub==0.26.2", "diffusers==0.31.0"]
OLD_GRADIO = {"3.41.2": ["gradio==3.41.2", "starlette<1"], "4.40.0": [*_FORGE, "transformers==4.46.3"]}
"""The gradio of the webui and that of Forge, with what each needs to run and, where they are others than ours, for pictures."""


def gradio_python(version: str) -> str:
    """A Python with that gradio: the one that CHILLY_GRADIO3 or CHILLY_GRADIO4 names, else one that is made on first use.

    It lies in the user's cache, or where CHILLY_TEST_CACHE says, and sees the packages of this Python behind its own.
    """
    if named := os.environ.get(f"CHILLY_GRADIO{version[0]}"):
        return named
    wanted = OLD_GRADIO[version]
    cache = Path(os.environ.get("CHILLY_TEST_CACHE") or Path.home() / ".cache" / "chillymerge-tests")
    mark = hashlib.sha256(repr((sys.executable, sys.version, wanted)).encode()).hexdigest()[:12]
    folder = cache / f"gradio-{version}-{mark}"
    python = folder / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test files run side by side
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted], check=True)
            (site_packages,) = folder.glob("lib/python*/site-packages")
            behind = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
            (site_packages / "behind.pth").write_text("\n".join(behind))
            (folder / "whole").touch()
    return str(python)
