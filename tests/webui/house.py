"""The two webuis of the tests: the double, and the real one that CHILLY_WEBUI names, with members of the tiny family."""

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
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gradios import gradio_python
from safetensors.torch import load_file, save_file

from lib_chilly.family import MEMBERS, build_family, copy_lora
from lib_chilly.synth import synthesise

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
SECONDS_TO_BOOT = 240
VAE = "first_stage_model."
PAIR = {"v1-5-pruned-emaonly": "A", "chilloutmix": "B"}
"""Members of the tiny family, and what they are called in the tests."""


class House:
    """A webui in which functions of inside.py can be called.

    Attributes:
        models: where its checkpoints lie: A, B, and A without its VAE as `noVae`; `other.safetensors` is a VAE unlike both.
        first: a picture of a merge that was asked for while the first model was being loaded.
        url: of its server.
    """

    models: Path
    first: dict
    url: str

    def call(self, function: str, /, *args: object, **given: object) -> Any:
        """What a function of inside.py answers."""
        reply = self._ask_inside({"name": function, "args": args, "given": given})
        assert "answer" in reply, reply["failed"]
        return reply["answer"]

    def _ask_inside(self, asked: dict) -> dict:
        raise NotImplementedError

    def _add_models(self, vaes: Path) -> None:
        """The models that are made out of A and B."""
        bare = {key: tensor for key, tensor in load_file(self.models / "A.safetensors").items() if not key.startswith(VAE)}
        save_file(bare, self.models / "noVae.safetensors")
        if (self.models / "A.yaml").exists():
            shutil.copy(self.models / "A.yaml", self.models / "noVae.yaml")
        vae = {
            key.removeprefix(VAE): tensor * 0.9
            for key, tensor in load_file(self.models / "B.safetensors").items()
            if key.startswith(VAE)
        }
        vaes.mkdir(parents=True)
        save_file(vae, vaes / "other.safetensors")


class Double(House):
    """The stand-in, with made-up models of few numbers: a process of its own, as it has a package called `modules`."""

    def __init__(self, folder: Path):
        self.models = folder / "checkpoints"
        self.models.mkdir(parents=True)
        for seed, name in enumerate("AB"):
            synthesise("sd1", "tiny", self.models / f"{name}.safetensors", seed=seed)
        synthesise("sdxl", "tiny", self.models / "XL.safetensors", seed=3)
        self._add_models(folder / "models" / "VAE")
        env = {name: value for name, value in os.environ.items() if name not in ("CHILLY_HOME", "PYTHONPATH")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [gradio_python("3.41.2"), str(HERE / "double" / "run.py"), str(ROOT)]
        with (folder / "double.log").open("wb") as log:
            self.process = subprocess.Popen(command, **pipes, stderr=log, env={**env, "CHILLY_DOUBLE": str(folder)}, cwd=folder)
        self.log = folder / "double.log"
        self.start = self._read()["answer"]
        self.first = self.call("preview")
        self.url = f"http://127.0.0.1:{self.call('serve')}"

    def _ask_inside(self, asked: dict) -> dict:
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        assert line, f"the double has ended:\n{self.log.read_text('utf-8', 'replace')[-4000:]}"
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


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
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--use-cpu", "all", "--api"]
        own += ["--no-download-sd-model", "--do-not-download-clip", "--disable-console-progressbars"]
        own += ["--server-name", "127.0.0.1", "--port", str(port)]
        own += ["--precision", "half"] if is_half else ["--no-half"]
        own += ["--ckpt-dir", str(self.models), "--data-dir", str(self.data)]
        alone = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "COMMANDLINE_ARGS": ""}
        alone["OMP_NUM_THREADS"] = "1"  # models as small as these are slower with threads that wait for each other
        env = {name: value for name, value in os.environ.items() if name not in ("CHILLY_HOME", "PYTHONPATH")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._command, *own, *flags],
                cwd=self._checkout,
                env={**env, **alone},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()
        if is_ours_there:
            self.first = self.call("preview")  # the first model is being loaded still

    def _build(self, models: Path) -> None:
        members = (replace(member, name=PAIR[member.name]) for member in MEMBERS if member.name in PAIR)
        list(build_family(models, tuple(members)))
        self._add_models(self.data / "models" / "VAE")
        (self.data / "models" / "Lora").mkdir()
        copy_lora(self.data / "models" / "Lora")

    def _ask_inside(self, asked: dict) -> dict:
        return self.post("probe/inside", **asked)

    def reload(self) -> None:
        """Its button "Reload UI": the page and all scripts anew, the models and what was imported as they are."""
        starts = self._starts()
        self.call("restart")
        self._wait(starts)

    def _starts(self) -> int:
        return self.log.read_text("utf-8", "replace").count("Startup time")

    def _listens(self) -> bool:
        """Without a page it says that it has started a moment before."""
        with socket.socket() as visitor:
            return visitor.connect_ex(("127.0.0.1", int(self.url.rpartition(":")[2]))) == 0

    def _wait(self, starts: int = 0) -> None:
        """Until it may be asked. Before, a request would end it: it still adds middleware."""
        deadline = time.monotonic() + SECONDS_TO_BOOT
        while self._starts() == starts or not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"the webui did not start:\n{self.log.read_text('utf-8', 'replace')[-4000:]}")
            time.sleep(0.3)

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
        return f"{self.url}/{path}"

    def _ask(self, request: urllib.request.Request) -> dict:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as answer:
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
