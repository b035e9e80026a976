"""The recipe language, sentence by sentence: names, sums, numbers, rules, save(...), and every mistake shown at its place."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from lib_chilly.architecture import load
from lib_chilly.blocks import KeyWeights, resolve
from lib_chilly.errors import RecipeError
from lib_chilly.expression import Call, Constant, ListValue, ModelRef, Negative, Rules, StepRef, walk
from lib_chilly.recipe import Recipe
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe

ATTN2 = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
NORM = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.norm1.weight"
CONV = "model.diffusion_model.input_blocks.4.0.in_layers.2.weight"


def models_of(text: str) -> list[str]:
    return [model.name for model in parse_recipe(text).models()]


def refusal(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text)
    return caught.value


def constant(text: str) -> Fraction:
    """The exact value of a line of numbers."""
    return Checker.of(parse_recipe(f"x = {text}\nM = A")).constants["x"]


# ---- names ----

BARE = ["A", "модель", "模型_v1", "نموذج", "नमूना", "ηδη", "v1-5-pruned-emaonly", "a--b", "F222_v1", "model.v2", "_x", ".x", "x."]
BARE += ["2A", "1e", "1.5.2", "0x1F", "1_000", "٣d", "mean", "save", "preset", "nan", "inf"]


@pytest.mark.parametrize("name", BARE)
def test_name_of_letters_digits_and_three_signs_stands_without_quotes(name: str):
    assert parse_recipe(f"M = {name}").canonical() == f"M = {name}\n"
    assert models_of(f'M = 0.5 * {name} + 0.5 * "{name}"') == [name, name]
    assert parse_recipe(f"{name} = A").canonical() == f"{name} = A\n"


QUOTED = [
    "sub/model",
    "my model",
    "m.safetensors [abcdef1234]",
    "a-",
    "-a",
    "-",
    "0.5",
    "1e5",
    ".5",
    "5.",
    "A+B",
    "a:b",
    "#1",
    "x=1",
]
QUOTED += ["(a)", "a,b", "a*", "NED's", "\u0301a", "a\u200bb", "🙂", "a\u00a0b", "{a}", "[a]", "A × B", "a\tb"]


@pytest.mark.parametrize("name", QUOTED)
def test_any_other_name_stands_in_quotes_alone(name: str):
    assert parse_recipe(f'M = "{name}"').canonical() == f'M = "{name}"\n'
    assert parse_recipe(f'"{name}" = A').canonical() == f'"{name}" = A\n'
    try:
        read = models_of(f"M = weighted_sum(A, {name}, alpha=0.5)")
    except RecipeError:
        return
    assert name not in read


def test_quotes_and_backslashes_in_a_name_are_escaped():
    assert models_of(r'M = "say \"hi\" \\ bye"') == [r'say "hi" \ bye']
    assert parse_recipe(r'M = "a\"b\\c"').canonical() == 'M = "a\\"b\\\\c"\n'
    assert models_of(r'M = "ends with a backslash\\"') == ["ends with a backslash\\"]


def test_backslash_of_a_windows_path_is_refused_with_the_fix_not_swallowed():
    error = refusal(r'M = "sub\model"')
    assert "Folders are parted by '/'" in str(error) and error.position == 8


def test_name_in_needless_quotes_is_the_same_name():
    assert parse_recipe('"M" = "x"') == parse_recipe("M = x")


def test_names_are_compared_in_nfc():
    composed, decomposed = "mod\u00e8le", "mode\u0300le"
    assert parse_recipe(f"{decomposed} = {decomposed}\nM = {composed}") == parse_recipe(
        f"{composed} = {composed}\nM = {decomposed}"
    )
    assert decomposed not in parse_recipe(f"M = {decomposed}").canonical()


def test_name_that_differs_in_case_is_another_name():
    assert parse_recipe("m = A\nM = B").steps.keys() == {"m", "M"}


# ---- the minus ----


def test_minus_inside_a_word_is_part_of_the_name():
    assert models_of("M = A + (B-C - B-D)") == ["A", "B-C", "B-D"]


@pytest.mark.parametrize("text", ["A + B - C", "A + B -C", "A + B  -  C", "(A + B)-C", "A + (B)-C", '"A" + "B"-C'])
def test_minus_beside_a_space_or_a_bracket_subtracts(text: str):
    assert models_of(f"M = {text}") == ["A", "B", "C"]


def test_sign_of_a_number_and_of_a_model_binds_tighter_than_a_product():
    assert constant("-2 * 3") == -6
    assert constant("2 - -3") == 5
    assert parse_recipe("M = 2 * A + -B").canonical() == "M = 2 * A + -B\n"


# ---- what a name means ----


def test_constant_and_earlier_step_come_before_a_file():
    recipe = parse_recipe("ratio = 0.3\nX = A\nM = weighted_sum(X, B, alpha=ratio)")
    kinds = [type(node) for node in walk(recipe.steps["M"].expression)]
    assert kinds == [Call, StepRef, ModelRef, Constant]
    assert models_of("ratio = 0.3\nX = A\nM = weighted_sum(X, B, alpha=ratio)") == ["A", "B"]


def test_own_name_on_the_right_side_means_the_file():
    recipe = parse_recipe("A = 0.5 * A + 0.5 * B\nM = A")
    assert [type(recipe.steps[name].expression) for name in recipe.steps][1] is StepRef
    assert models_of("A = 0.5 * A + 0.5 * B\nM = A") == ["A", "B"]


def test_step_that_stands_below_its_use_is_an_error_that_names_its_line():
    error = refusal("# a comment\nM = 0.5 * A + 0.5 * X\n\nX = B")
    assert "'X' is defined on line 4, below its use" in str(error)
    assert "x' is defined on line 2" in str(refusal("M = weighted_sum(A, x, alpha=0.5)\nx = 0.5"))


@pytest.mark.parametrize("text", ["M = A\nM = B", "x = 1\nx = 2\nM = A", "x = 1\nx = A", "M = A\nM = 1", 'M = A\n"M" = B'])
def test_defining_a_name_twice_is_an_error(text: str):
    error = refusal(text)
    assert "is defined twice" in str(error) and str(error).startswith("line 2, column 1: ")


def test_method_is_recognised_only_before_a_bracket():
    assert parse_recipe("mean = mean(mean, weighted_sum)").canonical() == "mean = mean(mean, weighted_sum)\n"
    assert models_of("save = weighted_sum (mean, preset)\nM = mean(save)") == ["mean", "preset"]


def test_step_sees_only_lines_above_it_and_models_come_in_the_order_of_the_text():
    text = "Y = weighted_sum(D, B)\nZ = C\nX = 0.5 * A + 0.5 * Y\nM = mean(E, X)"
    assert models_of(text) == ["D", "B", "A", "E"]  # Z is not used
    assert [line.name for line in parse_recipe(text).used_lines()] == ["Y", "X", "M"]


# ---- the form of the text ----


def test_bare_expression_is_a_recipe_and_its_step_is_called_result():
    assert parse_recipe("0.7 * A + 0.3 * B").canonical() == "result = 0.7 * A + 0.3 * B\n"
    assert parse_recipe("mean(A, B)\nsave(dtype=bf16)").canonical() == "result = mean(A, B)\nsave(dtype=bf16)\n"
    assert parse_recipe("A").result == "result"


@pytest.mark.parametrize("text", ["A\nM = B", "M = A\nB", "x = 1\nM = A\n\nmean(A, B)", "A\nB"])
def test_any_other_expression_without_a_name_is_an_error(text: str):
    assert "has no name" in str(refusal(text))


SAME = {
    "comments": "# first\nM = 0.5 * A + 0.5 * B  # then\n#save(dtype=fp32)\n# end",
    "lines joined in brackets": "M = (0.5 * A\n\n  + 0.5 * B  # half\n)",
    "crlf": "M = 0.5 * A + 0.5 * B\r\n\r\n",
    "cr": "\rM = 0.5 * A + 0.5 * B\r",
    "byte order mark": "\ufeffM = 0.5 * A + 0.5 * B",
    "tabs": "\tM\t=\t0.5\t*\tA\t+\t0.5\t*\tB",
    "no spaces": "M=0.5*A+0.5*B",
    "spaces that do not break": "M\u00a0= 0.5\u202f*\u00a0A + 0.5\u3000* B",
    "needless brackets": "M = ((0.5) * (((A)))) + (0.5 * (B))",
    "trailing zeros": "M = 0.50 * A + .5 * B",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_layout_does_not_change_a_recipe(text: str):
    assert parse_recipe(text).canonical() == "M = 0.5 * A + 0.5 * B\n"


def test_hash_inside_quotes_begins_no_comment_and_quotes_in_a_comment_open_nothing():
    assert models_of('M = "a # b"  # c "d\nN = M') == ["a # b"]
    assert parse_recipe('M = A  # he said "hi\nsave(title="#1 # \\" #")').option("title") == '#1 # " #'


def test_list_and_rules_and_calls_go_on_over_lines():
    recipe = parse_recipe("M = weighted_sum(\n  A,\n  B,\n  alpha={\n    IN00: 1,  # the first\n    *: 0,\n  },\n)")
    assert recipe.canonical() == "M = weighted_sum(A, B, alpha={IN00: 1, *: 0})\n"


def test_recipe_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ('M = __import__("os").system("touch x")', "M = open(x, w)", "M = A if 1 else B", "M = {}.x", "M = eval(A)"):
        refusal(text)
    assert not list(tmp_path.iterdir())


# ---- types ----

RESULTS = [
    "A",
    "0.3 * A + 0.7 * B",
    "A + 1.5 * (B - C)",
    "A - B + C",
    "(A + B) / 2",
    "2 * A - B",
    "A / 3 + B * 2/3",
    "-(B - A) + B",
]
RESULTS += ["0.1 * A + 0.2 * B + 0.7 * C", "1/3 * A + 1/3 * B + 1/3 * C", "weighted_sum(A, B, alpha=7)", "free_sum(A, B, C)"]
RESULTS += ["A + (B - B)", "A + weighted_sum(B - C, C - A)", "A + 0 * (B - C)", "free_sum(0.3 * A + 0.4 * B)", "A + 0 * B"]


@pytest.mark.parametrize("text", RESULTS)
def test_expression_whose_coefficients_add_to_one_is_a_model(text: str):
    assert Checker.of(parse_recipe(f"M = {text}")).sums["M"] == 1


DELTAS = [
    "A - B",
    "0.5 * A - 0.5 * B",
    "2 * (A - B)",
    "-(A - B)",
    "mean(A - B, B - C)",
    "(A + B) / 2 - C",
    "(A - B) / 7",
    "0 * A",
]


@pytest.mark.parametrize("text", DELTAS)
def test_step_whose_coefficients_add_to_zero_is_a_delta_and_no_result(text: str):
    assert Checker.of(parse_recipe(f"D = {text}\nM = A + D")).sums["D"] == 0
    error = refusal(f"X = A\nD = {text}")
    assert "the result 'D' is a delta" in str(error) and "MODEL + D" in str(error) and error.position == 6


SUMS = {
    "0.3 * A + 0.3 * B": "0.6",
    "A + B + C - 2 * A - 2 * B": "-1",
    "1/3 * A + 1/3 * B": "2/3",
    "0.33 * A + 0.33 * B + 0.33 * C": "0.99",
    "2 * A": "2",
    "(A + B)": "2",
    "0.333333333333 * A * 3": "0.999999999999",
    "A * 3 * 0.3333333333333333333333333333": "almost 1, but not quite",
    "A * 1e-99 * 1e-99 * 1e-99 * 1e-99": "almost 0, but not quite",
    "A - B * 1.0000000000000000000000000001": "about -1e-28",
    "A / 123456789012 / 123456789012": "about 6.561000118e-23",
}


@pytest.mark.parametrize(("text", "total"), SUMS.items(), ids=SUMS)
def test_wrong_sum_is_refused_with_the_exact_sum_and_the_fix(text: str, total: str):
    message = refusal(f"M = {text}").message
    assert message.startswith(
        f"the coefficients of 'M' add to {total}: a model needs 1, a delta 0. Change the numbers, or write "
    )
    fixed = re.search(r"free_sum\(.*\)", message)
    assert fixed is not None and ("..." in fixed[0] or parse_recipe(f"M = {fixed[0]}"))


def test_step_whose_sum_is_wrong_is_refused_where_it_stands():
    error = refusal("X = A\nY = 0.5 * X + B\nM = X")
    assert str(error).startswith("line 2, column 5: the coefficients of 'Y' add to 1.5")


TAKES = {
    "add_difference(A, D, B)": "add_difference takes a model; 'D' is a delta",
    "weighted_sum(A, D)": "takes a model or a delta, the same for all operands; 'D' is a delta",
    "weighted_sum(D, A)": "takes a model or a delta, the same for all operands; 'A' is a model",
    "mean(A, A + B)": "'A + B' is neither: its coefficients add to 2",
    "weighted_sum(A)": "takes 2 models, here are 1: weighted_sum(A, B, alpha=0.5)",
    "weighted_sum(A, B, C)": "takes 2 models, here are 3",
    "mean()": "takes one or more models, here are none",
    "weighted_sum(A, 0.5)": "'0.5' stands where a model was expected",
    "A * B": "two models cannot be multiplied",
    "A / B": "'B' is a model; only a number may divide",
    "A + 0.5": "'0.5' is a number and cannot be added to a model",
    "0.5 - A": "'0.5' is a number and cannot be added to a model",
    "A / 0": "division by zero",
    "A / (0.3 - 0.1 - 0.2)": "division by zero",
    'preset("GRAD_V")': "stands where a model was expected",
}


@pytest.mark.parametrize(("text", "message"), TAKES.items(), ids=TAKES)
def test_operand_of_a_wrong_type_is_refused(text: str, message: str):
    assert message in str(refusal(f"D = A - B\nM = {text}"))


def test_free_sum_alone_may_break_the_rule():
    assert parse_recipe("M = free_sum(0.9 * A, 0.9 * B - C, A - B)").result == "M"
    assert "add to" in str(refusal("M = mean(A, B) + mean(C)"))


# ---- a sum of plain names is a mean ----


@pytest.mark.parametrize("text", ["A + B", '"A"+B', "A+B", "A  +\tB"])
def test_sum_of_plain_names_of_models_is_their_mean_and_says_so(text: str):
    recipe = parse_recipe(f"M = {text}")
    assert recipe.canonical() == "M = mean(A, B)\n"
    assert recipe.notes == ("M: a sum of 2 models is read as their mean.",)


def test_sum_of_steps_that_are_models_is_a_mean_too():
    recipe = parse_recipe('X = A\n"y (z)" = B\nM = X + "y (z)" + X + C')
    assert recipe.canonical().endswith('M = mean(X, "y (z)", X, C)\n')
    assert recipe.notes == ("M: a sum of 4 models is read as their mean.",)


@pytest.mark.parametrize("text", ["A + D", "A + B - C", "0.5 * A + 0.5 * B", "A + (B - C)", "D + A", "A", "(A + D)", "A - B + B"])
def test_delta_bracket_coefficient_or_minus_makes_plus_arithmetic(text: str):
    recipe = parse_recipe(f"D = A - B\nM = {text}")
    assert recipe.notes == ()
    assert not recipe.calls()


@pytest.mark.parametrize(
    "text", ["(A + B)", "(A) + B", "A + mean(B)", "A + B + D", "1 * A + B", "A + 1 * B", "A + B / 1", "A + B - D"]
)
def test_sum_that_is_no_mean_is_refused_for_its_sum(text: str):
    assert "add to 2" in str(refusal(f"D = A - B\nM = {text}"))


# ---- numbers ----

VALUES = {
    "0.1 + 0.2": Fraction(3, 10),
    "1/3": Fraction(1, 3),
    "1 / 3 * 3": Fraction(1),
    "1 - 0.9": Fraction(1, 10),
    "2 - 3 - 4": Fraction(-5),
    "2 - (3 - 4)": Fraction(3),
    "8 / 4 / 2": Fraction(1),
    "8 / (4 / 2)": Fraction(4),
    "2 + 3 * 4": Fraction(14),
    "-(1 + 2) * 3": Fraction(-9),
    "--5": Fraction(5),
    "0.1234567890123456789": Fraction(1234567890123456789, 10**19),
    "1e3": Fraction(1000),
    "1E-3": Fraction(1, 1000),
    "2.5e+2": Fraction(250),
    "1e+16": Fraction(10**16),
    "1e+2+1": Fraction(101),
    ".5": Fraction(1, 2),
    "5.": Fraction(5),
    "007.50": Fraction(15, 2),
    "1e-99": Fraction(1, 10**99),
    "9" * 120: Fraction(10**120 - 1),
    "٠.٥": Fraction(1, 2),
}


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=lambda value: str(value)[:24])
def test_numbers_are_exact_rationals(text: str, value: Fraction):
    assert constant(text) == value


def test_constants_may_use_constants_above():
    recipe = parse_recipe("a = 0.2\nb = 1 - 2 * a\nM = b * A + 2 * a * B")
    assert Checker.of(recipe).constants == {"a": Fraction(1, 5), "b": Fraction(3, 5)}
    assert list(recipe.constants) == ["a", "b"] and list(recipe.steps) == ["M"]


HOSTILE = [
    "1e999999999",
    "1e-999999999",
    "9" * 100_000,
    "0." + "3" * 100_000,
    "1e" + "9" * 100_000,
    "1e+200",
    "9" * 60 + "e90",
    "9" * 121,
]


@pytest.mark.timeout(60)  # a watchdog: work that grows with the square would take minutes
@pytest.mark.parametrize("number", HOSTILE, ids=lambda text: f"{text[:12]} {len(text)}")
def test_hostile_number_is_refused_unread(number: str):
    error = refusal(f"M = {number} * A")
    assert "has more than 120 digits" in error.message and len(error.message) < 100 and error.position == 4


def test_numbers_that_square_themselves_are_refused_before_they_fill_the_memory():
    squares = "\n".join(f"x{number + 1} = x{number} * x{number}" for number in range(60))
    assert "line 8, column 6: this comes to a number that is too large or too fine" in str(refusal(f"x0 = 10\n{squares}\nM = A"))
    assert "too fine" in str(refusal(f"x0 = 0.1\n{squares}\nM = A"))
    assert "too large" in str(refusal("M = 1e99 * (1e99 * A)"))
    assert "too large" in str(refusal("x = 1 / 1e-99 / 1e-99\nM = A"))


# ---- rules in braces ----


def weights_of(value: str, architecture: str = "sd1", neutral: int = 0) -> KeyWeights:
    recipe = parse_recipe(f"ratio = 0.3\nM = weighted_sum(A, B, alpha={value})")
    (weights,) = Checker.of(recipe).parameters(recipe.calls()[0]).values()
    return resolve(weights, load(architecture), Fraction(neutral))


def lanes_with(value: str, wanted: str, architecture: str = "sd1") -> list[str]:
    weights = weights_of(value, architecture)
    return [lane for lane in load(architecture).lanes if weights.of("no key of any class", lane)[0] == Fraction(wanted)]


def lanes(side: str, first: int, last: int) -> list[str]:
    return [f"{side}{number:02}" for number in range(first, last + 1)]


LANE_RULES = {
    "{IN04: 1}": ["IN04"],
    "{IN00-IN05: 1}": lanes("IN", 0, 5),
    "{IN10-OUT01: 1}": ["IN10", "IN11", "M00", "OUT00", "OUT01"],
    "{OUT*: 1}": lanes("OUT", 0, 11),
    "{IN0?: 1}": lanes("IN", 0, 9),
    "{?N11: 1}": ["IN11"],
    "{BASE: 1}": ["CLIP_L", "VAE"],
    "{TIME: 1, FINAL: 1}": ["TIME", "FINAL"],
    "{IN*: 1, IN03: 0}": ["IN00", "IN01", "IN02", *lanes("IN", 4, 11)],
    "{IN03: 0, IN*: 1}": lanes("IN", 0, 11),
    "{*: 1, IN*: 0, OUT*: 0, M00: 0, TIME: 0}": ["CLIP_L", "FINAL", "VAE"],
    "{IN*: 0, OUT*: 0, M00: 0, *: 1, TIME: 0}": ["CLIP_L", "FINAL", "VAE"],
    "{*: 0.5, *: 1, OUT*: 0, IN*: 0, TIME: 0}": ["CLIP_L", "M00", "FINAL", "VAE"],
    "{M00: 1, *: 1, *: 0}": ["M00"],
    "{IN07: 2 * ratio + 0.4}": ["IN07"],
    "{*: [0, 0,0,0,0,0,0,0,0,0,0,0,0, 1, 0,0,0,0,0,0,0,0,0,0,0,0]}": ["M00"],
    "{M00: 0, *: [0, 1,0,0,0,0,0,0,0,0,0,0,0, 1, 0,0,0,0,0,0,0,0,0,0,0,1]}": ["IN00", "OUT11", "TIME", "FINAL"],
    '{*: preset("WRAP08"), IN00-IN03: 0, OUT08-OUT10: 0, TIME: 0}': ["OUT11", "FINAL"],
    "[1, 0,0,0,0,0,0,0,0,0,0,0,0, 0, 0,0,0,0,0,0,0,0,0,0,0,0]": ["CLIP_L", "VAE"],
    "1": list(load("sd1").lanes),
    "{}": [],
}


@pytest.mark.parametrize(("value", "expected"), LANE_RULES.items(), ids=LANE_RULES)
def test_rule_means_these_lanes(value: str, expected: list[str]):
    assert set(lanes_with(value, "1")) == set(expected)


KEY_RULES = {
    "{attn2: 1}": (1, 0, 0),
    "{norm: 1}": (0, 1, 0),
    "{IN04: 0.5, attn2: 1}": (1, 0.5, 0.5),
    "{attn2: 1, IN04: 0.5}": (0.5, 0.5, 0.5),
    "{IN04-IN08/attn2: 1}": (1, 0, 0),
    "{IN05-IN08/attn2: 1, *: 0.25}": (0.25, 0.25, 0.25),
    "{*.transformer_blocks.*: 1}": (1, 1, 0),
    "{model.diffusion_model.input_blocks.4.?.in_layers.2.weight: 1}": (0, 0, 1),
    "{*.to_k.weight: 1, *: 0.5, norm: 0}": (1, 0, 0.5),
}


@pytest.mark.parametrize(("value", "expected"), KEY_RULES.items(), ids=KEY_RULES)
def test_rule_means_these_keys(value: str, expected: tuple[float, ...]):
    weights = weights_of(value)
    assert tuple(weights.of(key, "IN04")[0] for key in (ATTN2, NORM, CONV)) == tuple(map(Fraction, expected))


@pytest.mark.parametrize(("architecture", "last"), [("sd1", 11), ("sdxl", 8)])
def test_glob_over_output_blocks_never_means_final(architecture: str, last: int):
    assert lanes_with("{OUT*: 1}", "1", architecture) == lanes("OUT", 0, last)


def test_without_a_default_keys_that_no_rule_matches_keep_the_neutral_value():
    weights = weights_of("{IN*: 0.5}", neutral=1)
    assert weights.lanes["OUT03"] == 1 and weights.otherwise == 1
    assert weights.notes == ("CLIP_L, TIME, M00 to OUT11, FINAL and VAE keep 1 where no rule matches.",)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("IN12", "Did you mean 'IN11'?"),
        ("in04", "Did you mean 'IN04'?"),
        ("atn2", "Did you mean 'attn2'?"),
        ("IN08-IN04", "is not in SD 1.x"),
        ("OUT04/atn1", "'atn1' is not in SD 1.x"),
        ("XX/attn1", "'XX' is not in SD 1.x"),
        ("TIME/attn1", "'TIME/attn1' matches no key of SD 1.x"),
        ("J00", "is not in SD 1.x"),
        ("model.difusion_model.*", "matches no key of SD 1.x"),
        ("model.diffusion_model.time_embed.0.wieght", "Did you mean 'model.diffusion_model.time_embed.0.weight'?"),
    ],
)
def test_rule_that_matches_nothing_in_the_architecture_is_an_error(pattern: str, message: str):
    with pytest.raises(RecipeError, match=re.escape(message)):
        weights_of(f"{{{pattern}: 1}}")


@pytest.mark.timeout(60)  # a watchdog: an expression that goes back would take hours
def test_pattern_of_many_stars_is_matched_without_going_back():
    with pytest.raises(RecipeError, match="matches no key"):
        weights_of("{*.*" + "?*" * 100 + "z: 1}")
    with pytest.raises(RecipeError, match=r"is not in SD 1\.x"):
        weights_of("{IN" + "*" * 3_000 + "X: 1}")


# ---- save(...) ----


def test_save_is_part_of_the_recipe_and_of_its_identity():
    plain, saved = parse_recipe("M = A"), parse_recipe("M = A\nsave(dtype=bf16)")
    assert plain != saved and plain.digest() != saved.digest()
    assert saved.option("dtype") == "bf16" and plain.option("dtype") is None


def test_save_options_are_words_or_quoted_texts_in_one_order_wherever_save_stands():
    text = 'save(title="chillyMix \\"V1\\"", position_ids=rebuild, vae="vae-ft-mse-840000", dtype=fp16,)\nM = A'
    recipe = parse_recipe(text)
    assert recipe.save == (
        ("dtype", "fp16"),
        ("vae", "vae-ft-mse-840000"),
        ("position_ids", "rebuild"),
        ("title", 'chillyMix "V1"'),
    )
    assert recipe.canonical() == (
        'M = A\nsave(dtype=fp16, vae=vae-ft-mse-840000, position_ids=rebuild, title="chillyMix \\"V1\\"")\n'
    )


@pytest.mark.parametrize("title", ["007", "1e3", ".5", "1.50"])
def test_title_of_digits_is_kept_as_typed(title: str):
    recipe = parse_recipe(f"M = A\nsave(title={title})")
    assert recipe.option("title") == title
    assert parse_recipe(recipe.canonical()) == recipe


def test_title_may_be_the_name_of_a_step_or_a_constant():
    assert parse_recipe("x = 1\nM = A\nsave(title=x, step=M)").save == (("title", "x"), ("step", "M"))


def test_saved_step_is_the_result_and_must_be_a_model():
    assert parse_recipe("X = A\nM = B\nsave(step=X)").result == "X"
    assert models_of("X = A\nM = B\nsave(step=X)") == ["A"]
    assert "the result 'D' is a delta" in str(refusal("D = A - B\nM = A\nsave(step=D)"))


# ---- mistakes, each at its place: the sign ‸ stands before it ----

MISTAKES: dict[str, str | tuple[str, ...]] = {
    "M = A‸": "",
    "M =‸": "the line ends too early",
    "M = A +‸  # end\n": "the line ends too early",
    "M = ‸= A": "'=' is not understood here; a name, a number or '(' was expected",
    "‸= A": "'=' is not understood here",
    "M = A ‸B": "'B' is not understood here; an operator (+ - * /) was expected",
    "M = A * ‸* 2": "'*' is not understood here",
    "M = A‸; N = B": "';' is not understood here",
    "M = A ‸× 0.5": "Multiply with '*'",
    "M = A ‸− B": "Subtract with '-'",
    "M = ‸A×2": "'A×2' is no name. Multiply with '*'.",
    "M = ‸🙂": "'🙂' is no name. Put it in double quotes.",
    "‸1 = A": "'1' is no name. Put it in double quotes.",
    "M = A- ‸+ B": "a name does not end with '-': put 'A-' in double quotes, or a space before the minus",
    "M = A-‸": "put 'A-' in double quotes",
    "M = weighted_sum(A-‸, B)": "put 'A-' in double quotes",
    "M = A\n‸+ B": "'+' is not understood here",
    "X = A\nM = mean(A,\n  B ‸C)": "'C' is not understood here",
    "M = mean‸(A, B": "'(' is never closed",
    "M = A‸)": "')' closes nothing that stands open here",
    "M = mean(A, B‸]": "']' closes nothing that stands open here",
    'M = ‸"A': "these quotes are never closed",
    'M = ‸"A\\" + B\nN = "x"': "these quotes are never closed",
    'M = ‸""': "there is no name in these quotes",
    'M = "a‸\\nb"': "'\\n' means nothing in quotes",
    "M = A ‸\x00": "the character U+0000 cannot stand in a recipe",
    "M = A\n\nN = ‸[1, 2]": "lists and rules are values of parameters",
    "M = A + ‸{IN00: 1}": "lists and rules are values of parameters",
    "M = weighted_sum(A, B, alpha=[1, ‸[2]])": "lists and rules are values of parameters",
    "M = weighted_sum(A, B, alpha=[1, ‸x])": "'x' is no number",
    "M = weighted_sum(A, B, alpha=‸,)": "',' is not understood here; a number, a list [...] or rules {...} was expected",
    'M = weighted_sum(A, B, alpha={‸"IN00": 1})': "a lane, a range, a key class or '*', all without quotes",
    "M = weighted_sum(A, B, alpha={IN00 ‸IN01: 1})": "':' and a number was expected",
    "M = weighted_sum(A, B, alpha={IN00: 0.5 ‸IN01: 2})": "'IN01' is not understood here",
    "M = weighted_sum(A, B, alpha={IN00: ‸[1]})": "'IN00' takes a number; only '*' takes a list or a preset",
    'M = weighted_sum(A, B, alpha={*: 1, IN00: ‸preset("X")})': "'IN00' takes a number",
    "M = weighted_sum(A, B, alpha={IN01: 1, IN00: ‸C})": "'C' is no number",
    "M = weighted_sum(A, B, alpha={*: ‸{IN00: 1}})": "'{IN00: 1}' is no number",
    "M = weighted_sum(A, B, alpha=‸B)": "'B' is no number",
    "M = weighted_sum(A, B, alpha=‸weighted_sum(A, B))": "'weighted_sum(A, B)' is no number",
    "M = weighted_sum(A, B,\n  alpha=1 / ‸0)": "division by zero",
    "M = weighted_sum(A, B,\n  alpha=0.5 * ‸preset(GRAD_V))": "is no number",
    "M = weighted_sum(A, B, alpha=‸preset(A + B))": 'a preset is written preset("NAME")',
    "M = weighted_sum(A, B, alpha=preset(‸0.5))": "'0.5' is no name",
    "M = ‸weighted_smu(A, B)": "there is no merge method 'weighted_smu'. Did you mean 'weighted_sum'?",
    "M = dare(A, base=B, seed=‸0.5)": "'seed' of dare is a whole number from 0 to 4294967295.",
    "M = dare(A, base=B, seed=‸4294967296)": "'seed' of dare is a whole number from 0 to 4294967295.",
    "M = ‸qqq(A, B)": "there is no merge method 'qqq', and models take no brackets. Known: weighted_sum, ",
    "M = ties(A, B, base=‸X(0.1,0.2))": "there is no merge method 'X', and models take no brackets. Known: weighted_sum, ",
    "M = A + ‸save(dtype=fp16)": "there is no merge method 'save'",
    "M = weighted_sum(A, B,\n  alpa=‸1)": ("weighted_sum has no parameter 'alpa'", "alpha=0.5).", "Did you mean 'alpha'?"),
    "M = weighted_sum(A, B, alpha=1, alpha=‸2)": "weighted_sum is given 'alpha' twice",
    "M = ‸weighted_sum(A)": "takes 2 models",
    "D = A - B\nM = mean(A, 2 * A - B, ‸-D)": "'-D' is a delta",
    "M = 0.5 * A + ‸0.5": "is a number and cannot be added to a model",
    "M = A * ‸B": "two models cannot be multiplied",
    "M = A / ‸(B)": "",
    "ratio = 0.1\nM = (1-ratio) * ‸A + ratio * B": "'1-ratio' is one name: a minus has spaces around it, '1 - ratio'",
    "ratio = 0.1\nM = (1 - ratoi) * ‸A + ratio * B": "Did you mean 'ratio' by 'ratoi'?",
    "ratio = 0.1\nM = ‸1 - ratoi": ("'1' is a number and cannot be added to a model", "Did you mean 'ratio' by 'ratoi'?"),
    "ratio = 0.1\nM = weighted_sum(A, B, alpha=‸Ratio)": "Did you mean 'ratio' by 'Ratio'?",
    "M = ‸0.3 * A + 0.3 * B": "add to 0.6",
    "X = A\nM = ‸-A": "the coefficients of 'M' add to -1",
    "‸M = A - B": "the result 'M' is a delta",
    "M = ‸X\nX = A": "'X' is defined on line 2",
    "M = A\n‸M = B": "'M' is defined twice",
    "M = A\n  ‸B": "this expression has no name. Write 'NAME = ...'",
    "M = A\nsave(dtype=fp16)\n‸save(title=x)": "save(...) stands once",
    "M = A\n‸save()\n": "",
    "M = A\nsave()\n‸save()": "save(...) stands once",
    "M = A\nsave(‸A)": "save(...) takes name=value pairs",
    "M = A\nsave(\n  dtpe=‸bf16)": ("save has no option 'dtpe'", "Did you mean 'dtype'?", "Known: format, dtype, "),
    "M = A\nsave(dtype=‸1/2)": "save option 'dtype' takes one word or a text in double quotes",
    "M = A\nsave(dtype=‸[1])": "takes one word or a text in double quotes",
    "M = A\nsave(title=a, title=‸b)": "save option 'title' stands twice",
    "BASE_V0 = A\nM = A\nsave(step=‸BASE_V1)": ("there is no step 'BASE_V1'", "Did you mean 'BASE_V0'?", "Steps: BASE_V0, M."),
    "x = 1\nM = A\nsave(step=‸x)": "there is no step 'x'",
    "MIX = ChillyMixBaseV0 + ‸NED's input_blocks": (
        "a part of a model cannot be added",
        "Write weighted_sum(ChillyMixBaseV0, NED, alpha={IN*: 1}) to take NED's input_blocks.",
    ),
    "MIX = A + ‸NED’s output blocks": "weighted_sum(A, NED, alpha={OUT*: 1})",
    "MIX = A + ‸NED's VAE": "weighted_sum(A, NED, alpha={VAE: 1})",
    'MIX = "my A" + ‸"my NED"\'s text encoder': 'weighted_sum("my A", "my NED", alpha={BASE: 1})',
}
MISTAKES = {text: words for text, words in MISTAKES.items() if words}


@pytest.mark.parametrize(("marked", "words"), MISTAKES.items(), ids=MISTAKES)
def test_mistake_is_shown_with_line_column_caret_and_what_to_write(marked: str, words: str | tuple[str, ...]):
    position = marked.index("‸")
    text = marked.replace("‸", "")
    error = refusal(text)
    before = text[:position].split("\n")
    head, excerpt, caret = str(error).split("\n")
    assert head.startswith(f"line {len(before)}, column {len(before[-1]) + 1}: ")
    assert excerpt == "  " + text.split("\n")[len(before) - 1].replace("\x00", "\ufffd")
    assert caret == "  " + " " * len(before[-1]) + "^"
    for word in (words,) if isinstance(words, str) else words:
        assert word in head


def test_possessive_inside_quotes_is_only_a_name():
    assert models_of('M = mean("A + B\'s mix x", C)') == ["A + B's mix x", "C"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "x = 1", "x = 1\ny = x / 2", "save(dtype=fp16)", "0.5"])
def test_recipe_without_a_step_says_what_to_write(text: str):
    assert "the recipe has no step. Write one, such as" in str(refusal(text))


def test_positions_of_lists_rules_signs_and_calls_are_where_they_stand():
    text = "M = weighted_sum(A,\n  B, alpha={IN00: 1})\nN = mean(M + -A + B, weighted_sum(A, B, alpha=[1]))"
    recipe = parse_recipe(text)
    nodes = [node for line in recipe.lines for node in walk(line.expression)]
    places = {
        kind: text[next(node.position for node in nodes if isinstance(node, kind))] for kind in (Rules, ListValue, Negative)
    }
    assert places == {Rules: "{", ListValue: "[", Negative: "-"}
    assert [text[call.position :][:4] for call in recipe.calls()] == ["weig", "mean", "weig"]


def test_recipe_remembers_its_text_but_is_not_told_apart_by_it():
    one, other = parse_recipe("M = A # x"), parse_recipe("M   = A")
    assert one == other and hash(one) == hash(other) and one.text != other.text
    assert isinstance(one, Recipe)
