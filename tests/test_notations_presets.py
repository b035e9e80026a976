"""Files of named block weights: every separator reads, the numbers stand in the recipe, the command line finds them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from checkpoints import model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from lib_chilly.architecture import load
from lib_chilly.blocks import BlockWeights, Preset, resolve
from lib_chilly.cli import main
from lib_chilly.errors import RecipeError
from lib_chilly.notations.preset_files import NamedWeights, read_preset_file, with_presets
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe

FULL, WITHOUT_BASE, SDXL = (",".join(["0.5"] * count) for count in (26, 25, 20))


def presets_of(folder: Path, text: str) -> dict[str, NamedWeights]:
    path = folder / "presets.txt"
    path.write_bytes(text.encode())
    return read_preset_file(path)


@pytest.mark.parametrize("separator", ["\t", ":", ","], ids=["tab", "colon", "comma"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_presets_with_every_separator_are_read(tmp_path: Path, separator: str, ending: str):
    lines = ["preset_name" + separator + "preset_weights", "MINE" + separator + FULL, "Ours v2" + separator + WITHOUT_BASE, ""]
    found = presets_of(tmp_path, ending.join(lines))
    assert list(found) == ["MINE", "Ours v2"]
    assert found["MINE"].numbers() == (Fraction(1, 2),) * 26 and len(found["Ours v2"].numbers()) == 25


def test_list_for_sdxl_beside_one_for_sd1_has_a_name_of_its_own(tmp_path: Path):
    found = presets_of(tmp_path, f"A\t{FULL}\nA\t{SDXL}\nB\t{SDXL}\n")
    assert {name: len(weights.texts) for name, weights in found.items()} == {"A": 26, "A.XL": 20, "B.XL": 20, "B": 20}


def test_spaces_comments_and_lists_for_loras_do_no_harm(tmp_path: Path):
    found = presets_of(tmp_path, f"# mine\nNONE:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\nA : {FULL.replace(',', ' , ')}\n")
    assert list(found) == ["NONE", "A"] and found["A"].texts == ("0.5",) * 26


@pytest.mark.parametrize(
    "content", [b"", b"nothing here\n", b"\xff\xfe", b"A:" + b"0," * 600_000], ids=["empty", "prose", "utf-16", "large"]
)
def test_file_without_presets_is_one_sentence(tmp_path: Path, content: bytes):
    path = tmp_path / "presets.txt"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"no preset in|presets\.txt' is no UTF-8 text; save it as UTF-8|too large"):
        read_preset_file(path)
    with pytest.raises(RecipeError, match=r"^the file of presets '.*other\.txt' cannot be read: No such file or directory\.$"):
        read_preset_file(tmp_path / "other.txt")


def test_numbers_stand_in_the_recipe_in_the_place_of_the_name(tmp_path: Path):
    recipe = parse_recipe(
        'A1 = weighted_sum(A, B, alpha=preset("MINE"))\nC1 = weighted_sum(A1, C, alpha={*: preset("GRAD_V"), IN04: 1})'
    )
    filled = with_presets(recipe, presets_of(tmp_path, f"MINE\t{FULL}\n"))
    assert filled.canonical() == recipe.canonical().replace('preset("MINE")', f"[{', '.join(['0.5'] * 26)}]")
    assert parse_recipe(filled.canonical()) == filled and "GRAD_V" in filled.canonical()


def test_preset_of_a_file_wins_over_ours_with_its_name(tmp_path: Path):
    recipe = parse_recipe('weighted_sum(A, B, alpha=preset("GRAD_V"))')
    assert "preset" not in with_presets(recipe, presets_of(tmp_path, f"GRAD_V:{FULL}\n")).canonical()


def test_our_own_presets_as_a_file_of_theirs_mean_the_same(tmp_path: Path):
    from lib_chilly.blocks import presets

    text = "".join(f"{name}:{','.join(str(float(number)) for number in numbers)}\n" for name, numbers in presets().items())
    found = presets_of(tmp_path, text)
    sd1 = load("sd1")
    for name in presets():
        ours = resolve(BlockWeights(Preset(name)), sd1, Fraction(0))
        assert resolve(BlockWeights(found[name].numbers()), sd1, Fraction(0)).lanes == ours.lanes


@pytest.mark.parametrize("letter", ["R", "U", "X"])
def test_random_preset_is_refused_where_it_is_used(tmp_path: Path, letter: str):
    found = presets_of(tmp_path, f"RAND:{','.join([letter] * 26)}\nA:{FULL}\n")
    with pytest.raises(RecipeError, match=r"line 1, column 26: the preset 'RAND' .* a random weight"):
        with_presets(parse_recipe('weighted_sum(A, B, alpha=preset("RAND"))'), found)
    assert with_presets(parse_recipe('weighted_sum(A, B, alpha=preset("A"))'), found)


@st.composite
def named_weights(draw: DrawFn) -> NamedWeights:
    name = draw(st.text("ABCxyz019_ é漢", min_size=1, max_size=12).map(str.strip).filter(bool))
    numbers = draw(st.lists(st.integers(-3000, 3000), min_size=26, max_size=26))
    return NamedWeights(name, tuple(str(number / 1000) for number in numbers), "")


@settings(max_examples=30)
@given(rows=st.lists(named_weights(), min_size=1, max_size=6, unique_by=lambda row: row.name), separator=st.sampled_from("\t:,"))
def test_any_presets_come_back_and_stand_in_a_recipe(
    tmp_path_factory: pytest.TempPathFactory, rows: list[NamedWeights], separator: str
):
    text = "".join(f"{row.name}{separator}{','.join(row.texts)}\n" for row in rows)
    found = presets_of(tmp_path_factory.mktemp("presets"), text)
    assert "".join(f"{name}{separator}{','.join(row.texts)}\n" for name, row in found.items()) == text
    numbers = found[rows[-1].name].numbers()
    filled = with_presets(parse_recipe(f'weighted_sum(A, B, alpha=preset("{rows[-1].name}"))'), found)
    assert (
        Checker.of(filled).weights(filled.calls()[0].parameters[0][1]).default == numbers == tuple(map(Fraction, rows[-1].texts))
    )


def test_command_line_finds_presets_in_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    (tmp_path / "one.tsv").write_text(f"MINE\t{FULL}\n")
    (tmp_path / "two.tsv").write_text(f"MINE\t{FULL.replace('0.5', '0.25')}\n")
    recipe = 'weighted_sum(A, B, alpha=preset("MINE"))'
    files = [option for name in ("one", "two") for option in ("--presets", str(tmp_path / f"{name}.tsv"))]
    assert main(["plan", recipe, "--models", str(tmp_path), "--json", *files]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["folded"]["IN04"] == {"A": 0.75, "B": 0.25} and "preset" not in plan["recipe"]
    assert main(["plan", recipe, "--models", str(tmp_path)]) == 2
    assert "no preset 'MINE'" in capsys.readouterr().err


def test_misspelled_preset_is_answered_with_the_names_of_the_file_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    (tmp_path / "mine.tsv").write_text(f"Grad_VX\t{FULL}\nOTHER\t{FULL}\n")
    for name, said in (("grad_vv", "Did you mean 'Grad_VX'?"), ("zzz", "Known: Grad_VX, OTHER, ")):
        recipe = f'M = weighted_sum(A, B, alpha=preset("{name}"))'
        assert main(["plan", recipe, "--models", str(tmp_path), "--presets", str(tmp_path / "mine.tsv")]) == 2
        assert f"line 1, column 30: there is no preset '{name}'. {said}" in capsys.readouterr().err


@pytest.mark.parametrize("separator", ["\t", ":", ","], ids=["tab", "colon", "comma"])
def test_line_with_a_wrong_count_of_numbers_is_noted_and_refused_where_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], separator: str
):
    write_models(tmp_path, A=model(1), B=model(2))
    path = tmp_path / "mine.txt"
    path.write_text(f"SHORT{separator}{FULL[4:-4]}\n# note: 1, 2\nSome, prose\nGOOD{separator}{FULL}\nGOOD{separator}1,2\n")
    arguments = ["--models", str(tmp_path), "--presets", str(path), "--json"]
    assert main(["plan", 'weighted_sum(A, B, alpha=preset("GOOD"))', *arguments]) == 0
    notes = json.loads(capsys.readouterr().out)["warnings"]
    assert f"'{path}' has presets whose count of numbers is none of block weights: 'SHORT' (24)." in notes
    assert main(["plan", 'weighted_sum(A, B, alpha=preset("SHORT"))', *arguments]) == 2
    assert f"the preset 'SHORT' of '{path}' has 24 numbers; 26, 25, 20 or 19 were expected" in capsys.readouterr().err


def test_rules_with_a_glob_behind_a_lane_mean_keys_of_that_lane_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    recipe = "weighted_sum(A, B, alpha={*: 0, IN04-IN05/*attn*: 0.5, OUT03/*.attn2.*: 1})"
    assert main(["plan", recipe, "--models", str(tmp_path), "--json"]) == 0
    folded = json.loads(capsys.readouterr().out)["folded"]
    assert {label: row for label, row in folded.items() if "/" in label} == {
        "IN04/*attn*": {"A": 0.5, "B": 0.5},
        "IN05/*attn*": {"A": 0.5, "B": 0.5},
        "OUT03/*.attn2.*": {"B": 1},
    }
    assert main(["plan", "weighted_sum(A, B, alpha={OUT00/*attn*: 1})", "--models", str(tmp_path)]) == 2
    assert "'OUT00/*attn*' matches no key of SD 1.x" in capsys.readouterr().err
