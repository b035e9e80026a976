"""What a recipe can only be told when the files are there: which file a name means, what fits the architecture, what is odd."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from checkpoints import model, plan_in, write_file, write_models

from lib_chilly.errors import ArchitectureError, RecipeError
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.synth import synthesise

MODELS = ["A", "B", "C", "v1-5", "sub/deep", "sub/twice", "other/twice", "Модель", "a b"]
XL = ["X1", "X2"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ModelLibrary:
    """Small checkpoints of SD 1.x without a VAE, and tiny ones of SDXL, below one folder."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("sub", "other"):
        (folder / name).mkdir()
    for number, name in enumerate(MODELS):
        write_file(folder / f"{name}.safetensors", model(number, size=2, without=["VAE"]))
    for number, name in enumerate(XL):
        synthesise("sdxl", "tiny", folder / f"{name}.safetensors", seed=number, without=("vae",))
    return ModelLibrary([folder])


@pytest.fixture
def plan(library: ModelLibrary):
    return lambda text, **options: make_plan(parse_recipe(text), library, **options)


@pytest.fixture
def refusal(library: ModelLibrary):
    """The error of a text in which the sign ‸ stands before the mistake; its place is checked."""

    def refused(marked: str) -> str:
        text = marked.replace("‸", "")
        with pytest.raises(RecipeError) as caught:
            make_plan(parse_recipe(text), library)
        before = text[: marked.index("‸")].split("\n")
        head, excerpt, caret = str(caught.value).split("\n")
        assert head.startswith(f"line {len(before)}, column {len(before[-1]) + 1}: ")
        assert (excerpt, caret) == ("  " + text.split("\n")[len(before) - 1], "  " + " " * len(before[-1]) + "^")
        return head.partition(": ")[2]

    return refused


def names(plan: Plan) -> list[str]:
    return [source.name for source in plan.sources]


# ---- which file a name means ----


@pytest.mark.parametrize("name", ["A.safetensors", '"A"', '"A.safetensors"', '"A.safetensors [0123456789]"'])
def test_name_with_suffix_and_without_is_one_source(plan, name: str):
    made = plan(f"M = 0.5 * A + 0.5 * {name}")
    assert names(made) == ["A"] and {tuple(row.exact.items()) for row in made.rows.values()} == {((0, 1),)}


def test_source_is_named_as_first_written_and_stands_in_the_order_of_the_text(plan):
    assert names(plan('X = mean(C, "B.safetensors")\nM = mean(A, X, C.safetensors)')) == ["C", "B", "A"]


def test_name_may_be_a_path_below_the_models_folder_or_a_file_name_in_any_sub_folder(plan):
    for name in ("deep", '"sub/deep"', "deep.safetensors", '"sub/deep.safetensors"'):
        assert plan(f"M = {name}").sources[0].checkpoint.path.name == "deep.safetensors"
    assert names(plan('M = mean("sub/twice", "other/twice")')) == ["sub/twice", "other/twice"]
    assert names(plan('M = mean(Модель, "a b")')) == ["Модель", "a b"]


def test_name_that_fits_two_files_is_an_error_that_lists_both(refusal):
    message = refusal("M = mean(A, ‸twice)")
    assert "'twice' fits 2 files" in message
    assert all(str(Path(folder, "twice.safetensors")) in message for folder in ("sub", "other"))
    assert 'Write "other/twice" or "sub/twice".' in message


def test_file_beside_the_folder_of_its_namesake_is_named_with_a_dot(tmp_path: Path):
    folder = write_models(tmp_path, A=model(1), B=model(2))
    (folder / "sub").mkdir()
    copy = shutil.copy(folder / "B.safetensors", folder / "sub" / "A.safetensors")
    library = ModelLibrary([folder])
    for name in ("A", "A.safetensors"):
        with pytest.raises(RecipeError, match="fits 2 files") as caught:
            library.find(name)
        right = [each.right for each in caught.value.instead]
        assert right == ["./A", "sub/A"] and str(caught.value).endswith('Write "./A" or "sub/A".')
        assert [library.find(each) for each in right] == [folder / "A.safetensors", Path(copy)]
    for name in ("./A", "./A.safetensors", ".\\A"):
        assert library.find(name) == folder / "A.safetensors"
    assert library.find("./sub/A") == Path(copy) and library.find("./B") == folder / "B.safetensors"
    found = plan_in(folder, 'M = mean("./A", "sub/A", "./B")')
    assert [source.checkpoint.path for source in found.sources][:2] == [folder / "A.safetensors", Path(copy)]


def test_name_that_two_models_folders_have_is_refused_with_what_helps(tmp_path: Path):
    folders = [write_models(tmp_path / name, A=model(1)) for name in ("one", "two")]
    with pytest.raises(RecipeError, match=r"'A' fits 2 files: .*\. Rename one of them: their names are the same\.$") as caught:
        ModelLibrary(folders).find("A")
    assert caught.value.instead == ()


def test_unknown_model_is_an_error_with_the_nearest_name(refusal):
    assert "there is no model 'v1-4'" in refusal("M = 0.5 * A + 0.5 * ‸v1-4")
    assert refusal("M = mean(A,\n  ‸v1-4)").endswith("Did you mean 'v1-5'?")
    said = "there is no model or step '{}'. Did you mean '{}'?"
    assert refusal("MERGE1 = A\nM = mean(B, ‸Merge1)").endswith(said.format("Merge1", "MERGE1"))
    assert refusal("MERGE1Fix = A\nM = mean(B, ‸MERGE1Fx)").endswith(said.format("MERGE1Fx", "MERGE1Fix"))


def test_model_of_an_unused_step_is_not_looked_for(plan):
    assert names(plan("X = no_such_file\nM = A")) == ["A"]


def test_webui_title_claims_a_hash_that_the_plan_keeps_for_checking(plan):
    made = plan('M = mean(A, "B.safetensors [ABCDEF1234]")')
    assert made.title_claims == {1: "abcdef1234"} and names(made) == ["A", "B"]
    assert plan("M = mean(A, B)").title_claims == {}


def test_constant_and_step_come_before_a_file_and_own_name_means_the_file(plan):
    made = plan("B = 0.25\nA = 0.5 * A + 0.5 * C\nM = (1 - B) * A + B * v1-5")
    assert names(made) == ["A", "C", "v1-5"]
    assert [float(made.rows["IN00"].exact[number]) for number in range(3)] == [0.375, 0.375, 0.25]


MINUS = {
    "M = 2 * A - ‸A-B": "'A - B'",
    "M = ‸A-B": "'A - B'",
    "X = A\nM = mean(A, ‸X-B)": "'X - B'",
    "M = A + 0.5 * C - 0.5 * ‸v1-5-B": "'v1-5 - B'",
}


@pytest.mark.parametrize(("text", "fix"), MINUS.items(), ids=MINUS)
def test_minus_without_spaces_between_two_known_names_is_proposed_with_spaces(refusal, text: str, fix: str):
    assert refusal(text).endswith(f"a minus between operands has spaces around it: {fix}.")


def test_minus_in_the_name_of_a_file_that_exists_is_no_operator(plan):
    assert names(plan("v1 = A\nM = 0.5 * v1 + 0.5 * v1-5")) == ["A", "v1-5"]


def test_minus_between_names_of_which_one_is_unknown_is_not_proposed(refusal):
    assert "spaces around it" not in refusal("M = ‸A-nothing")


def test_models_of_two_architectures_are_refused(plan):
    with pytest.raises(ArchitectureError, match=r"'A' is SD 1\.x, 'X1' is SDXL"):
        plan("M = mean(A, X1)")


# ---- what fits the architecture ----

UNFIT = {
    "M = weighted_sum(A, B,\n  alpha=‸{IN00: 0.5, IN12: 1})": (
        "'IN12' is not in SD 1.x",
        "IN00 to IN11",
        "OUT11. Did you mean 'IN11'?",
    ),
    "M = weighted_sum(X1, X2, alpha=‸{IN09: 1})": ("'IN09' is not in SDXL", "IN00 to IN08"),
    "X = A\nM = weighted_sum(X, B, alpha=‸{attn3: 1})": ("'attn3' is not in SD 1.x", "Did you mean 'attn"),
    "M = weighted_sum(A, B, alpha=‸{model.diffusion.*: 1})": ("matches no key of SD 1.x",),
    "M = weighted_sum(A, B, alpha=‸preset(GRAD_X))": ("there is no preset 'GRAD_X'", "Did you mean 'GRAD_V'?"),
    "M = weighted_sum(A, B, alpha=‸{*: preset(grad_v)})": ("there is no preset 'grad_v'", "Did you mean 'GRAD_V'?"),
    "M = weighted_sum(A, B, alpha=‸preset(QQQ))": ("there is no preset 'QQQ'. Known: GRAD_V, ",),
    "M = weighted_sum(A, B,\n\n  alpha=‸[1, 0, 0.5])": (
        "a list for SD 1.x has 26 numbers",
        "or 25 without BASE",
        "this one has 3",
    ),
    "M = weighted_sum(A, B, alpha=‸[])": ("this one has 0",),
    "M = weighted_sum(X1, X2, alpha=‸{IN00: 1, *: [1, 2]})": ("a list for SDXL has 20 numbers", "this one has 2"),
    "D = A - B\nM = C + sum_twice(D, D, D, alpha=0.5, beta=‸[1])": ("this one has 1",),
}


@pytest.mark.parametrize(("text", "words"), UNFIT.items(), ids=UNFIT)
def test_block_weights_that_do_not_fit_the_architecture_are_shown_at_their_place(refusal, text: str, words: tuple[str, ...]):
    message = refusal(text)
    assert [word for word in words if word not in message] == []


def test_rule_may_match_nothing_in_the_files_if_it_does_in_the_architecture(plan):
    assert "VAE" not in plan("M = weighted_sum(A, B, alpha={VAE: 1, *: 0.5})").rows


def test_block_weights_of_an_unused_step_are_not_checked(plan):
    assert names(plan("X = weighted_sum(A, B, alpha=[1])\nM = A")) == ["A"]


def test_lanes_that_fell_back_to_the_neutral_value_are_said(plan):
    (note,) = [note for note in plan("M = weighted_sum(A, B, alpha={IN*: 1, OUT*: 0.5, M00: 1})").notes if "keep" in note]
    assert note == "weighted_sum, alpha: CLIP_L, TIME, FINAL and VAE keep 0 where no rule matches."
    (note,) = [note for note in plan("M = free_sum(A, B, beta={OUT*: 0})").notes if "keep" in note]
    assert note == "free_sum, beta: CLIP_L, TIME, IN00 to M00, FINAL and VAE keep 1 where no rule matches."
    (note,) = [note for note in plan(f"M = weighted_sum(A, B, alpha=[{'1, ' * 25}])").notes if "keep" in note]
    assert note.endswith("CLIP_L and VAE keep 0: the list has no number for BASE.")
    assert not [note for note in plan("M = weighted_sum(A, B, alpha={IN*: 1, *: 0.5})").notes if "keep" in note]


def test_list_of_sd1_on_sdxl_and_a_resampled_preset_are_said(plan):
    assert any(
        "are cut: SDXL has no such blocks" in note for note in plan(f"M = weighted_sum(X1, X2, alpha=[{'1,' * 26}])").notes
    )
    assert any("GRAD_V is resampled from 26" in note for note in plan("M = weighted_sum(X1, X2, alpha=preset(GRAD_V))").notes)


def test_sum_that_was_read_as_a_mean_is_said_by_the_plan(plan):
    assert "X: a sum of 2 models is read as their mean." in plan("X = A + B\nM = weighted_sum(X, C)").notes


# ---- warnings ----

WARNINGS = {
    "X = A\ny = 0.5\nM = B": ["'X' is not used by the result.", "'y' is not used by the result."],
    "X = A\nY = X\nM = B": ["'X' is not used by the result.", "'Y' is not used by the result."],
    "A = B": ["the step 'A' has the name of a file; here the step is meant."],
    "deep = B\nM = deep": ["the step 'deep' has the name of a file; here the step is meant."],
    "A = 0.5\nM = weighted_sum(B, C, alpha=A)": [],
    "M = weighted_sum(A, B, alpha=1.5)": ["alpha of weighted_sum is 1.5, outside 0 to 1."],
    "M = weighted_sum(A, B, alpha={IN00: -0.25})": ["alpha of weighted_sum is -0.25, outside 0 to 1."],
    "M = weighted_sum(A, B, alpha={attn2: 1.25, *: 0})": ["alpha of weighted_sum is 1.25, outside 0 to 1."],
    "M = sum_twice(A, B, C, beta=1.01)": ["beta of sum_twice is 1.01, outside 0 to 1."],
    "M = weighted_sum(A, B, alpha={IN00: 0, OUT*: 1})": [],
    "M = 3 * A - 2 * B": ["'A' counts 3 times: beyond 2 a merge usually breaks."],
    "M = 3.5 * A - 2.5 * B": [
        "'A' counts 3.5 times: beyond 2 a merge usually breaks.",
        "'B' counts 2.5 times: beyond 2 a merge usually breaks.",
    ],
    "M = 2 * A - B": [],
    "X = A + 1.5 * (B - C)\nM = X + 1.5 * (B - C)": [
        "'B' counts 3 times: beyond 2 a merge usually breaks.",
        "'C' counts 3 times: beyond 2 a merge usually breaks.",
    ],
    "M = free_sum(A, 0.5 * B)": ["free_sum(A, 0.5 * B) need not add to 1: the result may be too strong or too weak."],
    "X = free_sum(A, B)\nM = C": ["'X' is not used by the result."],
    "ratio = 0.3\nX = A\nM = weighted_sum(X, B, alpha=ratio)": [],
}


@pytest.mark.parametrize(("text", "warnings"), WARNINGS.items(), ids=WARNINGS)
def test_plan_warns_of_what_is_odd_and_of_nothing_else(plan, text: str, warnings: list[str]):
    assert sorted(plan(text).warnings) == sorted(warnings)


def test_step_above_the_saved_one_that_it_does_not_use_is_warned_of(plan):
    assert plan("X = A\nY = B\nZ = C\nsave(step=Y)").warnings == ("'X' is not used by the result.",)


# ---- save(...) ----

OPTIONS = {
    "save(dtype=fp8)": "'dtype' is one of fp16, bf16, fp32, source, fp8_e4m3fn, fp8_scaled; here it is 'fp8'",
    "save(compute=float16)": "'compute' is one of float32, float64; here it is 'float16'",
    "save(position_ids=drop)": "'position_ids' is one of keep, rebuild; here it is 'drop'",
    "save(on_nan=zero)": "'on_nan' is 'stop' or 'take:MODEL'; here it is 'zero'",
    'save(on_nan="take:C")': "on_nan takes 'C', which is no model of this recipe: A, B",
}


@pytest.mark.parametrize(("save", "message"), OPTIONS.items(), ids=OPTIONS)
def test_save_option_that_says_nothing_sensible_is_refused_with_what_there_is(plan, save: str, message: str):
    with pytest.raises(RecipeError) as caught:
        plan(f"M = mean(A, B)\n{save}")
    assert message in str(caught.value)


def test_option_of_the_command_line_wins_over_save_and_stands_in_the_canonical_recipe(plan):
    text = "X = A\nM = B"
    assert plan(text, dtype="bf16").recipe == plan(f"{text}\nsave(dtype=bf16)").recipe
    assert plan(f"{text}\nsave(dtype=fp32, step=X)", dtype="bf16", step="M").recipe == plan(text, dtype="bf16").recipe
    assert plan(text).recipe.canonical() == "X = A\nM = B\nsave(dtype=fp16)\n"
    assert plan(text, step="X").recipe.canonical() == "X = A\nM = B\nsave(dtype=fp16, step=X)\n"


# ---- work ----


def test_chain_of_steps_in_which_each_doubles_the_models_is_planned_once_a_step(plan):
    steps = "s0 = mean(A, B)\n" + "\n".join(f"s{n + 1} = weighted_sum(s{n}, s{n})" for n in range(40)) + "\nM = s40 + s40 - s40"
    calls = 0

    def count(frame, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.endswith("fold.py")
        assert calls < 1_000_000, "the work doubles with every step"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        made = plan(steps)
    finally:
        sys.setprofile(before)
    assert {float(weight) for weight in made.rows["M00"].exact.values()} == {0.5}


@pytest.mark.parametrize("text", ["mean(" * 99 + "A" + ")" * 99, " + ".join(["0.01 * A"] * 98 + ["0.02 * A"]), "- " * 98 + "A"])
def test_recipe_as_deep_as_one_may_be_is_planned(plan, text: str):
    assert {tuple(row.exact.items()) for row in plan(f"M = {text}").rows.values()} == {((0, 1),)}
