"""The step of a recipe that is open: its operands, and the same step with other weights, each as a recipe of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from ..addresses import set_value
from ..architecture import Architecture
from ..errors import MergeError
from ..expression import (
    Binary,
    Call,
    ListValue,
    ModelRef,
    Negative,
    Node,
    PresetValue,
    Rules,
    StepRef,
    children,
    number_node,
    spell,
    with_children,
)
from ..number_lists import Preset, numbers_for
from ..random_weights import Draw
from ..recipe import Line, Recipe
from ..recipe_check import Checker, is_number
from ..recipe_text import parse_recipe
from ..registry import MergeMethod
from .problem import FieldError
from .step_reading import read_step


class OpenStep:
    """The step of a recipe whose pictures are wanted.

    Args:
        recipe: as read.
        step: its name; None for the result.
        parameter: the one that strength, blocks and variants change; None for the first that may differ between blocks.

    Raises:
        FieldError: there is no such step.

    Attributes:
        name: of the step.
        recipe: whose result is the step.
        saved: what `save(step=...)` said before.
    """

    def __init__(self, recipe: Recipe, step: str | None = None, parameter: str | None = None):
        if step is not None and step not in recipe.steps:
            raise FieldError(f"there is no step '{step}'. Steps: {', '.join(recipe.steps)}.", "step")
        self.name = step or recipe.result
        self.recipe = recipe if self.name == recipe.result else recipe.with_options(step=self.name)
        self.saved = recipe.option("step")
        self._expression = recipe.steps[self.name].expression
        self._checker = Checker.of(recipe)
        self._reading = read_step(self._expression, self._checker)
        self._operands = self._reading.operands or _models(self._expression)
        self._parameter = parameter

    def operand_name(self, index: int) -> str:
        """How an operand is written."""
        return spell(self._operands[index])

    def operand(self, index: int) -> Recipe:
        """A recipe of the step's operand: a model by itself as it is stored, a step as the recipe would save it."""
        if index >= len(self._operands):
            raise MergeError(f"'{self.name}' is made of one model; there is no {'AB'[index]}.")
        node = self._operands[index]
        if isinstance(node, ModelRef):
            return model_by_itself(node.name)
        if isinstance(node, StepRef):
            return self.recipe.with_options(step=node.name)
        return self._with_line(Line(self._free_name("AB"[index]), node))

    def strength(self, factor: Fraction, architecture: Architecture) -> Recipe:
        """The step with its curve scaled; where it has none, the way from its A to what it is."""
        if (curve := self._curve()) is None:
            first = self._operands[0]
            way = Binary("*", number_node(factor), Binary("-", self._expression, first))
            return self._with_line(Line(self.name, Binary("+", first, way)))
        call, name = curve
        return self._with_parameter(call, name, scaled(self._reading.value(name), factor, architecture, self._checker))

    def block(self, lane: str, value: Fraction) -> Recipe:
        """The step with one lane moved."""
        call, name = self._needed_curve()
        return self._read(set_value(self._with_call(call), f"{self.name}.{name}.{lane}", value))

    def variant(self, number: int, seed: int, limits: tuple[Fraction, Fraction], architecture: Architecture) -> Recipe:
        """The step with random block weights, one for each number of the architecture's list."""
        call, name = self._needed_curve()
        letters = Rules(tuple((slot, ModelRef("X")) for slot in architecture.slots))
        named = tuple((each, value) for each, value in call.parameters if each not in self._reading.given)
        drawn = Draw(seed, number, limits)(self.name, replace(call, parameters=(*named, (name, letters))), self._checker)
        assert isinstance(drawn, Call)
        rules = dict(drawn.parameters)[name]
        assert isinstance(rules, Rules)
        return self._with_parameter(call, name, ListValue(tuple(value for _, value in rules.entries)))

    # ---- recipes with another line ----

    def _curve(self) -> tuple[Call, str] | None:
        """The step as a call, and the name of its parameter that makes the curve; None where it has none."""
        method = self._reading.registered
        names = _per_block(method) if method else []
        if not names:
            return None
        if self._parameter is not None and self._parameter not in names:
            raise FieldError(
                f"'{self.name}' has no block weights '{self._parameter}'. There are: {', '.join(names)}.", "parameter"
            )
        return self._reading.call(), self._parameter or names[0]

    def _needed_curve(self) -> tuple[Call, str]:
        if (curve := self._curve()) is None:
            raise MergeError(f"'{self.name}' has no block weights to change. Make it a weighted sum first.")
        return curve

    def _with_call(self, call: Call) -> Recipe:
        return self._with_line(Line(self.name, call))

    def _with_parameter(self, call: Call, name: str, value: Node) -> Recipe:
        return self._with_call(replace(call, parameters=tuple({**dict(call.parameters), name: value}.items())))

    def _with_line(self, line: Line) -> Recipe:
        """The recipe with this line in the place of the step's, or at the end; read again, so that all of it is checked."""
        is_new = line.name != self.name
        lines = (
            (*self.recipe.lines, line) if is_new else tuple(line if old.name == line.name else old for old in self.recipe.lines)
        )
        return self._read(replace(self.recipe, lines=lines).with_options(step=line.name))

    def _read(self, recipe: Recipe) -> Recipe:
        return parse_recipe(recipe.canonical())

    def _free_name(self, start: str) -> str:
        name = f"{start}_of_{self.name}"
        while any(line.name == name for line in self.recipe.lines):
            name += "_"
        return name


def model_by_itself(name: str) -> Recipe:
    """The recipe of a model as it is stored."""
    return parse_recipe(Recipe((Line("result", ModelRef(name)),), (("dtype", "source"),)).canonical())


def scaled(node: Node, factor: Fraction, architecture: Architecture, checker: Checker) -> Node:
    """Block weights times a factor.

    Args:
        checker: has taken the constants that stand in them.
    """
    if is_number(node):
        return number_node(factor * checker.number(node))
    if isinstance(node, PresetValue):  # as it is meant here, since a list of 26 is cut where a preset is resampled
        numbers, _ = numbers_for(Preset(node.name), architecture)
        return ListValue(tuple(number_node(factor * number) for number in numbers))
    return with_children(node, [scaled(child, factor, architecture, checker) for child in children(node)])


def _models(node: Node) -> Sequence[Node]:
    """What an expression is made of: a call's operands, the models of a sum, or the one model that it is."""
    if isinstance(node, Call):
        return node.operands
    if isinstance(node, Negative):
        return _models(node.operand)
    if isinstance(node, Binary):
        return [model for side in (node.left, node.right) if not is_number(side) for model in _models(side)]
    return [node]


def _per_block(method: MergeMethod) -> Sequence[str]:
    return [name for name, (parameter, _) in method.parameters.items() if parameter.per_block]
