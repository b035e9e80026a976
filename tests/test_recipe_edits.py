"""Edits of the page: each changes its own line of the text, all else stays as typed, and what is shown is what was meant."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from checkpoints import model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import load
from lib_chilly.errors import MergeError
from lib_chilly.expression import spell
from lib_chilly.models import ModelLibrary
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.comes_to import Knowledge
from lib_chilly.ui.curves import CURVES
from lib_chilly.ui.draft import read_draft
from lib_chilly.ui.mixer_view import mixed, mixer_view
from lib_chilly.ui.problem import FieldError
from lib_chilly.ui.recipe_edits import edited

SD1 = load("sd1")
NAMES = ("A", "B", "C")
LIST = "[" + ",".join(["1"] * 14 + ["0"] * 12) + "]"
TEXT = f"""\
# head
ratio = 0.15   # r
pyAB = A + B

MERGE1 = (1 - ratio) * C + ratio * pyAB # c1
FIX = MERGE1*0.95 + 0.05 * A
M2 = FIX + 1 * (B - A)
B0 = weighted_sum(M2,   C, alpha = 0.25)
V1 = weighted_sum(B0, A,
   alpha={LIST})  # V
save(dtype=fp16, title="x # y")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> ModelLibrary:
    folder = tmp_path_factory.mktemp("models")
    return ModelLibrary([write_models(folder / "m", **{name: model(seed, size=2) for seed, name in enumerate(NAMES)})])


@pytest.fixture(scope="module")
def edit(library):
    knowledge = Knowledge()
    return lambda recipe, /, **change: edited(recipe, None, change, library, knowledge)


def comments(text):
    masked = re.sub(r'"(?:\\.|[^"\\\n])*"', lambda match: "_" * len(match[0]), text)
    return sorted(comment.strip() for comment in re.findall(r"#[^\n]*", masked))


def lines(text):
    return {written.line.name: spell(written.line.expression) for written in read_draft(text).lines}


def shown(text, step, parameter=None):
    draft = read_draft(text)
    return mixer_view(mixed(draft, step, parameter, SD1), draft)


def line(edit, **change):
    """The one line of TEXT that an edit changes, as it reads then."""
    after = edit(TEXT, **change).text
    (new,) = [new for new, old in zip(after.splitlines(), TEXT.splitlines(), strict=True) if new != old]
    return new


# ---- what is written ----


def test_single_numbers_keep_a_sum_a_sum(edit):
    assert line(edit, do="set", step="FIX", parameter="alpha", value="0.3") == "FIX = 0.7*MERGE1 + 0.3 * A"
    assert line(edit, do="set", step="M2", parameter="alpha", value="0.5") == "M2 = FIX + 0.5 * (B - A)"
    assert line(edit, do="set", step="MERGE1", parameter="alpha", value="0.2") == "MERGE1 = 0.8 * C + 0.2 * pyAB # c1"
    assert line(edit, do="set", step="B0", parameter="alpha", value="ratio") == "B0 = weighted_sum(M2,   C, alpha = ratio)"


def test_first_block_weight_makes_a_sum_a_call_and_keeps_its_comment(edit):
    changed = line(edit, do="weights", step="MERGE1", values={"IN04": 0.35})
    assert changed.startswith("MERGE1 = weighted_sum(C, pyAB, alpha=[0.15, 0.15, 0.15, 0.15, 0.15, 0.35, 0.15,")
    assert changed.endswith("]) # c1")


def test_weights_are_written_in_the_shortest_form_that_says_them(edit):
    def value(**values):
        return line(edit, do="weights", step="V1", values=values).partition("alpha=")[2]

    assert value(**dict.fromkeys(SD1.slots, 0.3)) == "0.3)  # V"
    assert value(IN04=0.35) == "[1,1,1,1,1,0.35,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0])  # V"
    assert value(TIME=0.2) == f"{{*: {LIST}, TIME: 0.2}})  # V"
    assert value(**dict.fromkeys(SD1.slots, 0.3), VAE=0) == "{*: 0.3, VAE: 0})  # V"


def test_lane_that_was_moved_stays_where_it_is_until_it_is_linked_again(edit):
    text = edit(TEXT, do="weights", step="V1", values={"TIME": 1}).text
    assert "TIME" not in shown(text, "V1")["linked"]
    text = edit(text, do="weights", step="V1", values={"IN00": 0.4}).text
    assert shown(text, "V1")["values"]["TIME"] == 1
    text = edit(text, do="weights", step="V1", values={"TIME": None}).text
    assert shown(text, "V1")["values"]["TIME"] == 0.4 and "TIME" in shown(text, "V1")["linked"]


def test_preset_keeps_its_name_until_a_list_is_shorter(edit):
    text = edit(TEXT, do="preset", step="B0", name="GRAD_V").text
    assert 'alpha = preset("GRAD_V"))' in text
    text = edit(text, do="weights", step="B0", values={"IN04": 0.35}).text
    assert 'alpha = {*: preset("GRAD_V"), IN04: 0.35})' in text
    assert shown(text, "B0")["values"]["IN05"] == pytest.approx(2 / 3 - 1 / 12)


def test_rules_for_parts_of_blocks_are_lines_and_stay_when_bars_move(edit):
    text = edit(TEXT, do="rules", step="V1", text="IN04-IN08:attn2:0.6\nattn1: .5").text
    assert f"alpha={{*: {LIST}, IN04-IN08/attn2: 0.6, attn1: 0.5}})" in text
    assert shown(text, "V1")["rules"] == "IN04-IN08:attn2:0.6\nattn1:0.5"
    moved = edit(text, do="weights", step="V1", values={"IN04": 0}).text
    assert shown(moved, "V1")["rules"] == shown(text, "V1")["rules"] and shown(moved, "V1")["values"]["IN04"] == 0
    assert edit(text, do="rules", step="V1", text="").text == TEXT


def test_rule_for_a_lane_below_one_for_its_parts_goes_on_to_win(edit):
    text = "X = weighted_sum(A, B, alpha={attn2: 1, IN04: 0.3, *: 0.1})"
    after = edit(text, do="weights", step="X", values={"IN04": 0.7, "IN05": 0.2}).text
    weights = read_draft(after).checker.weights(read_draft(after).lines[0].line.expression.parameters[0][1])
    assert [pattern for pattern, _ in weights.rules] == ["IN05", "attn2", "IN04"]
    assert shown(after, "X")["values"]["IN04"] == 0.7 and shown(after, "X")["values"]["IN05"] == 0.2


def test_curves_are_exact_and_rounded_to_hundredths():
    weights = [Fraction(number, 100) for number in (0, 100, 33, 7)]
    assert CURVES["smooth"](weights) == [Fraction(25, 100), Fraction(58, 100), Fraction(43, 100), Fraction(14, 100)]
    assert CURVES["ramp"](weights) == [Fraction(number, 100) for number in (0, 2, 5, 7)]
    assert CURVES["mirror"](weights) == weights[::-1]
    assert CURVES["invert"](weights) == [1 - weight for weight in weights]


def test_random_numbers_depend_on_seed_and_lane_alone(edit):
    few = edit(TEXT, do="random", step="V1", seed=7, low=0.2, high=0.8, lanes=["IN03", "IN04"]).text
    all_ = edit(TEXT, do="random", step="V1", seed=7, low=0.2, high=0.8, lanes=list(SD1.slots)).text
    assert shown(few, "V1")["values"]["IN04"] == shown(all_, "V1")["values"]["IN04"]
    assert all(0.2 <= value <= 0.8 for value in shown(all_, "V1")["list"]) and len(set(shown(all_, "V1")["list"])) > 20
    assert edit(TEXT, do="random", step="V1", seed=8, low=0.2, high=0.8, lanes=list(SD1.slots)).text != all_


def test_strength_scales_every_number_and_blocks_are_turned_on_and_off(edit):
    assert shown(edit(TEXT, do="scale", step="V1", factor=0.75).text, "V1")["list"] == [0.75] * 14 + [0] * 12
    on = edit(TEXT, do="blocks", step="B0", on=True).text
    assert shown(on, "B0")["on"] and shown(on, "B0")["list"] == [0.25] * 26
    assert line(edit, do="blocks", step="V1", on=False) == "   alpha=0.5)  # V"


def test_swap_exchanges_the_models_and_leaves_the_weights(edit):
    assert line(edit, do="swap", step="FIX") == "FIX = A*0.95 + 0.05 * MERGE1"
    assert line(edit, do="swap", step="V1") == "V1 = weighted_sum(A, B0,"
    text = "X = 0.25 * (A + 1 * (B - C)) + 0.75 * C"
    assert edit(text, do="swap", step="X").text == "X = 0.25 * C + 0.75 * (A + 1 * (B - C))"


def test_operands_are_replaced_where_they_stand(edit):
    assert line(edit, do="operand", step="M2", index=2, name="my model") == 'M2 = FIX + 1 * (B - "my model")'
    assert line(edit, do="operand", step="pyAB", index=2, name="C") == "pyAB = mean(A, B, C)"
    three = "X = mean(A, B, C)"
    assert edit(three, do="operand", step="X", index=1, name=None).text == "X = mean(A, C)"
    with pytest.raises(FieldError, match="'V1' stands below 'FIX'"):
        edit(TEXT, do="operand", step="FIX", index=0, name="V1")


def test_operands_that_are_written_with_their_name_stand_last_and_keep_it(edit):
    text = "X = ties(A, B, base=C, density=0.3)"
    assert edit(text, do="operand", step="X", index=2, name="NED").text == "X = ties(A, B, base=NED, density=0.3)"
    assert edit(text, do="operand", step="X", index=3, name="NED").text == "X = ties(A, B, NED, base=C, density=0.3)"
    assert edit(text, do="operand", step="X", index=1, name=None).text == "X = ties(A, base=C, density=0.3)"
    with pytest.raises(FieldError, match="'X' cannot do without this model"):
        edit(text, do="operand", step="X", index=2, name=None)
    assert edit(text, do="set", step="X", parameter="scale", value="0.5").text == (
        "X = ties(A, B, base=C, density=0.3, scale=0.5)"
    )


@pytest.mark.parametrize(
    ("text", "method", "found"),
    [
        ("X = 0.7 * A + 0.3 * B", "ties", "X = ties(A, B, base=A)"),
        ("X = add_difference(A, B, C, alpha=0.5)", "ties", "X = ties(A, B, base=C)"),
        ("X = ties(A, B, base=C, density=0.3)", "add_difference", "X = add_difference(A, B, C)"),
        ("X = ties(A, B, base=C, density=0.3)", "dare", "X = dare(A, B, base=C, density=0.3)"),
        ("X = ties(A, B, base=C)", "slerp", "X = slerp(A, B)"),
    ],
)
def test_method_takes_the_third_model_as_its_base(edit, text, method, found):
    assert edit(text, do="method", step="X", method=method).text == found


def test_other_method_never_drops_a_lora(edit):
    with pytest.raises(FieldError, match="'X' has a LoRA, which would be lost"):
        edit("X = A + 0.8 * lora(x)", do="method", step="X", method="slerp")


def test_loras_are_no_method_for_models(edit):
    with pytest.raises(FieldError, match="no merge method 'lora' for models"):
        edit("X = 0.7 * A + 0.3 * B", do="method", step="X", method="lora")


def test_methods_keep_models_and_parameters(edit):
    assert line(edit, do="method", step="FIX", method="add_difference") == "FIX = add_difference(MERGE1, A, MERGE1, alpha=0.05)"
    assert line(edit, do="method", step="M2", method="weighted_sum") == "M2 = weighted_sum(FIX, B, alpha=1)"


# ---- lines ----


def test_rename_follows_every_use_and_the_saved_step(edit):
    text = "one = A\nX = 0.5 * one + 0.5 * B  # one\nsave(step=one)\n"
    assert edit(text, do="rename", step="one", name="a b").text == (
        '"a b" = A\nX = 0.5 * "a b" + 0.5 * B  # one\nsave(step="a b")\n'
    )
    for taken, said in (("X", "there is 'X' already"), ("B", "'B' is a file that 'X' uses")):
        with pytest.raises(FieldError, match=said):
            edit(text, do="rename", step="one", name=taken)


def test_remove_names_the_users_and_keeps_the_comment(edit):
    with pytest.raises(FieldError, match="'FIX' is used by 'M2'"):
        edit(TEXT, do="remove", step="FIX")
    assert edit(TEXT, do="remove", step="V1").text.splitlines()[-2:] == ["# V", 'save(dtype=fp16, title="x # y")']


def test_move_is_refused_where_a_step_would_stand_above_what_it_uses(edit):
    with pytest.raises(FieldError, match="'V1' uses 'B0', so it cannot stand above it"):
        edit(TEXT, do="move", step="V1", to=0)
    text = "# top\nX = A  # x\nY = B\nZ = 0.5 * X + 0.5 * Y"
    assert edit(text, do="move", step="Y", to=0).text == "# top\nY = B\nX = A  # x\nZ = 0.5 * X + 0.5 * Y"
    assert edit(text, do="move", step="X", to=1).text == "# top\nY = B\nX = A  # x\nZ = 0.5 * X + 0.5 * Y"


def test_new_steps_have_names_that_nothing_has(edit):
    added = edit(TEXT, do="add", a="V1", b="C")
    assert added.step == "MIX" and "\nMIX = weighted_sum(V1, C, alpha=0.5)\nsave(" in added.text
    assert edit(added.text, do="add", a="V1", b="C").step == "MIX_2"
    copy = edit(TEXT, do="duplicate", step="FIX")
    assert copy.step == "FIX_2" and "\nFIX = MERGE1*0.95 + 0.05 * A\nFIX_2 = MERGE1*0.95 + 0.05 * A\n" in copy.text
    assert edit("", do="add", a="A", b="my m").text == 'MIX = weighted_sum(A, "my m", alpha=0.5)\n'
    assert edit("A", do="add", a="A", b="B").text == "result = A\nMIX = weighted_sum(A, B, alpha=0.5)"


def test_options_of_save_are_set_and_taken_out(edit):
    assert line(edit, do="option", name="dtype", value="bf16") == 'save(dtype=bf16, title="x # y")'
    assert edit("X = A\n", do="option", name="vae", value="my vae").text == 'X = A\nsave(vae="my vae")\n'
    assert edit("X = A\nsave(vae=drop)\n", do="option", name="vae", value=None).text == "X = A\n"
    with pytest.raises(FieldError, match="is one of fp16"):
        edit(TEXT, do="option", name="dtype", value="fp17")


# ---- refusals ----


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"do": "weights", "step": "V1", "values": {"IN99": 1}}, "values", "SD 1.x has no lane 'IN99'"),
        ({"do": "weights", "step": "V1", "values": {"IN01": "1); X = B"}}, "values", "is no number"),
        ({"do": "weights", "step": "nobody", "values": {}}, "step", "there is no step 'nobody'"),
        ({"do": "list", "step": "V1", "text": "1, 2, 3"}, "text", "this one has 3"),
        ({"do": "preset", "step": "V1", "name": "GRADV"}, "name", "Did you mean 'GRAD_V'"),
        ({"do": "rules", "step": "V1", "text": "IN4:attn2:1"}, "text", "Did you mean 'IN04'"),
        ({"do": "set", "step": "B0", "parameter": "alpha", "value": "1), Q(A"}, "value", "is no value"),
        ({"do": "set", "step": "B0", "parameter": "beta", "value": "1"}, "parameter", "has no parameter 'beta'"),
        ({"do": "constant", "name": "ratio", "value": "A"}, "value", ""),
        ({"do": "explode", "step": "V1"}, "do", "there is no edit 'explode'"),
    ],
)
def test_what_cannot_be_done_is_said_at_its_field(edit, change, field, said):
    with pytest.raises(FieldError) as caught:
        edit(TEXT, **change)
    assert caught.value.field == field and said in str(caught.value)


# ---- promises on any recipe ----

NUMBER = st.integers(-50, 150).map(lambda number: f"{number / 100:g}")
LANES = st.sampled_from([*SD1.slots, *SD1.lanes])
VALUE = st.one_of(
    NUMBER,
    st.lists(NUMBER, min_size=26, max_size=26).map(lambda numbers: f"[{', '.join(numbers)}]"),
    st.just('preset("GRAD_A")'),
    st.lists(st.tuples(st.sampled_from(["IN*", "OUT03-OUT05", "attn2", "TIME", "BASE", "IN04/ff", "*"]), NUMBER), min_size=1).map(
        lambda rules: "{" + ", ".join(f"{pattern}: {value}" for pattern, value in dict(rules).items()) + "}"
    ),
)


@st.composite
def recipes(draw):
    """A recipe of a few steps, however they are written, with comments and blank lines."""
    text, names = "", list(NAMES)
    for number in range(draw(st.integers(1, 4))):
        x, y, z = (draw(st.sampled_from(names)) for _ in range(3))
        share = Fraction(draw(st.integers(-20, 120)), 100)
        value = draw(VALUE)
        right = draw(
            st.sampled_from(
                [
                    f"{float(1 - share):g} * {x} + {float(share):g}*{y}",
                    f"weighted_sum( {x}, {y}, alpha={value})",
                    f"mean({x},{y})",
                    f"{x} + {y}",
                    f"{x} + {float(share):g} * ({y} - {z})",
                    f"sum_twice({x}, {y}, {z}, alpha={value}, beta=0.5)",
                    f"weighted_sum({x},\n    {y}  # inside\n  )",
                    f"0.5 * ({x} + 0.5 * ({y} - {z})) + 0.5 * {z}",
                ]
            )
        )
        text += draw(st.sampled_from(["", "\n", f"# above {number}\n"])) + f"S{number} = {right}"
        text += draw(st.sampled_from(["\n", f"   # note {number}\n"]))
        names.append(f"S{number}")
    return text + draw(st.sampled_from(["", "save(dtype=bf16)\n", '# end\nsave(title="a # b")  # t\n']))


METHODS = st.sampled_from(["weighted_sum", "mean", "add_difference", "triple_sum"])
MODELS = st.sampled_from([*NAMES, "S0", "new one"])
STEP = st.integers(0, 3).map("S{}".format)
WEIGHT = st.integers(-20, 120).map(lambda number: number / 100)
CHANGES = st.one_of(
    st.fixed_dictionaries({"do": st.just("weights"), "values": st.dictionaries(LANES, st.none() | WEIGHT)}),
    st.fixed_dictionaries({"do": st.just("list"), "text": st.lists(WEIGHT, min_size=26, max_size=26).map(str)}),
    st.fixed_dictionaries({"do": st.just("preset"), "name": st.just("COSINE")}),
    st.fixed_dictionaries({"do": st.just("rules"), "text": st.sampled_from(["", "attn2:0.5", "IN04:0.3\nIN04-IN05:ff:1"])}),
    st.fixed_dictionaries({"do": st.just("curve"), "curve": st.sampled_from(list(CURVES)), "lanes": st.lists(LANES, min_size=1)}),
    st.fixed_dictionaries({"do": st.just("scale"), "factor": WEIGHT}),
    st.fixed_dictionaries({"do": st.just("blocks"), "on": st.booleans()}),
    st.fixed_dictionaries({"do": st.just("set"), "parameter": st.just("alpha"), "value": NUMBER}),
    st.fixed_dictionaries(
        {"do": st.just("operand"), "index": st.integers(0, 2), "name": st.sampled_from([*NAMES, "S0", "new one"])}
    ),
    st.fixed_dictionaries(
        {"do": st.just("method"), "method": st.sampled_from(["weighted_sum", "mean", "add_difference", "triple_sum"])}
    ),
    st.fixed_dictionaries({"do": st.sampled_from(["swap", "duplicate", "remove"])}),
    st.fixed_dictionaries({"do": st.just("move"), "to": st.integers(0, 3)}),
)


@settings(max_examples=60, deadline=None)
@given(recipes(), STEP, CHANGES)
def test_edit_keeps_other_lines_and_all_comments(library, text, step, change):
    before = lines(text)
    parse_recipe(text)
    try:
        after = edited(text, None, {**change, "step": step}, library, Knowledge())
    except MergeError:
        return
    others = {name: said for name, said in before.items() if name != step}
    assert {name: said for name, said in lines(after.text).items() if name in others} == others
    own_inside = [comment for comment in comments(text) if comment == "# inside"]
    assert set(comments(after.text)) | set(own_inside) == set(comments(text))
    if after.text.strip() and read_draft(after.text).steps:
        parse_recipe(after.text)


@settings(max_examples=80, deadline=None)
@given(recipes(), STEP, st.dictionaries(LANES, WEIGHT, min_size=1), st.sampled_from(["alpha", "beta"]))
def test_weights_that_are_set_are_the_weights_that_are_shown(library, text, step, values, parameter):
    try:
        before = shown(text, step, parameter)
    except (MergeError, AttributeError):  # nothing there that may differ between blocks
        return
    try:
        after = edited(
            text, None, {"do": "weights", "step": step, "parameter": parameter, "values": values}, library, Knowledge()
        )
    except MergeError:
        return
    now = shown(after.text, step, parameter)
    assert {lane: now["values"][lane] for lane in values} == values
    leaders = {SD1.lanes[lane] for lane in SD1.lanes if SD1.lanes[lane] in values}
    for lane, value in before["values"].items():
        follows = SD1.lanes.get(lane) in leaders and lane in before["linked"]
        if lane not in values and not follows:
            assert now["values"][lane] == value
    assert now["rules"] == before["rules"]


@settings(max_examples=60, deadline=None)
@given(recipes(), STEP, st.text(alphabet='ABS01 "\\#\n=(_-é🎨', min_size=1, max_size=6))
def test_rename_changes_names_alone(library, text, step, name):
    try:
        after = edited(text, None, {"do": "rename", "step": step, "name": name}, library, Knowledge())
    except MergeError:
        return
    assert comments(after.text) == comments(text)
    assert list(lines(after.text)) == [after.step if old == step else old for old in lines(text)]
