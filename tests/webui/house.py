"""A webui in which the tests look and act, and the double of one; the real ones are in webuis.py."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from gradios import gradio_python
from safetensors.torch import load_file, save_file

from lib_chilly.synth import synthesise

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
VAE, UNET = "first_stage_model.", "model.diffusion_model."


class House:
    """A webui in which functions of inside/ can be called.

    Attributes:
        models: where its checkpoints lie: A, B, and A without its VAE as `noVae`; `other.safetensors` is a VAE unlike both;
            `grain` is a LoRA for them, in a folder of its own.
        first: a picture of a merge that was asked for while the first model was being loaded, and whether it was.
        url: of its server.
    """

    models: Path
    log: Path
    first: dict
    url: str
    process: subprocess.Popen

    def call(self, function: str, /, *args: object, **given: object) -> Any:
        """What a function of inside/ answers."""
        reply = self._ask_inside({"name": function, "args": args, "given": given})
        assert "answer" in reply, reply["failed"]
        return reply["answer"]

    def said(self) -> str:
        """What stands in its log."""
        return self.log.read_text("utf-8", "replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _begin(self) -> None:
        """What is done as soon as it has started."""
        self.first = self.call("first")

    @contextlib.contextmanager
    def _closed_where_it_fails(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _ask_inside(self, asked: dict) -> dict:
        raise NotImplementedError

    def _add_models(self, vaes: Path, loras: Path) -> None:
        """The models that are made out of A and B, and a LoRA for them."""
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
        loras.mkdir(parents=True, exist_ok=True)
        save_file(_lora(load_file(self.models / "A.safetensors")), loras / "grain.safetensors")


def _lora(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One of rank 2 for every attention of a U-Net."""
    draws = torch.Generator().manual_seed(7)
    found = {}
    for key, tensor in tensors.items():
        if key.startswith(UNET) and key.endswith(("to_q.weight", "to_v.weight")):
            layer = "lora_unet_" + key.removeprefix(UNET).removesuffix(".weight").replace(".", "_")
            found[f"{layer}.lora_up.weight"] = torch.randn(len(tensor), 2, generator=draws) * 0.2
            found[f"{layer}.lora_down.weight"] = torch.randn(2, tensor.shape[1], generator=draws) * 0.2
    return found


class Double(House):
    """The stand-in, with made-up models of few numbers: a process of its own, as it has a package called `modules`."""

    GRADIO, LIKE = "3.41.2", ()

    def __init__(self, folder: Path):
        self.models = folder / "checkpoints"
        self.models.mkdir(parents=True)
        for seed, name in enumerate("AB"):
            synthesise("sd1", "tiny", self.models / f"{name}.safetensors", seed=seed)
        synthesise("sdxl", "tiny", self.models / "XL.safetensors", seed=3)
        self._add_models(folder / "models" / "VAE", folder / "Lora")
        env = {name: value for name, value in os.environ.items() if name not in ("CHILLY_HOME", "PYTHONPATH")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [gradio_python(self.GRADIO), str(HERE / "double" / "run.py"), str(ROOT), *self.LIKE]
        with (folder / "double.log").open("wb") as log:
            self.process = subprocess.Popen(command, **pipes, stderr=log, env={**env, "CHILLY_DOUBLE": str(folder)}, cwd=folder)
        self.log = folder / "double.log"
        with self._closed_where_it_fails():
            self.start = self._read()["answer"]
            self._begin()
            self.url = f"http://127.0.0.1:{self.call('serve')}"

    def _ask_inside(self, asked: dict) -> dict:
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        assert line, f"the double has ended:\n{self.said()[-4000:]}"
        return json.loads(line)


class ForgeDouble(Double):
    """The stand-in as a Forge, on its gradio."""

    GRADIO, LIKE = "4.40.0", ("forge",)

    def _begin(self) -> None:
        """Nothing is asked for: it loads no model before a picture."""
