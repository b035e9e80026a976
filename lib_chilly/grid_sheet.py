"""A grid of pictures of one recipe, painted without a webui: planned as a whole, then merge by merge in the best order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .architecture import Architecture
from .contact_sheet import MOST_PIXELS_ON_A_SIDE, Cell, Section, draw_sheet, size_of
from .errors import Interrupted, OutputError
from .grid_plan import Merges, Order, best_order, in_words, spell_seconds
from .host.base import GenParams, Host, Progress
from .host.merge_pace import merging_seconds
from .models import ModelLibrary
from .plan import Plan, make_plan
from .recipe import Recipe
from .ui.cell_recipe import Coordinate, cell_recipe
from .ui.grid_axes import Axis

if TYPE_CHECKING:
    from PIL.Image import Image

_BEGINNING_SECONDS = 6.0
"""What diffusers takes until its modules are built, as measured."""
_SMALLEST = 128
"""Pixels on the sheet of a picture's shorter side; smaller ones are enlarged by whole numbers."""
_STOPPED = "stopped. There is no sheet."


@dataclass(frozen=True)
class _Merge:
    """One merge: its recipe, of which the plan is made anew when it is painted, and the cells that are of it."""

    recipe: Recipe
    cells: list[tuple[int, int]]


class GridSheet:
    """A grid.

    Args:
        text: the recipe that the axes act on.
        x, y: what changes from column to column, and from row to row; without `y` the rows are the prompts.
        params: of all pictures, but for the prompt.
    """

    def __init__(
        self,
        host: Host,
        library: ModelLibrary,
        text: str,
        x: Axis,
        y: Axis | None,
        prompts: Sequence[str],
        params: GenParams,
    ):
        self._host, self._library, self._text = host, library, text
        self.x, self.y, self.prompts, self.params = x, y, prompts, params
        self._merges = Merges()
        self._made: list[_Merge] = []
        self._architectures: dict[tuple[str, ...], Architecture] = {}

    def plan(self, should_stop: Callable[[], bool]) -> Order:
        """Plan every cell, so that what cannot be is said before anything is merged; the order of the merges.

        Raises:
            MergeError: a value fits nowhere, a model is missing, or a picture cannot be made.
            Interrupted: `should_stop` said so.
        """
        self._check_size()
        downwards: Sequence[Sequence[Coordinate]] = [[each] for each in self.y.coordinates] if self.y else [[]]
        for (row, down), (column, across) in itertools.product(enumerate(downwards), enumerate(self.x.coordinates)):
            if should_stop():
                raise Interrupted(_STOPPED)
            recipe = cell_recipe(self._text, [across, *down], self._architecture_of)
            plan = self._plan_of(recipe)
            number = self._merges.add(plan)
            if number == len(self._made):
                self._host.estimate(plan, self.params)  # which refuses what cannot be painted
                self._made.append(_Merge(recipe, []))
            self._made[number].cells.append((row, column))
        return self.order

    @cached_property
    def order(self) -> Order:
        """Of the merges that were planned."""
        return best_order(self._merges)

    @property
    def cells(self) -> int:
        return sum(len(merge.cells) for merge in self._made)

    @property
    def pictures(self) -> int:
        return self.cells * len(self.prompts)

    @cached_property
    def seconds(self) -> tuple[float, float]:
        """What all merges and one picture will take on this machine, as far as that is known before."""
        plan = self._plan_of(self._made[0].recipe)
        return merging_seconds(self.order.moved_bytes), self._host.estimate(plan, self.params)[0]

    def words(self) -> list[str]:
        """What the grid takes, and the order of its merges."""
        merging, each = self.seconds
        total = _BEGINNING_SECONDS + merging + self.pictures * each
        lines = in_words(self.order, self.cells, self.pictures, total)
        parts = f"merging {spell_seconds(merging)}, each picture {spell_seconds(each)}"
        return [*lines[:-1], f"{lines[-1][:-1]}: {parts}."]

    def order_in_words(self) -> list[str]:
        """A line for each merge, with the cells that are of it."""
        merges = [self._made[number] for number in self.order.merges]
        return [f"{place}. {'; '.join(map(self._cell_in_words, merge.cells))}" for place, merge in enumerate(merges, 1)]

    def paint(self, on_picture: Callable[[], object], should_stop: Callable[[], bool]) -> Image:
        """The sheet.

        Args:
            on_picture: called after each picture.
            should_stop: asked at each step of a picture.

        Raises:
            MergeError: a picture cannot be made, or `should_stop` said so (Interrupted); there is no sheet then.
        """

        def look(progress: Progress) -> None:
            progress.cancelled = progress.cancelled or should_stop()

        painted: dict[tuple[int, int, int], Image] = {}
        for number in self.order.merges:
            merge = self._made[number]
            plan = self._plan_of(merge.recipe)
            for prompt, words in enumerate(self.prompts):
                if should_stop():
                    raise Interrupted(_STOPPED)
                image = self._host.preview(plan, replace(self.params, prompt=words), Progress(on_change=look)).image
                painted.update({(prompt, *cell): image for cell in merge.cells})
                on_picture()
        return draw_sheet(self.sections, [[[painted[cell] for cell in row] for row in part] for part in self._layout()])

    @cached_property
    def sections(self) -> list[Section]:
        """The sheet's parts: one for each prompt, or a single one whose rows are the prompts."""
        params, sides = self.params, (self.params.width, self.params.height)
        times = max(1, -(-_SMALLEST // min(sides)))
        facts = f"{sides[0]} x {sides[1]}, {params.steps} steps, {params.sampler}, cfg {params.cfg:g}, seed {params.seed}"
        rows = [(name, list[Cell]()) for name in (self.y.labels if self.y else self.prompts)]
        captions = [f"{prompt}; {facts}" for prompt in self.prompts] if self.y else [facts]
        size = sides[0] * times, sides[1] * times
        return [Section(self._title(), self.x.labels, rows, caption, size) for caption in captions]

    def _title(self) -> str:
        """The line of the result as the user wrote it."""
        lines = [line.strip() for line in self._text.splitlines()]
        written = [line for line in lines if line and not line.startswith(("#", "save("))]
        return written[-1] if written else "Recipes"

    def _layout(self) -> list[list[list[tuple[int, int, int]]]]:
        """(prompt, row, column) of what stands where, by section and row."""
        prompts, columns = range(len(self.prompts)), range(len(self.x.labels))
        if self.y is None:
            return [[[(prompt, 0, column) for column in columns] for prompt in prompts]]
        return [[[(prompt, row, column) for column in columns] for row in range(len(self.y.labels))] for prompt in prompts]

    def _check_size(self) -> None:
        width, height = size_of(self.sections)
        if max(width, height) > MOST_PIXELS_ON_A_SIDE:
            raise OutputError(
                f"the sheet would have {width} x {height} pixels, and {MOST_PIXELS_ON_A_SIDE} on a side is the most. "
                "Take fewer values, fewer prompts or smaller pictures."
            )

    def _cell_in_words(self, cell: tuple[int, int]) -> str:
        row, column = cell
        return ", ".join([self.x.labels[column], *([self.y.labels[row]] if self.y else [])])

    def _plan_of(self, recipe: Recipe) -> Plan:
        return make_plan(recipe, self._library)

    def _architecture_of(self, recipe: Recipe) -> Architecture:
        names = tuple(model.name for model in recipe.models())
        if names not in self._architectures:
            self._architectures[names] = self._plan_of(recipe).architecture
        return self._architectures[names]
