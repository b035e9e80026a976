"""Grids of the webui's X/Y/Z plot, as the tests have them drawn and look at them."""

from __future__ import annotations

import json

from house import House
from samples import of_users

ALPHA, PRESET, PARAMETER, MODEL_B = (f"[ChillyMerge] {name}" for name in ("alpha", "preset", "parameter", "model B"))


def unchanged(state: dict) -> dict:
    """What must be after a grid as before; the webui itself loads the chosen model again at its end."""
    return {**of_users(state), "loaded": state["loaded"]}


def recipe_in(infotext: str) -> str:
    """The recipe that stands below a picture."""
    rest = infotext.partition("ChillyMerge recipe: ")[2]
    return json.JSONDecoder().raw_decode(rest)[0]


def drawn(webui: House, *axes: object, **given: object) -> dict:
    """A grid that is not refused."""
    grid = webui.call("grid", *axes, **given)
    assert "error" not in grid, grid["error"]
    return grid


def failed(grid: dict) -> dict[int, str]:
    """The cells that have no picture but, white on black, the reason for it."""
    black = [cell for cell, dark in enumerate(grid["dark"]) if dark > 0.5]
    assert black == [cell for cell, infotext in enumerate(grid["infotexts"]) if infotext is None]
    assert all(grid["dark"][cell] < 1 for cell in black)
    return {cell: grid["reasons"][cell] for cell in black}
