"""The tiny family paints what it is asked for: the base the right shape in the right colours, each member in its own style."""

from __future__ import annotations

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
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from training.judge import StyleJudge, judge
from training.look import CAPTIONS

Paint = Callable[[str, str, int], torch.Tensor]
HEALTHY = [member for member in MEMBERS if member.paints and member.broken == 1]


@pytest.fixture(scope="module")
def paint(tmp_path_factory: pytest.TempPathFactory) -> Paint:
    """(recipe, prompt, seed) -> the preview's picture, (3, 64, 64) in -1..1."""
    folder = tmp_path_factory.mktemp("family")
    list(build_family(folder))
    host = StandaloneHost([folder])

    def painted(recipe: str, prompt: str, seed: int) -> torch.Tensor:
        plan = make_plan(parse_recipe(recipe), host.library(), dtype="source")
        return tensor_of(host.preview(plan, replace(PARAMS, prompt=prompt, seed=seed, steps=20)).image)

    return painted


@pytest.fixture(scope="module")
def style_judge() -> StyleJudge:
    return StyleJudge()


def tensor_of(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1


@pytest.mark.parametrize("caption", CAPTIONS)
def test_base_paints_the_caption_for_eight_of_ten_seeds(paint: Paint, caption: str):
    said = [judge(paint("v1-5-pruned-emaonly", caption, seed)) for seed in range(10)]
    assert said.count(caption) >= 8, said


@pytest.mark.parametrize("name", [member.name for member in HEALTHY])
def test_a_member_paints_in_its_own_style(paint: Paint, style_judge: StyleJudge, name: str):
    style = next(member.data for member in MEMBERS if member.name == name) or "flat"
    said = style_judge.judge(torch.stack([paint(name, caption, 0) for caption in CAPTIONS]))
    assert said.count(style) >= 6, said


def test_the_broken_member_paints_no_caption(paint: Paint):
    said = [judge(paint("F222_v1", caption, 0)) for caption in CAPTIONS]
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
    painted = [host.preview(plan, replace(PARAMS, prompt=caption, steps=20)).image for caption in CAPTIONS]
    said = style_judge.judge(torch.stack([tensor_of(image) for image in painted]))
    assert said.count("dots") >= 6, said


def test_halfway_between_two_members_the_picture_is_neither(paint: Paint):
    first, half, second = (
        paint(f"weighted_sum(v1-5-pruned-emaonly, chilloutmix, alpha={alpha})", CAPTIONS[0], 1) for alpha in ("0", "0.5", "1")
    )
    assert min(float((half - first).abs().mean()), float((half - second).abs().mean())) > 0.02
