"""The one text of a recipe reads back as the same recipe, whatever it was made of; no text, however hostile, costs much work."""

from __future__ import annotations

import copy
import hashlib
import pickle
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lib_chilly
from lib_chilly.decimals import is_decimal, spell_number
from lib_chilly.errors import RecipeError
from lib_chilly.expression import (
    Binary,
    Call,
    Constant,
    ListValue,
    ModelRef,
    Negative,
    Node,
    Number,
    PresetValue,
    Rules,
    StepRef,
    children,
    number_node,
    spell,
    walk,
    with_children,
)
from lib_chilly.recipe import SAVE_OPTIONS, Line, Recipe
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe

CHILLY_MIX = """\
ratio     = 0.15
pyAB      = pyro_pov_a + pyro_pov_b
MERGE1    = (1 - ratio) * analogDiffusion_10 + ratio * pyAB
MERGE1Fix = 0.95 * MERGE1 + 0.05 * v1-5-pruned-emaonly
MERGE2    = MERGE1Fix + 1 * (F222_v1 - v1-5-pruned-emaonly)
BASE_V0   = 0.75 * MERGE2 + 0.25 * r34_e4
V1_NED    = weighted_sum(BASE_V0, NED, alpha=[1,1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0])
MIX       = weighted_sum(V1_NED, MERGE2, alpha={*: preset(GRAD_V), TIME: .20, IN00-IN05: 0.3, OUT*/attn2: 1})
save(dtype=fp16, vae="vae-ft-mse-840000", position_ids=rebuild, title="chillyMixBase V1-NED")
"""
CANONICAL = """\
ratio = 0.15
pyAB = mean(pyro_pov_a, pyro_pov_b)
MERGE1 = (1 - ratio) * analogDiffusion_10 + ratio * pyAB
MERGE1Fix = 0.95 * MERGE1 + 0.05 * v1-5-pruned-emaonly
MERGE2 = MERGE1Fix + 1 * (F222_v1 - v1-5-pruned-emaonly)
BASE_V0 = 0.75 * MERGE2 + 0.25 * r34_e4
V1_NED = weighted_sum(BASE_V0, NED, alpha=[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
MIX = weighted_sum(V1_NED, MERGE2, alpha={*: preset("GRAD_V"), TIME: 0.2, IN00-IN05: 0.3, OUT*/attn2: 1})
save(dtype=fp16, vae=vae-ft-mse-840000, position_ids=rebuild, title="chillyMixBase V1-NED")
"""
DIGEST = "4fa99748a7b867123c4eaeb1ee14808397966ceb0e1f88ba543396516a3ceb47"


def test_canonical_text_of_the_chilly_mix_is_this_one():
    assert parse_recipe(CHILLY_MIX).canonical() == CANONICAL
    assert parse_recipe(CANONICAL) == parse_recipe(CHILLY_MIX)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_digest_is_the_same_on_every_system(ending: str):
    assert parse_recipe(CHILLY_MIX.replace("\n", ending)).digest() == DIGEST == hashlib.sha256(CANONICAL.encode()).hexdigest()


def test_digest_changes_with_what_the_recipe_says():
    digests = {parse_recipe(CHILLY_MIX.replace(*change)).digest() for change in (("", ""), ("0.15", "0.16"), ("NED,", "NED2,"))}
    assert len(digests) == 3


SPELLINGS = {
    "((A * 0.5)) + ((0.5)) * B": "A * 0.5 + 0.5 * B",
    "(A + B - C) + 0 * D": "A + B - C + 0 * D",
    "A - (B - C) - (C - B)": "A - (B - C) - (C - B)",
    "A - ((B - C) + (C - B))": "A - (B - C + (C - B))",
    "2 * (3 * A) / 6": "2 * (3 * A) / 6",
    "(2 * 3) * A / 6": "2 * 3 * A / 6",
    "A * (2 / 2)": "A * (2 / 2)",
    "-(-(A))": "--A",
    "-(2 * -A) - A": "-(2 * -A) - A",
    "(-1) * -A": "-1 * -A",
    "0.50 * A + .5 * B": "0.5 * A + 0.5 * B",
    "1.0 * A": "1 * A",
    "1e-7 * A + 0.9999999 * B": "0.0000001 * A + 0.9999999 * B",
    "1e3 * A - 999 * A": "1000 * A - 999 * A",
    "(1/3) * A + 2 / 3 * A": "1 / 3 * A + 2 / 3 * A",
    '"A" * 1 + 0 * "my \\"A\\""': 'A * 1 + 0 * "my \\"A\\""',
    "weighted_sum( A ,B,alpha = 5.0E-1 , )": "weighted_sum(A, B, alpha=0.5)",
    "weighted_sum(A, B, alpha={ *:-1,IN00 : (1/3),})": "weighted_sum(A, B, alpha={*: -1, IN00: 1 / 3})",
    "weighted_sum(A, B, alpha=[ ])": "weighted_sum(A, B, alpha=[])",
    "weighted_sum(A, B, alpha=preset(GRAD_V))": 'weighted_sum(A, B, alpha=preset("GRAD_V"))',
}


@pytest.mark.parametrize(("text", "canonical"), SPELLINGS.items(), ids=SPELLINGS)
def test_canonical_text_has_single_spaces_minimal_parentheses_and_shortest_numbers(text: str, canonical: str):
    recipe = parse_recipe(f"M = {text}")
    assert recipe.canonical() == f"M = {canonical}\n"
    assert parse_recipe(recipe.canonical()) == recipe


# ---- recipes of every kind ----


def is_spellable(name: str) -> bool:
    return bool(name.strip()) and unicodedata.is_normalized("NFC", name)


any_text = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8).filter(is_spellable)
words = st.text(st.sampled_from("AB1.-_é模e\u0301"), min_size=1, max_size=5).map(lambda text: unicodedata.normalize("NFC", text))
names = st.one_of(st.sampled_from(["A", "v1-5", "mean", "my model", 'a"b\\']), words.filter(is_spellable), any_text)
sizes = st.builds(lambda digits, places: Fraction(digits, 10**places), st.integers(0, 10**6), st.integers(0, 9))
patterns = st.one_of(
    st.sampled_from(
        ["IN00", "IN00-IN05", "OUT*", "attn2", "IN04-IN08/attn2", "*", "model.*.weight", "é", "a=b", "IN0?", "+", "[x]"]
    ),
    st.text(st.sampled_from("INOUT0189*?-/._"), min_size=1, max_size=8),
)


class Maker:
    """Draws expressions that are well typed below some lines."""

    def __init__(self, draw: Callable[[Any], Any], files: Sequence[str]):
        self.draw, self.files = draw, list(files)
        self.constants: list[str] = []
        self.sums: dict[str, Fraction] = {}

    def one_of(self, *makers: Callable[[], Node]) -> Node:
        return self.draw(st.sampled_from(makers))()

    def number(self, depth: int) -> Node:
        size = Number(self.draw(sizes))
        if depth <= 0 or self.draw(st.booleans()):
            return Constant(self.draw(st.sampled_from(self.constants))) if self.constants and self.draw(st.booleans()) else size
        below = [self.number(depth - 1), self.number(depth - 1)]
        return self.one_of(
            lambda: Negative(below[0]),
            lambda: Binary(self.draw(st.sampled_from("+-*")), *below),
            lambda: Binary("/", below[0], Number(size.value + 1)),
        )

    def reference(self, total: int, own: str) -> Node:
        steps = [StepRef(name) for name, each in self.sums.items() if each == total]
        models = [ModelRef(name) for name in (*self.files, own) if name not in self.sums and name not in self.constants]
        return self.draw(st.sampled_from(steps + (models if total else []) or [None])) or self.delta(0, own)

    def model(self, depth: int, own: str) -> Node:
        if depth <= 0:
            return self.reference(1, own)
        one, two, delta = self.model(depth - 1, own), self.model(depth - 2, own), self.delta(depth - 1, own)
        weight = self.number(1)
        return self.one_of(
            lambda: Binary("+", Binary("*", Binary("-", Number(Fraction(1)), weight), one), Binary("*", weight, two)),
            lambda: Binary("/", Binary("+", one, two), Number(Fraction(2))),
            lambda: Binary(self.draw(st.sampled_from("+-")), one, delta),
            lambda: Binary("+", delta, one),
            lambda: Binary("*", one, Number(Fraction(1))),
            lambda: Negative(Negative(one)),
            lambda: self.call("weighted_sum", (one, two), ("alpha",)),
            lambda: self.call("mean", (one, two, two), ()),
            lambda: self.call("add_difference", (one, two, one), ("alpha",)),
            lambda: self.call("triple_sum", (one, two, one), ("beta", "alpha")),
            lambda: self.call("free_sum", (Binary("*", weight, one), delta), ("alpha", "beta")),
        )

    def delta(self, depth: int, own: str) -> Node:
        one, two = self.model(depth - 1, own), self.model(depth - 2, own)
        if depth <= 0:
            return Binary("-", one, two)
        delta = self.delta(depth - 1, own)
        return self.one_of(
            lambda: Binary("-", one, two),
            lambda: self.reference(0, own),
            lambda: Negative(delta),
            lambda: Binary("*", *self.draw(st.permutations((self.number(1), delta)))),
            lambda: Binary("/", delta, Number(self.draw(sizes) + 1)),
            lambda: self.call("weighted_sum", (delta, delta), ("alpha",)),
        )

    def call(self, method: str, operands: tuple[Node, ...], parameters: Sequence[str]) -> Node:
        given = self.draw(st.lists(st.sampled_from(parameters), unique=True)) if parameters else []
        return Call(method, operands, tuple((name, self.value()) for name in given))

    def value(self) -> Node:
        return self.one_of(self.plain_value, self.rules, lambda: self.number(2))

    def plain_value(self) -> Node:
        count = self.draw(st.sampled_from([0, 1, 3, 26]))
        numbers = ListValue(tuple(self.number(0) for _ in range(count)))
        return self.one_of(lambda: numbers, lambda: PresetValue(self.draw(names)))

    def rules(self) -> Node:
        chosen = self.draw(st.lists(patterns, max_size=4))
        return Rules(
            tuple((each, self.plain_value() if each == "*" and self.draw(st.booleans()) else self.number(1)) for each in chosen)
        )


@st.composite
def recipes(draw: Callable[[Any], Any]) -> Recipe:
    """Recipes that no parser has seen."""
    files, own = (draw(st.lists(names, min_size=1, max_size=4, unique=True)) for _ in range(2))
    maker = Maker(draw, [name for name in files if name not in own] or ["file of no step"])
    lines = []
    for name in own:
        kind = draw(st.sampled_from(["constant", "delta", "model", "model"])) if name is not own[-1] else "model"
        if kind == "constant":
            lines.append(Line(name, maker.number(2), True))
            maker.constants.append(name)
        else:
            make = maker.delta if kind == "delta" else maker.model
            lines.append(Line(name, make(draw(st.integers(0, 3)), name)))
            maker.sums[name] = Fraction(kind == "model")
    options = draw(st.dictionaries(st.sampled_from([name for name in SAVE_OPTIONS if name != "step"]), names, max_size=3))
    if draw(st.booleans()):
        options["step"] = draw(st.sampled_from([name for name, total in maker.sums.items() if total]))
    return Recipe(tuple(lines)).with_options(**options)


@settings(max_examples=100, deadline=None)
@given(recipes())
def test_any_recipe_reads_back_from_its_canonical_text(recipe: Recipe):
    text = recipe.canonical()
    read = parse_recipe(text)
    assert read == recipe and hash(read) == hash(recipe)
    assert read.canonical() == text and read.digest() == recipe.digest()
    assert read.notes == ()


@settings(max_examples=30, deadline=None)
@given(recipes())
def test_parts_of_a_recipe_can_be_taken_apart_and_put_together(recipe: Recipe):
    assert pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe) == recipe
    for line in recipe.lines:
        for node in walk(line.expression):
            assert with_children(node, children(node)) == node


@given(st.one_of(st.fractions(), st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_number_node_is_the_number_itself(value: Fraction | float):
    node = number_node(value)
    exact = value if isinstance(value, Fraction) else Fraction(repr(value))
    assert Checker("").number(node) == exact
    assert all(part.value >= 0 and is_decimal(part.value) for part in walk(node) if isinstance(part, Number))
    if len(spell(node)) < 100:
        assert parse_recipe(f"x = {spell(node)}\nM = A").constants["x"] == node


@given(sizes, st.integers(0, 3))
def test_spelling_of_a_number_is_the_shortest_plain_one(value: Fraction, zeros: int):
    text = spell_number(value)
    assert Fraction(text) == value and re.fullmatch(r"(0|[1-9]\d*)(\.\d*[1-9])?", text)
    assert parse_recipe(f"x = {'0' * zeros}{text}{'' if '.' in text else '.'}{'0' * zeros}\nM = A").constants["x"] == Number(
        value
    )


# ---- texts of every kind ----

TOKENS = [
    "A",
    "B",
    "ratio",
    "x",
    "M",
    " = ",
    "=",
    "\n",
    "\r\n",
    " + ",
    " - ",
    "*",
    "/",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
]
TOKENS += [
    "0.5",
    "1",
    "1e5",
    "1e+5",
    ".",
    "-",
    "\\",
    "#",
    "IN00",
    "*",
    "preset(",
    "mean(",
    "weighted_sum(A, B",
    ", alpha=",
    "save(",
]
TOKENS += [
    "save(title=",
    'preset("X")',
    "'s input",
    " ",
    "\t",
    "\u0301",
    "\u0338",
    "\ud800",
    "\x00",
    "\ufeff",
    "é",
    "×",
    "−",
    "0",
    "A-",
]
STARTS = ["", "M = ", "M = A\n", "ratio = 0.5\nM = ", "M = weighted_sum(A, B, alpha=", "M = A\nsave(title=", "M = mean(A, "]


def check(text: str) -> None:
    """Either a RecipeError that can be shown, or a recipe whose canonical text is a fixed point."""
    recipe = read(text)
    if isinstance(recipe, RecipeError):
        assert str(recipe).encode()
        assert recipe.position is None or (recipe.text is not None and 0 <= recipe.position <= len(recipe.text))
        return
    canonical = recipe.canonical()
    again = parse_recipe(canonical)
    assert again == recipe and again.canonical() == canonical and again.digest() == recipe.digest()


def read(text: str) -> Recipe | RecipeError:
    try:
        return parse_recipe(text)
    except RecipeError as error:
        return error


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(STARTS), st.lists(st.sampled_from(TOKENS), max_size=12), st.sampled_from(["", ")", "\nN = A"]))
@example("M = A\nsave(title=", ['"', "\u0338", "x", '"'], ")")
def test_soup_of_tokens_is_read_or_refused(start: str, tokens: list[str], end: str):
    check(start + "".join(tokens) + end)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(STARTS), st.text())
def test_any_text_is_read_or_refused(start: str, text: str):
    check(start + text)


@settings(max_examples=60, deadline=None)
@given(recipes(), st.data())
def test_recipe_with_a_slip_is_read_or_refused(recipe: Recipe, data: st.DataObject):
    text = recipe.canonical()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    check(text[:start] + data.draw(st.sampled_from(TOKENS)) + text[min(end, start + 3) :])


# ---- hostile sizes ----

OURS = str(Path(lib_chilly.__file__).parent)


def work(task: Callable[[], object], at_most: int = 5_000_000) -> int:
    """How many instructions of our own code a task takes; it is stopped where they are too many."""
    count = 0

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def step(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "opcode"
        assert count <= at_most, "too much work"
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        task()
    finally:
        sys.settrace(before)
    return count


GROWING: dict[str, Callable[[int], str]] = {
    "lines": lambda count: "\n".join(f"s{number} = A" for number in range(count)),
    "lines that use the line above": lambda count: "s0 = A\n" + "\n".join(f"s{n + 1} = mean(s{n}, B)" for n in range(count)),
    "constants": lambda count: "\n".join(f"c{number} = 0.5" for number in range(count)) + "\nM = A",
    "chain in which each step doubles the models": lambda count: (
        "s0 = mean(A, B)\n" + "\n".join(f"s{n + 1} = weighted_sum(s{n}, s{n})" for n in range(count))
    ),
    "chain in which each step doubles the deltas": lambda count: (
        "s0 = A - B\n" + "\n".join(f"s{n + 1} = s{n} + s{n}" for n in range(count)) + f"\nM = A + s{count}"
    ),
    "models in one call": lambda count: "M = mean(" + "A, " * count + ")",
    "lines in brackets": lambda count: "M = mean(\n" + "A,\n" * count + ")",
    "numbers in a list": lambda count: "M = weighted_sum(A, B, alpha=[" + "0, " * count + "])",
    "rules": lambda count: "M = weighted_sum(A, B, alpha={" + "IN00: 0, " * count + "})",
    "comments": lambda count: "# x\n" * count + "M = A",
    "brackets": lambda count: "M = " + "(" * count + "A" + ")" * count,
}


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING)
def test_work_grows_with_the_text_and_not_faster(make: Callable[[int], str]):
    def run(count: int) -> int:
        text = make(count)
        return work(lambda: parse_recipe(text).digest())

    run(2)  # fills caches
    small, large = run(60), run(180)
    assert large < 3.3 * small, f"{small} instructions for 60, {large} for 180"


LARGE = {
    "5 000 lines": "\n".join(f"s{number} = A" for number in range(5_000)),
    "10 000 parentheses": "M = " + "(" * 10_000 + "A" + ")" * 10_000,
    "4 000 models": "M = mean(" + "A, " * 4_000 + "B)",
    "100 levels of calls": "M = " + "mean(" * 99 + "A" + ")" * 99,
    "100 terms": "M = " + " + ".join(["0.01 * A"] * 98 + ["0.02 * A"]),
    "100 signs": "M = " + "- " * 98 + "A",
    "a name of 100 000 letters": "M = " + "A" * 100_000,
    "a name of 100 000 digits and a letter": "M = " + "1" * 100_000 + "x",
    "a quoted name of 100 000 quotes": 'M = "' + '\\"' * 100_000 + '"',
    "a comment of 100 000 quotes": "M = A # " + '"' * 100_000,
    "100 000 spaces": "M = " + " " * 100_000 + "A",
    "100 000 empty lines": "\n" * 100_000 + "M = A",
}


@pytest.mark.timeout(120)  # a watchdog: work that grows with the square would take hours
@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_large_recipe_is_read_spelt_compared_and_copied(text: str):
    recipe = parse_recipe(text)
    canonical = recipe.canonical()
    again = parse_recipe(canonical)
    assert again == recipe and hash(again) == hash(recipe) and again.canonical() == canonical
    if len(text) < 2_000:
        assert copy.deepcopy(recipe) == pickle.loads(pickle.dumps(recipe)) == recipe
        assert eval(repr(recipe.lines[0].expression)) == recipe.lines[0].expression


DEEP = "nested too deeply: more than 100 levels, where each operator in a row is one. Give parts of it names"
REFUSED = {
    "10 000 terms": ("M = " + " + ".join(["A"] * 10_000), DEEP),
    "101 terms": ("M = " + " + ".join(["A"] * 101), DEEP),
    "2 000 numbers": ("M = A * (" + " + ".join(["1"] * 2_000) + ")", DEEP),
    "10 000 signs": ("M = " + "-" * 10_000 + "A", DEEP),
    "2 000 calls": ("M = " + "mean(" * 2_000 + "A" + ")" * 2_000, DEEP),
    "2 000 rules in rules": ("M = mean(A, x=" + "{*: " * 2_000 + "1" + "}" * 2_000 + ")", DEEP),
    "2 000 terms and a slip": ("M = " + " + ".join(["A"] * 2_000) + " B", "'B' is not understood here; an operator"),
    "10 000 open brackets": ("M = " + "(" * 10_000, "'(' is never closed"),
    "100 000 open quotes": ("M = " + '"\\' * 100_000, "these quotes are never closed"),
    "100 000 minus signs": ("M = A" + "-" * 100_000, "a name does not end with '-'"),
    "100 000 combining marks": ("M = a" + "\u0301\u0323" * 50_000, "more than 30 combining marks in a row"),
    "100 000 letters of a method": ("M = " + "m" * 100_000 + "(A)", "there is no merge method"),
    "100 000 letters without a number": ("M = weighted_sum(A, B, alpha=" + "a" * 100_000 + ")", "is no number"),
    "100 000 letters before a part": ("M = A + " + "a" * 100_000 + "'s input", "a part of a model cannot be added"),
    "100 000 letters that are no sum": ("M = " + "a" * 100_000 + " + " + "b" * 100_000 + "'", "'''"),
}


@pytest.mark.timeout(120)  # a watchdog: work that grows with the square would take hours
@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_hostile_recipe_is_refused_with_its_place(text: str, message: str):
    with pytest.raises(RecipeError, match=re.escape(message)) as caught:
        parse_recipe(text)
    assert caught.value.position is not None


def test_recipe_read_far_down_the_stack_is_the_same_one():
    def deeper(levels: int) -> Recipe:
        return parse_recipe("M = " + "mean(" * 99 + "A" + ")" * 99) if levels == 0 else deeper(levels - 1)

    assert deeper(400).canonical() == deeper(0).canonical()
