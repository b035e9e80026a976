"""The real webui, booted once with members of the tiny family: the checkout that CHILLY_WEBUI names."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

from lib_chilly.family import MEMBERS, build_family

SECONDS_TO_BOOT = 240
PAIR = {"v1-5-pruned-emaonly": "A", "chilloutmix": "B"}
"""Members of the tiny family, and what they are called in the tests."""


class Webui:
    """A webui with its data below `folder`, on a free port of this machine alone; its models lie in `folder/models`.

    Args:
        checkout: of the webui.
        python: an interpreter with its packages.
    """

    def __init__(self, checkout: Path, python: str, folder: Path):
        self.models, self.log = folder / "models", folder / "webui.log"
        self.models.mkdir(parents=True)
        members = (replace(member, name=PAIR[member.name]) for member in MEMBERS if member.name in PAIR)
        list(build_family(self.models, tuple(members)))
        scripts = folder / "data/extensions/probe/scripts"
        scripts.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("webui_probe.py"), scripts / "probe.py")
        (folder / "data/config.json").write_text(json.dumps({"live_previews_enable": False}))
        self.port = _free_port()
        flags = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--use-cpu", "all", "--no-half", "--api"]
        flags += ["--no-download-sd-model", "--do-not-download-clip", "--disable-console-progressbars"]
        flags += [
            "--server-name",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--ckpt-dir",
            str(self.models),
            "--data-dir",
            str(folder / "data"),
        ]
        alone = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "COMMANDLINE_ARGS": ""}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "launch.py", *flags],
                cwd=checkout,
                env={**os.environ, **alone},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _wait(self) -> None:
        """Until it says that it has started, and has loaded its first model: asked before, it may load two at once."""
        deadline = time.monotonic() + SECONDS_TO_BOOT
        while "Startup time" not in self.log.read_text("utf-8", "replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"the webui did not start:\n{self.log.read_text('utf-8', 'replace')[-4000:]}")
            time.sleep(0.3)
        self.get("probe/weights")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str, **query: object) -> dict:
        return self._ask(urllib.request.Request(f"{self._url(path)}?{urllib.parse.urlencode(query)}"))

    def post(self, path: str, **body: object) -> dict:
        request = urllib.request.Request(self._url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
        return self._ask(request)

    def draw(self) -> tuple[bytes, str]:
        """(the picture's pixels, what its infotext says) with the chosen model."""
        image, infotext = self.paint("a dog", steps=3)
        return _pixels(image), infotext

    def paint(self, prompt: str, steps: int) -> tuple[bytes, str]:
        """(a PNG, its infotext) with the chosen model."""
        asked = {"prompt": prompt, "seed": 1, "steps": steps, "cfg_scale": 4, "width": 64, "height": 64}
        found = self.post("sdapi/v1/txt2img", sampler_name="Euler", **asked)
        return base64.b64decode(found["images"][0]), json.loads(found["info"])["infotexts"][0]

    def choose(self, name: str) -> str:
        """Load a model of the folder; its title, which has its hash only then."""
        self.post("sdapi/v1/refresh-checkpoints")
        self.post("sdapi/v1/options", sd_model_checkpoint=self._titles()[name])
        return self._titles()[name]

    def _titles(self) -> dict[str, str]:
        return {model["model_name"]: model["title"] for model in self.get("sdapi/v1/sd-models")}

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def _ask(self, request: urllib.request.Request) -> dict:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=200) as answer:
            return json.loads(answer.read())


def _pixels(png: bytes) -> bytes:
    """The data of a PNG without its texts, which name the model."""
    data, place = b"", 8
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        data += png[place + 8 : place + 8 + size] if png[place + 4 : place + 8] == b"IDAT" else b""
        place += size + 12
    return data


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def webui_python() -> str:
    return os.environ.get("CHILLY_WEBUI_PYTHON", sys.executable)
