"""`./chilly grid`: every cell is the picture of its own recipe, each merge is made once, mistakes are said before the first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoints import model, write_models
from pictures import family_pair, picture
from PIL import Image

from lib_chilly.contact_sheet import size_of
from lib_chilly.errors import Interrupted, RecipeError
from lib_chilly.grid_sheet import GridSheet
from lib_chilly.host.base import GenParams, Progress
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.cell_recipe import LORA, METHOD, RECIPE, SEED, VALUE, WEIGHTS, Coordinate
from lib_chilly.ui.grid_axes import read_axis
from lib_chilly.ui.picture_cache import weights_key

Run = Callable[..., tuple[int, str, str]]
MIX = "M = weighted_sum(a, b, alpha=0.3)"
PARAMS = GenParams("", steps=2, width=64, height=64)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"), a=model(1), b=model(2))


def colour_of(plan: Plan, prompt: str) -> tuple[int, int, int]:
    return tuple(hashlib.sha256(f"{weights_key(plan)} {prompt}".encode()).digest()[:3])  # type: ignore[return-value]


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Pictures of one colour for each merge and prompt; (merge, prompt) of those that were made, in their order."""
    made: list[tuple[str, str]] = []

    def preview(_: StandaloneHost, plan: Plan, params: GenParams, progress: Progress) -> SimpleNamespace:
        made.append((weights_key(plan), params.prompt))
        return SimpleNamespace(image=Image.new("RGB", (64, 64), colour_of(plan, params.prompt)), merge_seconds=0.1)

    monkeypatch.setattr(StandaloneHost, "preview", preview)
    monkeypatch.setattr(StandaloneHost, "estimate", lambda *_: (0.5, "about 1 s."))
    return made


def sheet_of(models: Path, x: str, y: str | None = None, prompts: tuple[str, ...] = ("p",), text: str = MIX) -> GridSheet:
    axes = read_axis(x), read_axis(y) if y else None
    return GridSheet(StandaloneHost([models]), ModelLibrary([models]), text, *axes, prompts, PARAMS)


def cells_of(image: Image.Image, rows: int, columns: int, top: int = 106) -> list[list[tuple[int, ...]]]:
    """The colours in the middle of the cells of a sheet's first section."""
    pixels = np.asarray(image)
    return [[tuple(pixels[top + 64 + row * 134, 216 + 64 + column * 134]) for column in range(columns)] for row in range(rows)]


def test_every_cell_is_of_its_own_recipe_and_each_merge_is_made_once(models, painted):
    sheet = sheet_of(models, "alpha = 0.2, 0.6, 0.2", "M.alpha.M00 = 0.2, 0.9", ("p", "q"))
    order = sheet.plan(lambda: False)
    image = sheet.paint(lambda: None, lambda: False)
    recipes = [[f"weighted_sum(a, b, alpha={{*: {alpha}, M00: {lane}}})" for alpha in (0.2, 0.6, 0.2)] for lane in (0.2, 0.9)]
    library = ModelLibrary([models])
    expected = [[colour_of(make_plan(parse_recipe(recipe), library), "p") for recipe in row] for row in recipes]
    assert cells_of(image, 2, 3) == expected and image.size == size_of(sheet.sections)
    assert len(order.merges) == 4 and len(painted) == len(set(painted)) == 8 and sheet.pictures == 12
    assert [merge for merge, _ in painted[::2]] == [merge for merge, _ in painted[1::2]], "all prompts of a merge, then the next"


def test_without_a_second_axis_the_rows_are_the_prompts(models, painted):
    sheet = sheet_of(models, "alpha = 0.2, 0.6", None, ("p", "q"))
    assert len(sheet.plan(lambda: False).merges) == 2
    library = ModelLibrary([models])
    plans = [make_plan(parse_recipe(MIX.replace("0.3", alpha)), library) for alpha in ("0.2", "0.6")]
    assert cells_of(sheet.paint(lambda: None, lambda: False), 2, 2) == [
        [colour_of(plan, prompt) for plan in plans] for prompt in ("p", "q")
    ]


def test_cell_is_the_picture_of_its_recipe_by_itself(tmp_path_factory, tmp_path, run: Run):
    pytest.importorskip("diffusers")
    folder = family_pair(tmp_path_factory)
    more = ("--models", folder, "--size", "64x64", "--steps", "2", "--prompt", "", "-o", tmp_path / "sheet.png")
    code, out, err = run("grid", MIX, "--x", "alpha = 0.2, 1", "--y", "M.alpha.M00 = 0.9, 0.1", *more)
    assert (code, err) == (0, "") and f"painted '{tmp_path / 'sheet.png'}'" in out and "4 cells of 4 merges" in out
    host = StandaloneHost([folder])
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    for row, lane in enumerate((0.9, 0.1)):
        for column, alpha in enumerate((0.2, 1)):
            cell = pixels[106 + 134 * row :, 216 + 134 * column :][:128:2, :128:2]
            recipe = f"weighted_sum(a, b, alpha={{*: {alpha}, M00: {lane}}})"
            alone = picture(host, recipe, "", steps=2, sampler="Euler a", cfg=7.0)
            assert np.array_equal(cell, alone)


def test_plan_says_what_it_takes_and_paints_nothing(models, painted, run: Run, tmp_path: Path):
    common = (
        "grid",
        MIX,
        "--models",
        models,
        "--x",
        "M.alpha.M00 = 0-1 [5]",
        "--y",
        "ratio = 1",
        "--prompt",
        "p",
        "--size",
        "64x64",
    )
    text = ("grid", f"ratio = 0.5\n{MIX}", *common[2:], "--plan")
    code, out, err = run(*text)
    assert (code, err, painted) == (0, "", [])
    assert out.splitlines()[0] == "5 cells of 5 merges, 5 pictures."
    assert out.splitlines()[-5:] == [
        f"{place}. M.alpha.M00 = {value}, ratio = 1" for place, value in enumerate((0, 0.25, 0.5, 0.75, 1), 1)
    ]
    facts = json.loads(run(*text, "--json")[1])
    assert facts["merges"] == facts["pictures"] == 5 and facts["moved_bytes"] == facts["given_bytes"] > 0
    assert len(facts["order"]) == 5 and facts["picture_seconds"] == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--x": "alpha"}, "'alpha' is no axis. Write what is set and its values, as in 'alpha = 0-1 [5]'."),
        ({"--x": "alpha = 0.5, ties"}, "'ties' is no value"),
        ({"--x": "nothing = 1"}, "there is no 'nothing' to set"),
        ({"--x": "B = b, missing"}, "there is no model 'missing'"),
        ({"--x": "seed = x"}, "'x' is no seed. It is a whole number."),
        ({"--x": "alpha = 0-1 [150]"}, "16383 on a side is the most. Take fewer values"),
        ({"--size": "100x64"}, "the width is 100; it is a multiple of 8"),
        ({"--sampler": "Eule"}, "there is no sampler 'Eule' here."),
        ({"-o": "sheet.gif"}, "'sheet.gif' is no name of a sheet: it ends with .png or .webp."),
        ({"-o": "missing/sheet.png"}, "there is no folder 'missing'."),
        ({"-o": __file__}, "is no name of a sheet"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_mistake_is_one_sentence_before_anything_is_painted(models, painted, run: Run, tmp_path, monkeypatch, change, said):
    monkeypatch.chdir(tmp_path)
    given = {"--x": "alpha = 0, 1", "--prompt": "p", "--size": "64x64", "-o": "sheet.png", "--models": models} | change
    code, _, err = run("grid", MIX, *(each for pair in given.items() for each in pair))
    assert code == 2 and said in err and err.count("\n") <= 3 and painted == [] and not list(tmp_path.glob("*.png"))


def test_sheet_that_is_there_is_replaced_only_when_that_is_said_and_stopping_leaves_it(models, painted, run: Run, tmp_path):
    output = tmp_path / "sheet.webp"
    output.write_bytes(b"old")
    command = ("grid", MIX, "--models", models, "--x", "alpha = 0, 1", "--prompt", "p", "--size", "64x64", "-o", output)
    code, _, err = run(*command)
    assert code == 2 and "exists already. Choose another name, or add --overwrite." in err and painted == []
    sheet = sheet_of(models, "alpha = 0, 1")
    with pytest.raises(Interrupted):
        sheet.plan(lambda: True)
    sheet.plan(lambda: False)
    with pytest.raises(Interrupted):
        sheet.paint(lambda: None, lambda: len(painted) == 1)
    assert len(painted) == 1
    assert output.read_bytes() == b"old" and run(*command, "--overwrite")[0] == 0
    with Image.open(output) as image:
        assert image.format == "WEBP"
    assert {path.name for path in tmp_path.iterdir()} <= {"sheet.webp", "home"}


# ---- axes ----


@pytest.mark.parametrize(
    ("text", "labels", "coordinates"),
    [
        ("alpha = 0-1 [3]", ["alpha = 0", "alpha = 0.5", "alpha = 1"], [(VALUE, value, "alpha") for value in ("0", "0.5", "1")]),
        (
            "preset=GRAD_V,FLAT_25",
            ["preset: GRAD_V", "preset: FLAT_25"],
            [(VALUE, name, WEIGHTS) for name in ("GRAD_V", "FLAT_25")],
        ),
        ("weights = OUT*: 1; M00: 0.5, attn2: 1", ["block weights: OUT*: 1", "block weights: M00: 0.5, attn2: 1"], None),
        ("B = NED.safetensors, x", ["model B: NED", "model B: x"], [(VALUE, name, "B") for name in ("NED.safetensors", "x")]),
        ("model A = x", ["model A: x"], [(VALUE, "x", "A")]),
        ("seed = 1-3", ["seed: 1", "seed: 2", "seed: 3"], [(SEED, seed, WEIGHTS) for seed in (1, 2, 3)]),
        ("lora = 0.5", ["LoRA strength: 0.5"], [(VALUE, "0.5", LORA)]),
        ("method = mean", ["method: mean"], [(VALUE, "mean", METHOD)]),
        (
            "recipe = X = mean(a, b); Y = a",
            ["recipe: X = mean(a, b)", "recipe: Y = a"],
            [(RECIPE, "X = mean(a, b)", ""), (RECIPE, "Y = a", "")],
        ),
        ("X.alpha.IN04 = 0, 1; ratio = 2", ["X.alpha.IN04 = 0", "X.alpha.IN04 = 1", "ratio = 2"], None),
    ],
)
def test_axis_is_read_as_in_the_webui(text, labels, coordinates):
    axis = read_axis(text)
    assert list(axis.labels) == labels
    if coordinates:
        assert list(axis.coordinates) == [Coordinate(*each) for each in coordinates]


def test_axis_without_a_name_is_refused():
    with pytest.raises(RecipeError, match="is no axis"):
        read_axis("= 1, 2")
