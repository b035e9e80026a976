"""Every notation there and back: its own formula, worked out here in exact numbers, is what our recipe of it comes to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from checkpoints import model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.models import ModelLibrary
from lib_chilly.notations import read_recipe
from lib_chilly.notations.preset_files import read_preset_file, with_presets
from lib_chilly.plan import make_plan
from lib_chilly.recipe import Recipe
from lib_chilly.recipe_text import parse_recipe

Sum = dict[str, Fraction]
"""Model to its coefficient; no zeros."""

MODELS = "ABCD"
UNITS: dict[str, Sum] = {name: {name: Fraction(1)} for name in MODELS}
BLOCKS = ("BASE", *(f"IN{i:02}" for i in range(12)), "M00", *(f"OUT{i:02}" for i in range(12)))
LANES = {block: block for block in BLOCKS[1:]} | {"TIME": "IN00", "FINAL": "OUT11", "CLIP_L": "BASE", "VAE": "BASE"}
"""Lane of SD 1.x to the block that SuperMerger counts its keys to."""

MODES = ("Weight sum", "Add difference", "Triple sum", "sum Twice")
WEIGHTS = st.integers(-1500, 1500).map(lambda thousandths: Fraction(thousandths, 1000))
SHARES = st.integers(0, 1000).map(lambda thousandths: Fraction(thousandths, 1000))
LISTS = st.lists(WEIGHTS, min_size=26, max_size=26)
DISTINCT = st.permutations(MODELS)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ModelLibrary:
    folder = tmp_path_factory.mktemp("models")
    return ModelLibrary([write_models(folder, **{name: model(seed) for seed, name in enumerate(MODELS)})])


def added(*terms: tuple[Fraction | int, Sum]) -> Sum:
    found: Sum = {}
    for weight, summed in terms:
        for name, coefficient in summed.items():
            found[name] = found.get(name, Fraction(0)) + weight * coefficient
    return {name: coefficient for name, coefficient in found.items() if coefficient}


def by_lane(recipe: Recipe, library: ModelLibrary) -> dict[str, Sum]:
    """What the planner folds a recipe to; the recipe in the header that it would write reads back as the same one."""
    plan = make_plan(recipe, library)
    assert parse_recipe(json.loads(plan.metadata({})["sd_merge_recipe"])["recipe"]) == plan.recipe
    found = {row.lane: {plan.sources[number].name: part for number, part in row.exact.items()} for row in plan.rows.values()}
    assert len(found) == len(plan.rows)
    return found


def there_and_back(recipe: Recipe, library: ModelLibrary) -> dict[str, Sum]:
    """The coefficients of a recipe, whose canonical text is another way to write it."""
    again = parse_recipe(recipe.canonical())
    assert again == recipe == read_recipe(recipe.canonical()) and again.canonical() == recipe.canonical()
    found = by_lane(recipe, library)
    assert by_lane(again, library) == found and found.keys() == LANES.keys()
    return found


def everywhere(expected: Sum) -> dict[str, Sum]:
    return dict.fromkeys(LANES, expected)


def written(number: Fraction) -> str:
    return repr(float(number))


def listed(numbers: Sequence[Fraction]) -> str:
    return ",".join(map(written, numbers))


# ---- SuperMerger ----


def supermerger(mode: str, names: Sequence[str], alpha: Fraction, beta: Fraction) -> Sum:
    """A mode's formula in one block."""
    a, b, c = (UNITS[name] for name in names[:3])
    if mode == "Weight sum":
        return added((1 - alpha, a), (alpha, b))
    if mode == "Add difference":
        return added((1, a), (alpha, b), (-alpha, c))
    if mode == "Triple sum":
        return added((1 - alpha - beta, a), (alpha, b), (beta, c))
    return added((1 - beta, added((1 - alpha, a), (alpha, b))), (beta, c))


def in_blocks(mode: str, names: Sequence[str], alpha: Sequence[Fraction], beta: Sequence[Fraction]) -> dict[str, Sum]:
    places = {lane: BLOCKS.index(block) for lane, block in LANES.items()}
    return {lane: supermerger(mode, names, alpha[place], beta[place]) for lane, place in places.items()}


@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("mode", MODES)
@given(names=DISTINCT, alpha=LISTS, beta=LISTS, uses_blocks=st.booleans())
def test_supermerger_s_metadata_come_to_its_formula_in_every_block(library, mode, names, alpha, beta, uses_blocks):
    said = {"type": "sd-webui-supermerger", "mode": mode, "calcmode": "normal", "mbw": uses_blocks}
    said |= {f"model_{letter}": name for letter, name in zip("abc", names, strict=False)}
    said |= {"base_alpha": float(alpha[0]), "base_beta": float(beta[0])}
    said |= {"weights_alpha": [*map(float, alpha[1:])], "weights_beta": [*map(float, beta[1:])]}
    found = there_and_back(read_recipe(json.dumps({"sd_merge_recipe": said})), library)
    numbers = (alpha, beta) if uses_blocks else ([alpha[0]] * 26, [beta[0]] * 26)
    assert found == in_blocks(mode, names, *numbers)


FORMULAS = {
    "Weight sum": ("{a} x {rest} + {b} x {alpha}", "{a} x (1-alpha) + {b} x alpha ({list})"),
    "Add difference": ("{a} + ({b} -  {c}) x {alpha}", "{a} + ({b} - {c}) x alpha ({list})"),
    "Triple sum": ("{a} x {rest} + {b} x {alpha} + {c} x {beta}", "{a} x (1-alpha-beta) + {b} x alpha + {c} x beta ({list})"),
    "sum Twice": (
        "({a} x {rest} +{b} x {alpha}) x {other} + {c} x {beta}",
        "({a} x (1-alpha) + {b} x alpha)x(1-beta)+  {c} x beta ({list})",
    ),
}
"""How SuperMerger names a merge without and with block weights: the only place where its history has the models' names."""


@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("mode", MODES)
@given(names=DISTINCT, alpha=LISTS, beta=LISTS, uses_blocks=st.booleans())
def test_row_of_supermerger_s_history_comes_to_its_formula_in_every_block(library, mode, names, alpha, beta, uses_blocks):
    rest = 1 - alpha[0] - (beta[0] if mode == "Triple sum" else 0)
    numbers = {"alpha": written(alpha[0]), "beta": written(beta[0]), "rest": written(rest), "other": written(1 - beta[0])}
    models = dict(zip("abc", names, strict=False))
    formula = FORMULAS[mode][uses_blocks].format(**models, **numbers, list=listed(alpha[:3]))
    lists = [listed(alpha), listed(beta)] if uses_blocks else ["", ""]
    text = io.StringIO()
    stamp = [3, "2024.03.01 12.30.45", formula, *lists, "", "", ""]
    csv.writer(text).writerow([*stamp, written(alpha[0]), written(beta[0]), mode, uses_blocks])
    expected = (alpha, beta) if uses_blocks else ([alpha[0]] * 26, [beta[0]] * 26)
    assert there_and_back(read_recipe(text.getvalue()), library) == in_blocks(mode, names, *expected)


# ---- the webui ----


@settings(max_examples=20, deadline=None)
@given(names=DISTINCT, method=st.sampled_from(["No interpolation", "Weighted sum", "Add difference"]), multiplier=WEIGHTS)
def test_webui_s_metadata_come_to_its_formula(library, names, method, multiplier):
    said: dict[str, object] = {"type": "webui", "interp_method": method, "multiplier": float(multiplier), "save_as_half": True}
    roles = zip(("primary", "secondary", "tertiary"), names, strict=False)
    said |= {f"{role}_model_hash": str(index) * 64 for index, (role, _) in enumerate(roles)}
    models = {str(index) * 64: {"name": name} for index, name in enumerate(names[:3])}
    text = json.dumps({"sd_merge_recipe": json.dumps(said), "sd_merge_models": json.dumps(models)})
    a, b, c = (UNITS[name] for name in names[:3])
    expected = {
        "No interpolation": a,
        "Weighted sum": added((1 - multiplier, a), (multiplier, b)),
        "Add difference": added((1, a), (multiplier, b), (-multiplier, c)),
    }
    found = there_and_back(read_recipe(text), library)
    assert {lane: named(row) for lane, row in found.items()} == everywhere(expected[method])


def named(row: Mapping[str, Fraction]) -> Sum:
    """Without the hashes behind the names."""
    return {name.partition(" [")[0]: part for name, part in row.items()}


# ---- model-mixer ----


MIXED = st.tuples(st.sampled_from(["Sum", "Add-Diff"]), st.sampled_from(MODELS), WEIGHTS.filter(bool), st.none() | LISTS)


def mixed_sum(mixed: Sequence, lane: str) -> Sum:
    """What model-mixer makes of A in one lane: each model is mixed into what came before; D is the base model."""
    found = UNITS["A"]
    for mode, name, alpha, numbers in mixed:
        if numbers is not None:
            blocks = {**LANES, "TIME": "OUT11"}
            alpha = Fraction(0) if lane == "VAE" else numbers[BLOCKS.index(blocks[lane])]
        if mode == "Sum":
            found = added((1 - alpha, found), (alpha, UNITS[name]))
        else:
            found = added((1, found), (alpha, UNITS[name]), (-alpha, UNITS["D"]))
    return found


@settings(max_examples=12, deadline=None)
@given(mixed=st.lists(MIXED, min_size=1, max_size=4))
def test_model_mixer_s_infotext_comes_to_its_chain_in_every_block(library, mixed):
    fields = {"model a": "A", "base model": "D"}
    for letter, (mode, name, alpha, numbers) in zip("bcde", mixed, strict=False):
        fields |= {f"use model {letter}": "True", f"model {letter}": name, f"merge mode {letter}": mode}
        fields |= {f"alpha {letter}": written(alpha), f"calcmode {letter}": "Normal", f"mbw mode {letter}": str(bool(numbers))}
        if numbers:
            fields |= {f"mbw {letter}": '"BASE,INP*,MID,OUT*"', f"mbw weights {letter}": f'"{listed(numbers)}"'}
    text = "a dog\nSteps: 20, " + ", ".join(f"ModelMixer {name}: {value}" for name, value in fields.items())
    assert there_and_back(read_recipe(text), library) == {lane: mixed_sum(mixed, lane) for lane in LANES}


@settings(max_examples=12, deadline=None)
@given(mixed=st.lists(MIXED, min_size=1, max_size=4))
def test_model_mixer_s_metadata_come_to_its_chain_in_every_block(library, mixed):
    modes, names, alphas, lists = zip(*mixed, strict=True)
    said = {"type": "sd-webui-model-mixer", "model_a": "A", "base_model": "D", "mode": modes, "calcmode": ["Normal"] * len(modes)}
    said |= {f"model_{letter}": name for letter, name in zip("bcde", names, strict=False)}
    said |= {"alpha": [*map(float, alphas)], "use_mbws": [numbers is not None for numbers in lists]}
    said |= {"weights_alpha": [[*map(float, numbers or [0] * 26)] for numbers in lists]}
    said |= {"elemental": [""] * len(modes), "use_elemental": [False] * len(modes)}
    found = there_and_back(read_recipe(json.dumps({"sd_merge_recipe": said})), library)
    assert found == {lane: mixed_sum(mixed, lane) for lane in LANES}


# ---- sd-mecha ----


PLACE = st.integers(0, 99)
MECHA = st.tuples(st.sampled_from(["weighted_sum", "n_average", "add_difference", "fallback"]), PLACE, PLACE, PLACE, WEIGHTS)


@settings(max_examples=25, deadline=None)
@given(merges=st.lists(MECHA, min_size=1, max_size=8), alpha=WEIGHTS)
def test_chain_of_mecha_merges_comes_to_its_arithmetic(library, merges, alpha):
    lines = ["version 0.1.0", *(f'model "{name}" model_config="sd1-ldm" merge_space="weight"' for name in MODELS)]
    values: dict[int, Sum] = dict(enumerate(UNITS.values()))
    for method, *places, weight in [*merges, ("weighted_sum", 0, 1, 2, alpha)]:
        known = list(values)
        x, y, z = (known[place % len(known)] for place in places)
        end = len(lines) - 1
        if method == "add_difference":
            lines += [f'merge "subtract" &{y} &{z}', f'merge "add_difference" &{x} &{end} alpha={written(weight)}']
            values[end + 1] = added((1, values[x]), (weight, values[y]), (-weight, values[z]))
        elif method == "n_average":
            lines.append(f'merge "n_average" &{x} &{y} &{z}')
            values[end] = added(*((Fraction(1, 3), values[place]) for place in (x, y, z)))
        elif method == "fallback":
            lines.append(f'merge "fallback" &{x} &{y}')
            values[end] = values[x]
        else:
            lines.append(f'merge "weighted_sum" &{x} &{y} alpha={written(weight)}')
            values[end] = added((1 - weight, values[x]), (weight, values[y]))
    assert there_and_back(read_recipe("\n".join(lines)), library) == everywhere(values[len(lines) - 2])


# ---- files of presets ----


@settings(max_examples=12, deadline=None)
@pytest.mark.parametrize("separator", ["\t", ":", ","], ids=["tab", "colon", "comma"])
@given(numbers=LISTS, has_base=st.booleans())
def test_preset_of_a_file_comes_to_its_number_in_every_block(library, tmp_path_factory, separator, numbers, has_base):
    path: Path = tmp_path_factory.mktemp("presets") / "presets"
    path.write_text(f"MINE{separator}{listed(numbers if has_base else numbers[1:])}\n")
    recipe = with_presets(parse_recipe('R = weighted_sum(A, B, alpha=preset("MINE"))'), read_preset_file(path))
    meant = numbers if has_base else [Fraction(0), *numbers[1:]]
    assert there_and_back(recipe, library) == in_blocks("Weight sum", "ABC", meant, numbers)


# ---- model cards ----

CARD = {
    "- {a} x {rest} + {b} x {share} = {name}": lambda a, b, c, share: added((1 - share, a), (share, b)),
    "* **{name}** = {rest} × {a} + {share} × {b}": lambda a, b, c, share: added((1 - share, a), (share, b)),
    "1. {a} + {b} + {c} = {name}": lambda a, b, c, share: added(*((Fraction(1, 3), each) for each in (a, b, c))),
    "{name}: {a} + ({b} − {c}) x {share}": lambda a, b, c, share: added((1, a), (share, b), (-share, c)),
    "`{a} (1-alpha) + {b} x alpha = {name}`, alpha = {share}": lambda a, b, c, share: added((1 - share, a), (share, b)),
}
"""A line of a model card to what it means."""


@settings(max_examples=25, deadline=None)
@given(lines=st.lists(st.tuples(st.sampled_from(list(CARD)), st.permutations(range(4)), SHARES), min_size=1, max_size=6))
def test_lines_of_a_model_card_come_to_what_they_say(library, lines):
    known, text = dict(UNITS), []
    for index, (form, order, share) in enumerate(lines, 1):
        names = [list(known)[-4:][place] for place in order[:3]]
        words = dict(zip("abc", names, strict=True)) | {"share": written(share), "rest": written(1 - share)}
        text.append(form.format(**words, name=f"MIX{index}"))
        known[f"MIX{index}"] = CARD[form](*(known[name] for name in names), share)
    found = there_and_back(read_recipe("\n".join(text) + "\n"), library)
    assert found == everywhere(known[f"MIX{len(lines)}"])
