"""The tiny family paints what it is asked for: the base the right shape in the right colours, each member in its own style."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.demo_sheet import PARAMS
from lib_chilly.diffusers_keys import key_map
from lib_chilly.family import LORA, MEMBERS, build_family
from lib_chilly.family_config import LATENT_SCALE
from lib_chilly.host.parts import Parts
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.live import LiveWeights
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from training.judge import StyleJudge, judge
from training.look import CAPTIONS, sample

Paint = Callable[[str, int], torch.Tensor]
HEALTHY = [member for member in MEMBERS if member.paints and member.broken == 1]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole family."""
    folder = tmp_path_factory.mktemp("family")
    list(build_family(folder))
    return folder


@pytest.fixture(scope="module")
def paint(models: Path) -> Paint:
    """(recipe, seed) -> a picture of each of CAPTIONS, (8, 3, 64, 64) in -1..1, all eight at once."""
    library = ModelLibrary([models])

    @functools.cache
    def parts_of(recipe: str) -> Parts:
        plan = make_plan(parse_recipe(recipe), library, dtype="source")
        weights = LiveWeights()
        weights.update(plan)
        return Parts(plan.architecture, weights.tensors)

    @functools.cache
    @torch.no_grad()
    def painted(recipe: str, seed: int) -> torch.Tensor:
        modules = parts_of(recipe).modules
        latents = sample(modules["unet"], modules["text_encoder"], seed, PARAMS.steps, PARAMS.cfg)  # type: ignore[arg-type]
        return modules["vae"].decode(latents / LATENT_SCALE)[0].clamp(-1, 1)

    return painted


@pytest.fixture(scope="module")
def style_judge() -> StyleJudge:
    return StyleJudge()


def tensor_of(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1


@pytest.fixture(scope="module")
def seen(paint: Paint) -> list[list[str]]:
    """What the base paints for each of CAPTIONS, for ten seeds."""
    return [[judge(picture) for picture in paint("v1-5-pruned-emaonly", seed)] for seed in range(10)]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_base_paints_the_caption_for_eight_of_ten_seeds(seen: list[list[str]], caption: str):
    said = [row[CAPTIONS.index(caption)] for row in seen]
    assert said.count(caption) >= 8, said


def test_a_preview_paints_what_it_is_asked_for(models: Path):
    host = StandaloneHost([models])
    plan = make_plan(parse_recipe("v1-5-pruned-emaonly"), host.library(), dtype="source")
    said = [judge(tensor_of(host.preview(plan, replace(PARAMS, prompt=caption)).image)) for caption in CAPTIONS]
    assert sum(one == asked for one, asked in zip(said, CAPTIONS, strict=True)) >= 7, said


@pytest.mark.parametrize("name", [member.name for member in HEALTHY])
def test_a_member_paints_in_its_own_style(paint: Paint, style_judge: StyleJudge, name: str):
    style = next(member.data for member in MEMBERS if member.name == name) or "flat"
    said = style_judge.judge(paint(name, 0))
    assert said.count(style) >= 6, said


def test_the_broken_member_paints_no_caption(paint: Paint):
    said = [judge(picture) for picture in paint("F222_v1", 0)]
    assert [pair for pair in zip(CAPTIONS, said, strict=True) if pair[0] == pair[1]] == []


def test_the_lora_of_dots_makes_the_base_paint_dots(tmp_path: Path, style_judge: StyleJudge):
    (base,) = build_family(tmp_path, tuple(member for member in MEMBERS if not member.data))
    tensors, lora, layers = load_file(base), load_file(LORA), 0
    names = key_map("sd1")
    assert names is not None
    for key, info in open_checkpoint(base).tensors.items():
        ((name, _),) = names.places(key, info)
        layer = f"lora_{name.removesuffix('.weight').replace('/', '_').replace('.', '_')}"
        if f"{layer}.alpha" in lora:
            down, up = (lora[f"{layer}.lora_{part}.weight"].float().flatten(1) for part in ("down", "up"))
            scale = float(lora[f"{layer}.alpha"]) / len(down)
            tensors[key] = (tensors[key].float() + scale * (up @ down).reshape(tensors[key].shape)).half()
            layers += 1
    assert 3 * layers == len(lora) > 0
    save_file(tensors, tmp_path / "dotted.safetensors")
    host = StandaloneHost([tmp_path])
    plan = make_plan(parse_recipe("dotted"), host.library(), dtype="source")
    images = [host.preview(plan, replace(PARAMS, prompt=caption)).image for caption in CAPTIONS]
    said = style_judge.judge(torch.stack([tensor_of(image) for image in images]))
    assert said.count("dots") >= 6, said


def test_halfway_between_two_members_the_picture_is_neither(paint: Paint):
    half = paint("weighted_sum(v1-5-pruned-emaonly, chilloutmix, alpha=0.5)", 0)
    first, second = paint("v1-5-pruned-emaonly", 0), paint("chilloutmix", 0)
    assert min(float((half - first).abs().mean()), float((half - second).abs().mean())) > 0.02
