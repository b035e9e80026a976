"""The real webui that CHILLY_WEBUI names, and a Forge that CHILLY_FORGE names, with members of the tiny family."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from house import HERE, ROOT, House

from lib_chilly.family import MEMBERS, build_family, copy_lora

NO_WEBUI = "boots the webui: set CHILLY_WEBUI to a checkout of it, CHILLY_WEBUI_PYTHON to a Python with its packages"
NO_FORGE = "boots a Forge: set CHILLY_FORGE and CHILLY_FORGE_PYTHON as CHILLY_WEBUI and CHILLY_WEBUI_PYTHON are for the webui"
SECONDS_TO_BOOT, BOOTS = 240, 3
PORT_IS_TAKEN = ("Cannot find empty port", "address already in use")
PAIR = {"v1-5-pruned-emaonly": "A", "chilloutmix": "B"}
"""Members of the tiny family, and what they are called in the tests."""


class Webui(House):
    """A webui with its data below `folder`, on a free port of this machine alone; its models lie in `folder/models`.

    Args:
        checkout: of the webui.
        python: an interpreter with its packages.
        flags: for its command line.
        build: makes its models in a folder; left out, those of the tests.
        scripts: of further extensions, by their names.
        given: for `boot`.
    """

    FLAGS = ("--do-not-download-clip",)

    def __init__(
        self,
        checkout: Path,
        python: str,
        folder: Path,
        *flags: str,
        build: Callable[[Path], None] | None = None,
        scripts: Mapping[str, str] = MappingProxyType({}),
        **given: Any,
    ):
        self.models, self.log, self.data = folder / "models", folder / "webui.log", folder / "data"
        self.models.mkdir(parents=True)
        (build or self._build)(self.models)
        probe = (HERE / "probe.py").read_text("utf-8").replace("@TESTS@", str(HERE))
        for name, text in {**scripts, "probe": probe}.items():
            script = self.data / "extensions" / name / "scripts" / f"{name}.py"
            script.parent.mkdir(parents=True)
            script.write_text(text, "utf-8")
        (self.data / "extensions" / "chillymerge").symlink_to(ROOT)
        (self.data / "config.json").write_text(json.dumps({"live_previews_enable": False}))
        (self.data / "styles.csv").write_text('name,prompt,negative_prompt\noil,"oil painting of {prompt}",""\n')
        self._command, self._checkout = [python, "launch.py"], checkout
        self.boot(*flags, **given)

    def boot(self, *flags: str, is_ours_there: bool = True, is_half: bool = False, **settings: object) -> None:
        """Start it, where it was closed also again.

        Args:
            is_ours_there: whether our extension is enabled.
            is_half: whether it computes in half precision, without autocast, which needs a graphics card.
            settings: that its config.json has then.
        """
        config = self.data / "config.json"
        disabled = [] if is_ours_there else ["chillymerge"]
        config.write_text(json.dumps({**json.loads(config.read_text()), **settings, "disabled_extensions": disabled}))
        own = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--use-cpu", "all", "--api", *self.FLAGS]
        own += ["--no-download-sd-model", "--disable-console-progressbars", "--server-name", "127.0.0.1"]
        own += ["--ckpt-dir", str(self.models), "--data-dir", str(self.data)]
        own += ["--precision", "half"] if is_half else ["--no-half"]
        for _ in range(BOOTS):
            if self._boots([*self._command, *own, *flags], is_ours_there):
                return
        raise AssertionError(f"the webui did not start:\n{self.said()[-4000:]}")

    def reload(self) -> None:
        """Its button "Reload UI": the page and all scripts anew, the models and what was imported as they are."""
        starts = self.starts()
        self.call("restart")
        assert self._has_started(starts), self.said()[-4000:]

    def _build(self, models: Path) -> None:
        members = (replace(member, name=PAIR[member.name]) for member in MEMBERS if member.name in PAIR)
        list(build_family(models, tuple(members)))
        self._add_models(self.data / "models" / "VAE", self.data / "models" / "Lora")
        copy_lora(self.data / "models" / "Lora")

    def _ask_inside(self, asked: dict) -> dict:
        return self.post("probe/inside", **asked)

    def _boots(self, command: list[str], is_ours_there: bool) -> bool:
        """Whether it started, and has done `_begin`; not where another process has taken the port meanwhile."""
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        alone = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "COMMANDLINE_ARGS": ""}
        alone["OMP_NUM_THREADS"] = "1"  # models as small as these are slower with threads that wait for each other
        env = {name: value for name, value in os.environ.items() if name not in ("CHILLY_HOME", "PYTHONPATH")}
        given = {"cwd": self._checkout, "env": {**env, **alone}, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--port", str(self.port)], **given, stdout=log)
        with self._closed_where_it_fails():
            if not self._has_started():
                return False
            if is_ours_there:
                self._begin()
        return True

    def _has_started(self, starts: int = 0) -> bool:
        """Wait until it may be asked, after so many starts before; whether it ever may. Before, a request would end it: it still
        adds middleware."""
        deadline = time.monotonic() + SECONDS_TO_BOOT
        while self.starts() == starts or not self._listens():
            if self.process.poll() is not None and any(words in self.said() for words in PORT_IS_TAKEN):
                return False
            assert self.process.poll() is None and time.monotonic() < deadline, f"no start:\n{self.said()[-4000:]}"
            time.sleep(0.3)
        return True

    def _listens(self) -> bool:
        """Without a page it says that it has started a moment before."""
        with socket.socket() as visitor:
            return visitor.connect_ex(("127.0.0.1", self.port)) == 0

    def starts(self) -> int:
        """How often it has drawn its page."""
        return self.said().count("Startup time")

    def get(self, path: str, **query: object) -> dict:
        return self._ask(urllib.request.Request(f"{self._url(path)}?{urllib.parse.urlencode(query)}"))

    def post(self, path: str, **body: object) -> dict:
        request = urllib.request.Request(self._url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
        return self._ask(request)

    def draw(self) -> tuple[bytes, str]:
        """(the picture's pixels, what its infotext says) with the chosen model."""
        image, infotext = self.paint("a dog", steps=3)
        return pixels(image), infotext

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
        return f"{self.url}/{path}"

    def _ask(self, request: urllib.request.Request) -> dict:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as answer:
            return json.loads(answer.read())


class Forge(Webui):
    """A Forge, which makes no pictures of merges, nor of models as small as these. Its scripts lie outside of its data."""

    FLAGS = ("--always-cpu", "--gradio-allowed-path", ".")

    def _begin(self) -> None:
        """Nothing is asked for: it loads no model before a picture."""


def pixels(png: bytes) -> bytes:
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


def webui_python(name: str = "CHILLY_WEBUI_PYTHON") -> str:
    return os.environ.get(name, sys.executable)
