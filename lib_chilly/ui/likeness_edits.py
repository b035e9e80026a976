"""From looking to doing: what was measured of a step's A and B, written into its block weights as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from ..expression import Call, Node
from ..recipe import Recipe
from ..recipe_text import parse_recipe
from ..similarity_edits import replaced_below, weighted_by
from .draft import read_draft
from .mixer_view import Mixed
from .problem import FieldError
from .step_edits import reference, set_operand
from .step_reading import read_step
from .weight_edits import exact

_MOST = 1000
"""Blocks of a measurement."""


def value_below(shown: Mixed, blocks: object, limit: Fraction) -> Node:
    """B's blocks where both are less alike than `limit` percent, A's everywhere else.

    Raises:
        FieldError, RecipeError: the step mixes no two models, there are no figures, or no block is below.
    """
    figures = _figures(shown, blocks)
    return _alpha(replaced_below(parse_recipe("A"), "B", figures, float(limit), shown.architecture))


def value_by_likeness(shown: Mixed, blocks: object) -> Node:
    """As much of each of B's blocks as both are alike there; blocks without a figure are A's. Errors as of `value_below`."""
    return _alpha(weighted_by("A", parse_recipe("B"), _figures(shown, blocks)))


def with_donor(text: str, step: str, donor: object) -> str:
    """The text in which another model or step is a step's B.

    Raises:
        FieldError: it cannot be, or is A, whose own blocks would stand in for themselves.
    """
    if not isinstance(donor, str):
        raise FieldError("the model whose blocks come in is said by its name.", "donor")
    draft = read_draft(text)
    written = draft.named(step)
    assert written is not None
    node = reference(donor, draft, written)
    if read_step(written.line.expression, draft.checker).operands[0] == node:
        raise FieldError(f"'{donor[:60]}' is A itself, whose blocks stand there already. Choose another model.", "donor")
    return set_operand(draft, written, 1, donor)


def _figures(shown: Mixed, blocks: object) -> dict[str, float]:
    """What the page has been told, checked: lane to percent, in the order of the architecture."""
    if (shown.reading.method, shown.parameter) != ("weighted_sum", "alpha"):
        raise FieldError(f"'{shown.written.line.name}' is no weighted sum, whose blocks could be taken from A or B.", "step")
    if not isinstance(blocks, Mapping) or not blocks or len(blocks) > _MOST:
        raise FieldError("there are no figures of blocks. Measure how alike both are first.", "blocks")
    figures = {lane: float(exact(value, "blocks")) for lane, value in blocks.items()}
    if strangers := figures.keys() - shown.architecture.lanes.keys():
        raise FieldError(f"{shown.architecture.title} has no lane '{min(strangers)[:40]}'. Measure again.", "blocks")
    return {lane: figures[lane] for lane in shown.architecture.lanes if lane in figures}


def _alpha(recipe: Recipe) -> Node:
    call = recipe.steps[recipe.result].expression
    assert isinstance(call, Call)
    return dict(call.parameters)["alpha"]
