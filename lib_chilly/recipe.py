"""What the user said: named steps over named models, immutable, with one canonical text; knows no files and no tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from .errors import RecipeError
from .expression import EXTRACT, Call, Constant, LoraRef, ModelRef, Node, StepRef, spell, spell_name, walk

SAVE_OPTIONS = (
    *("format", "dtype", "unet_dtype", "text_encoder_dtype", "vae_dtype", "compute"),
    *("vae", "position_ids", "ema", "discard", "yaml", "prediction", "title", "step", "on_nan"),
)
"""What `save(...)` may say, in the order of the canonical text."""


@dataclass(frozen=True)
class Line:
    """`name = expression`: a step, or a constant where the expression holds numbers alone."""

    name: str
    expression: Node
    is_constant: bool = False
    position: int = field(default=0, compare=False)


def extraction_in(line: Line) -> Call | None:
    """The `extract(...)` that a whole line is; None where it is anything else."""
    node = line.expression
    return node if isinstance(node, Call) and node.method == EXTRACT else None


@dataclass(frozen=True)
class Recipe:
    """An immutable recipe.

    Attributes:
        lines: constants and steps, as they stand; names are unique.
        save: options of `save(...)` as texts, in the order of SAVE_OPTIONS.
        text: what it was read from, for showing errors at their place.
        notes: sentences on how the text was read, such as a `+` taken as a mean.
    """

    lines: tuple[Line, ...]
    save: tuple[tuple[str, str], ...] = ()
    text: str = field(default="", compare=False, repr=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def steps(self) -> Mapping[str, Line]:
        return {line.name: line for line in self.lines if not line.is_constant}

    @cached_property
    def constants(self) -> Mapping[str, Node]:
        return {line.name: line.expression for line in self.lines if line.is_constant}

    @property
    def result(self) -> str:
        """Name of the step that is saved: `save(step=...)`, else the last one."""
        name = self.option("step") or list(self.steps)[-1]
        if name not in self.steps:
            raise RecipeError(f"there is no step '{name}'. Steps: {', '.join(self.steps)}.")
        return name

    @property
    def extraction(self) -> Call | None:
        """The `extract(...)` that the result is, where it is a LoRA."""
        return extraction_in(self.steps[self.result])

    def option(self, name: str) -> str | None:
        """The text that `save(...)` gives to an option."""
        return self._options.get(name)

    @cached_property
    def _options(self) -> Mapping[str, str]:
        return dict(self.save)

    def with_options(self, **options: str | None) -> Recipe:
        """The same recipe with other save options; None takes one out."""
        merged = {**self._options, **options}
        return replace(self, save=tuple((name, value) for name in SAVE_OPTIONS if (value := merged.get(name)) is not None))

    def used_lines(self) -> tuple[Line, ...]:
        """The steps and constants that the result needs, in the order of the text."""
        by_name = {line.name: line for line in self.lines}
        needed, todo = set(), [self.result]
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += [node.name for node in walk(by_name[name].expression) if isinstance(node, (StepRef, Constant))]
        return tuple(line for line in self.lines if line.name in needed)

    def models(self) -> tuple[ModelRef, ...]:
        """Every use of a model in the steps that the result needs, in the order of the text: the order of the sum."""
        return tuple(node for line in self.used_lines() for node in walk(line.expression) if isinstance(node, ModelRef))

    def loras(self) -> tuple[LoraRef, ...]:
        """Every use of a LoRA in the steps that the result needs, in the order of the text."""
        return tuple(node for line in self.used_lines() for node in walk(line.expression) if isinstance(node, LoraRef))

    def calls(self) -> tuple[Call, ...]:
        """Every call of a merge method in the steps that the result needs."""
        nodes = (node for line in self.used_lines() for node in walk(line.expression))
        return tuple(node for node in nodes if isinstance(node, Call) and node.method != EXTRACT)

    def canonical(self) -> str:
        """The one text of this recipe: a line for each step, then save(...); it reads back as an equal recipe."""
        lines = [f"{spell_name(line.name)} = {spell(line.expression)}" for line in self.lines]
        if self.save:
            lines.append(f"save({', '.join(f'{name}={spell_name(value)}' for name, value in self.save)})")
        return "\n".join(lines) + "\n"

    def digest(self) -> str:
        """sha256 of the canonical text in UTF-8, hex: the same on every system."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()
