"""Our axes in the webui's X/Y/Z plot: what they are called, what may stand in their fields, and what they set in a cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import scripts

from . import webui_callbacks as callbacks
from .webui_failures import write_failures
from .webui_features import why_no_pictures
from .webui_request import add_axis

if TYPE_CHECKING:
    from ..ui.cell_recipe import Coordinate

PREFIX = "[ChillyMerge] "
_SCRIPT = "xyz_grid.py"
_SLOWEST = 1.59
"""Cost of the first axis; each has one of its own. The webui changes what costs most least often, so all of ours stand outside of
its own, which cost 1 at most, and every merge is made once. In a grid of several of ours they may change places."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: without PREFIX.
        kind: float or int, of whose ranges the webui takes care, or str.
        coordinate: of a value, checked as far as that is possible without a recipe.
        choices: what a list offers; None where there is a field for text alone.
        split: the values of a text.
    """

    name: str
    kind: type
    coordinate: Callable[[Any], Coordinate]
    choices: Callable[[], list[str]] | None = None
    split: Callable[[str], list[str]] | None = None


def register() -> None:
    """Called by the entry script each time that the webui runs it."""
    callbacks.register("before_ui", add_axes)  # the script may be loaded after ours
    callbacks.register("image_grid", write_failures)
    add_axes()


def add_axes() -> None:
    """Add the axes to the webui's script where it is loaded and has them not yet; it is loaded anew with the page."""
    if why_no_pictures():
        return
    for module in _modules():
        known = {option.label for option in module.axis_options}
        module.axis_options += [
            _option(module, axis, _SLOWEST - number / 100) for number, axis in enumerate(AXES) if PREFIX + axis.name not in known
        ]


def _modules() -> list[Any]:
    """The modules of the script; the webui may have it among its own or as an extension."""
    named = [each for each in scripts.scripts_data if Path(each.path or "").name == _SCRIPT]
    found = {id(each.module): each.module for each in named if hasattr(each.module, "axis_options")}
    return list(found.values())


def _option(module: Any, axis: Axis, cost: float) -> Any:
    """An axis as the script has them. It is of the script's own class: of another one the script could not draw its page."""

    def confirm(p: Any, values: Sequence[Any]) -> None:
        add_axis(p, [axis.coordinate(value) for value in values], made, cost)
        from .webui_grid import nest_best

        nest_best(p)

    def apply(p: Any, value: Any, values: Sequence[Any]) -> None:
        from .webui_grid import add_to_cell

        add_to_cell(p, axis.coordinate(value))

    def label(p: Any, option: Any, value: Any) -> str:
        from ..ui.axis_labels import label_of

        return label_of(axis.name, value)

    made = module.AxisOption(
        PREFIX + axis.name,
        axis.kind,
        apply,
        format_value=label,
        confirm=confirm,
        cost=cost,
        choices=axis.choices,
        prepare=axis.split,
    )
    return made


# ---- what the values mean ----


def _number(address: str) -> Callable[[float], Coordinate]:
    def coordinate(value: float) -> Coordinate:
        from ..errors import RecipeError
        from ..ui.axis_values import exact_number
        from ..ui.cell_recipe import VALUE, Coordinate

        if not math.isfinite(value):
            raise RecipeError(f"{value} is no number that {address} can be.")
        return Coordinate(VALUE, exact_number(value), address)

    return coordinate


def _seed(value: int) -> Coordinate:
    from ..ui.cell_recipe import SEED, Coordinate

    return Coordinate(SEED, value)


def _setting(text: str) -> Coordinate:
    """`MIX.alpha.IN04 = 0.3`."""
    from ..ui.axis_values import split_settings
    from ..ui.cell_recipe import VALUE, Coordinate

    (setting,) = split_settings(text) or [""]
    address, _, value = setting.partition(" = ")
    return Coordinate(VALUE, value, address)


def _weights(text: str) -> Coordinate:
    from ..ui.cell_recipe import VALUE, WEIGHTS, Coordinate

    return Coordinate(VALUE, text, WEIGHTS)


def _preset(name: str) -> Coordinate:
    from ..architecture import load
    from ..number_lists import Preset, numbers_for

    numbers_for(Preset(name), load("sd1"))  # there is such a one
    return _weights(name)


def _method(name: str) -> Coordinate:
    from ..registry import get_method
    from ..ui.cell_recipe import METHOD, VALUE, Coordinate

    return Coordinate(VALUE, get_method(name.strip()).name, METHOD)


def _model(letter: str) -> Callable[[str], Coordinate]:
    def coordinate(name: str) -> Coordinate:
        from ..ui.cell_recipe import VALUE, Coordinate

        return Coordinate(VALUE, name, letter)

    return coordinate


def _recipe(name: str) -> Coordinate:
    from ..ui.cell_recipe import RECIPE, Coordinate
    from ..ui.recipe_names import recipe_named

    return Coordinate(RECIPE, recipe_named(name, _history()))


# ---- what is offered, and how texts are split ----


def _history() -> Any:
    from ..history import History
    from .webui_entry import room

    return room().one(History, History)


def _recipes() -> list[str]:
    from ..ui.recipe_names import recipe_names

    return recipe_names(_history())


def _methods() -> list[str]:
    from ..registry import all_methods

    return [name for name, method in all_methods().items() if not method.takes_files]


def _models() -> list[str]:
    from .webui_entry import room

    room().host.refresh_checkpoints()
    return [reference.title for reference in room().host.checkpoints()]


def _presets() -> list[str]:
    from ..number_lists import presets

    return list(presets())


def _split_recipes(text: str) -> list[str]:
    from ..ui.axis_values import split_recipes

    return split_recipes(text, _recipes())


def _split_weights(text: str) -> list[str]:
    from ..ui.axis_values import split_values

    return split_values(text)


def _split_settings(text: str) -> list[str]:
    from ..ui.axis_values import split_settings

    return split_settings(text)


AXES = (
    Axis("recipe", str, _recipe, _recipes, _split_recipes),
    Axis("method", str, _method, _methods),
    Axis("model A", str, _model("A"), _models),
    Axis("model B", str, _model("B"), _models),
    Axis("model C", str, _model("C"), _models),
    Axis("seed of random weights", int, _seed),
    Axis("alpha", float, _number("alpha")),
    Axis("beta", float, _number("beta")),
    Axis("density", float, _number("density")),
    Axis("LoRA strength", float, _number("lora")),
    Axis("preset", str, _preset, _presets),
    Axis("block weights", str, _weights, split=_split_weights),
    Axis("parameter", str, _setting, split=_split_settings),
    Axis("parameter, a second", str, _setting, split=_split_settings),
    Axis("parameter, a third", str, _setting, split=_split_settings),
)
"""In the order of the webui's loops, the outermost first: what changes every block stands before what may change one alone."""
