"""Pictures in tests: a recipe's pixels, and models of which there are some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.picturable import picturable
from lib_chilly.family import MEMBERS, build_family
from lib_chilly.host.base import GenParams, GenResult, Progress
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe

SMALL = {"width": 64, "height": 64, "steps": 2, "sampler": "Euler", "cfg": 3.0}
"""Parameters of a picture that takes a moment."""
FAMILY_PAIR = {"a": "v1-5-pruned-emaonly", "b": "chilloutmix"}


def plan_on(host: StandaloneHost, recipe: str, **options: str) -> Plan:
    return make_plan(parse_recipe(recipe), host.library(), **options)


def picture(
    host: StandaloneHost, recipe: str, prompt: str = "a red circle on blue", progress: Progress | None = None, **given: object
) -> np.ndarray:
    """Pixels of a recipe's result; of a model by itself as it is stored.

    Args:
        given: parameters of the picture and save options.
    """
    return np.asarray(shown(host, recipe, prompt, progress, **given).image)


def shown(
    host: StandaloneHost, recipe: str, prompt: str = "a red circle on blue", progress: Progress | None = None, **given: object
) -> GenResult:
    fields = {name: value for name, value in given.items() if name in GenParams.__dataclass_fields__}
    options = {name: str(value) for name, value in given.items() if name not in fields}
    if "(" not in recipe and " " not in recipe:
        options.setdefault("dtype", "source")
    return host.preview(plan_on(host, recipe, **options), GenParams(prompt, **{**SMALL, **fields}), progress)  # type: ignore[arg-type]


def family_pair(session: pytest.TempPathFactory, architecture: str = "sd1") -> Path:
    """The folder that holds the models `a` and `b` of an architecture, made once a session."""
    folder = session.getbasetemp() / f"pictures-{architecture}"
    if not folder.exists():
        folder.mkdir()
        if architecture == "sd1":
            trained = {member.name: member for member in MEMBERS}
            list(build_family(folder, tuple(replace(trained[member], name=name) for name, member in FAMILY_PAIR.items())))
            return folder
        for seed, name in enumerate("ab"):
            picturable(folder / f"{name}.safetensors", architecture, seed)
    return folder
