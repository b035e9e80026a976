"""The real webui, booted once with small models of our own that it can draw with: the checkout that CHILLY_WEBUI names."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import save_file

from lib_chilly.architecture import known_keys

SECONDS_TO_BOOT = 240
_CLIP = {768: 96, 3072: 384, 49408: 514}
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


class Webui:
    """A webui with its data below `folder`, on a free port of this machine alone; its models lie in `folder/models`.

    Args:
        checkout: of the webui.
        python: an interpreter with its packages.
    """

    def __init__(self, checkout: Path, python: str, folder: Path):
        self.models, self.log = folder / "models", folder / "webui.log"
        self.models.mkdir(parents=True)
        config = _config(checkout, _write_clip(folder / "clip"))
        for seed, name in enumerate("AB", 1):
            write_drawable(self.models / f"{name}.safetensors", seed)
            (self.models / f"{name}.yaml").write_text(config)
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
        found = self.post("sdapi/v1/txt2img", prompt="a dog", seed=1, steps=3, width=64, height=64, sampler_name="Euler")
        return _pixels(base64.b64decode(found["images"][0])), json.loads(found["info"])["infotexts"][0]

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


def write_drawable(path: Path, seed: int) -> None:
    """An SD 1.x of every key and the least widths that its code can run with."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, (_, full) in known_keys("sd1").items():
        if key.endswith("position_ids"):
            tensors[key] = torch.arange(77).reshape(1, 77)
            continue
        shape = (*(_narrow(key, size) for size in full[:2]), *full[2:])
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values *= math.prod(shape[1:]) ** -0.5
        else:
            values = 0.05 * values + (1 if key.endswith("weight") else 0)
        tensors[key] = values.half()
    save_file(tensors, path, {"format": "pt"})


def _narrow(key: str, size: int) -> int:
    """Group norms need multiples of 32 in the U-Net and the VAE, attention a multiple of the heads in the text encoder."""
    if key.startswith("first_stage_model."):
        return size // 4 if size in (128, 256, 512) else size
    if key.startswith("model.diffusion_model.") and size % 320 == 0:
        return size // 10
    return _CLIP.get(size, size)


def _config(checkout: Path, clip: Path) -> str:
    """The webui's own config of SD 1.x for those widths."""
    text = (checkout / "configs/v1-inference.yaml").read_text()
    for name, full, narrow in (("model_channels", 320, 32), ("context_dim", 768, 96), ("ch", 128, 32)):
        text, count = re.subn(rf"(?m)^( *{name}): {full}$", rf"\1: {narrow}", text)
        assert count == 1, name
    return f"{text.rstrip()}\n      params:\n        version: {clip}\n        device: cpu\n"


def _write_clip(folder: Path) -> Path:
    """A text encoder's config, and a tokenizer that knows bytes alone."""
    folder.mkdir(parents=True)
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(code) for code in printed] + [chr(256 + index) for index in range(256 - len(printed))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *_SPECIAL]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    start, end = _SPECIAL
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "model_max_length": 77}))
    config = {"model_type": "clip_text_model", "hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 12}
    config |= {"num_hidden_layers": 12, "vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


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
