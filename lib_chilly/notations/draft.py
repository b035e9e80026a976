"""A recipe in the making, out of another program's notation: steps, options, and notes on what that program does otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..errors import RecipeError, UnseenText
from ..expression import Call, ModelRef, number_node, shortened, spell, spell_name, walk
from ..models import split_title
from ..recipe import Recipe
from ..recipe_text import parse_recipe

WEIGHT = re.compile(r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,2})?")
"""A number as programs write it, short enough to be exact at no cost."""
_LARGEST = 1000
"""Of the weights that another program can have meant."""
_LONGEST_NAME = 300
MOST_STEPS = 200


@dataclass(frozen=True)
class Imported:
    """A recipe out of another program's notation.

    Attributes:
        notation: what it was read as, such as "SuperMerger's metadata".
        recipe: its `canonical()` is our own notation, its `notes` say what the other program would have computed otherwise.
    """

    notation: str
    recipe: Recipe

    @property
    def notes(self) -> tuple[str, ...]:
        return self.recipe.notes


class Draft:
    """Takes models, steps, options and notes; what is wrong is said with the notation that the text was taken for."""

    def __init__(self, notation: str):
        self.notation = notation
        self._notes = [f"The recipe was read from {notation}."]
        self._models: dict[str, str] = {}
        self._lines: list[tuple[str, str]] = []
        self._fields: list[dict[str, str]] = []
        self._options: dict[str, str] = {}

    def error(self, message: str) -> RecipeError:
        return RecipeError(f"this was taken for {self.notation}: {message}")

    def note(self, sentence: str) -> None:
        """Say something once."""
        if sentence not in self._notes:
            self._notes.append(sentence)

    def model(self, name: object, what: str, sha256: object = None) -> str:
        """A model as our notation spells it, with the start of its hash where one is known.

        Args:
            what: which model, such as "model A", for the message when there is none.
        """
        if not isinstance(name, str) or not name.strip() or name.strip() == "None":
            raise self.error(f"it does not name {what}.")
        name = name.strip()
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise self.error(
                f"the name of {what} has line breaks or control characters, or more than {_LONGEST_NAME} characters."
            )
        if isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{10,64}", sha256) and split_title(name)[1] is None:
            name = f"{name} [{sha256[:10].lower()}]"
        self._models.setdefault(name, what.partition(" (")[0])
        return spell_name(name)

    def number(self, value: object, what: str) -> Fraction:
        """A number out of a text, of JSON's kinds or written; a float is its shortest decimal text.

        Raises:
            RecipeError: it is none, or none that a weight can be.
        """
        written = repr(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        if isinstance(written, str) and WEIGHT.fullmatch(written.strip()):
            number = Fraction(written.strip())
            if abs(number) <= _LARGEST:
                return number
        if not isinstance(written, str):
            raise self.error(f"{what} is missing or no number; one between -{_LARGEST} and {_LARGEST} was expected.")
        shown = shortened(written)
        if isinstance(value, str) and re.match(r"\s*[RUXDE](?:\W|\d|$)", value):
            raise self.error(
                f"{what} is '{shown}', a random weight; only numbers are read here. Write the number that was drawn."
            )
        if isinstance(value, float) and not math.isfinite(value):
            shown = repr(value)
        raise self.error(f"{what} is '{shown}'; a number between -{_LARGEST} and {_LARGEST} was expected.")

    def numbers(self, value: object, what: str) -> tuple[Fraction, ...]:
        """A list of numbers, or a text of them with commas between."""
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list) or not 1 <= len(items) <= 200:
            raise self.error(f"{what} is no list of numbers.")
        return tuple(self.number(item, f"number {index} of {what}") for index, item in enumerate(items, 1))

    def step(self, expression: str, **fields: str) -> str:
        """Add a step; the name that later steps call it by.

        Args:
            fields: name of a parameter to the field of the user's text that it comes from; the first stands for the whole step.
        """
        if len(self._lines) == MOST_STEPS:
            raise self.error(f"it has more than {MOST_STEPS} steps.")
        number = len(self._lines) + 1
        name = next(f"STEP{number}{tail}" for tail in _TAILS if f"STEP{number}{tail}" not in self._models)
        self._lines.append((name, expression))
        self._fields.append(fields)
        return name

    def option(self, name: str, value: str, field: str = "") -> None:
        """Set an option of `save(...)`, to what `field` of the user's text holds."""
        try:
            parse_recipe(f"_ = _\nsave({name}={spell_name(value)})")
        except RecipeError:
            raise self.error(f"{field} is one line of text, no control characters; here it is {shortened(value)!r}.") from None
        self._options[name] = value

    def finish(self) -> Imported:
        """The recipe; its text is one that nobody has seen, so errors name the field that is meant.

        Raises:
            RecipeError: our own notation's reader finds a mistake in what was written.
        """
        lines = list(self._lines)
        if lines and (len(lines) == 1 or "result" not in self._models):
            lines[-1] = ("result", lines[-1][1])
        text = "".join(f"{name} = {expression}\n" for name, expression in lines)
        options = ", ".join(f"{name}={spell_name(value)}" for name, value in self._options.items())
        text += f"save({options})\n" if options else ""
        try:
            canonical = parse_recipe(text).canonical()
            recipe = parse_recipe(canonical)
        except RecipeError as error:
            number = text.count("\n", 0, error.position or 0)
            field = next(iter(self._fields[number].values()), "") if number < len(self._fields) else ""
            raise self.error(f"{field}: {error.message}" if field else error.message) from None
        text = UnseenText(canonical, self._places(recipe))
        return Imported(self.notation, replace(recipe, text=text, notes=(*self._notes, *recipe.notes)))

    def _places(self, recipe: Recipe) -> dict[int, str]:
        """Offset in the canonical text to the notation, with the field that what stands there comes from."""
        places: dict[int, str] = {}
        for line, fields in zip(recipe.lines, self._fields, strict=True):
            places[line.position] = next(iter(fields.values()), "")
            for node in walk(line.expression):
                if isinstance(node, ModelRef):
                    places[node.position] = self._models.get(node.name, "")
                elif isinstance(node, Call):
                    places |= {value.position: fields.get(name, name) for name, value in node.parameters}
        return {position: f"{self.notation}, {field}" if field else self.notation for position, field in places.items()}


_TAILS = ("", *(f"_{number}" for number in range(2, MOST_STEPS)))


def spelled(value: Fraction) -> str:
    """A number as our notation spells it."""
    return spell(number_node(value))


def weights_text(default: Fraction | Sequence[Fraction], rules: Iterable[tuple[str, Fraction]] = ()) -> str:
    """A parameter's value in our notation: a number or a list, in braces where rules follow."""
    text = spelled(default) if isinstance(default, Fraction) else f"[{', '.join(map(spelled, default))}]"
    entries = [f"{pattern}: {spelled(value)}" for pattern, value in rules]
    return "{" + ", ".join([f"*: {text}", *entries]) + "}" if entries else text
