"""What a saved file is called: proposed from its recipe, safe on every file system, and never a way out of a folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container
from fractions import Fraction
from pathlib import Path

from ..errors import RecipeError
from ..models import ModelLibrary
from ..plan import Plan
from ..recipe import Recipe

LONGEST = 80
"""Characters of a name without its suffix."""
_LONGEST_WITH_FOLDERS = 200
_MOST_BYTES = 230
"""In UTF-8, as file systems count; with the suffix and a number there are 255."""
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_OF_VAE = re.compile(r"\.(vae)$", re.IGNORECASE)
_UNNAMED = "result"
_MOST_SOURCES = 6


def proposed_name(recipe: Recipe, plan: Callable[[], Plan], taken: Container[str]) -> str:
    """A name for a recipe's result that is still free.

    Args:
        recipe: as the user wrote it, with the step that is saved.
        plan: makes its plan, where nothing in the recipe is a name.
        taken: names that are not free, as `folded` has them.
    """
    said = recipe.option("title") or (recipe.result if recipe.result != _UNNAMED else "") or _mixture(plan())
    return unique(safe(said) or "merge", taken)


def twins_of(name: str, library: ModelLibrary) -> list[str]:
    """A sentence where a file that was saved under a name is called, without its folder, as another model is."""
    alone = name.rpartition("/")[2]
    try:
        if library.knows(alone):
            library.find(alone)
    except RecipeError as error:
        return [f"from now on {error.message}"]
    return []


def safe(text: str) -> str:
    """A text as a name that every file system takes, as near as can be; empty where nothing is left."""
    text = _UNSAFE.sub("-", unicodedata.normalize("NFC", text))
    text = "".join(each if each.isprintable() else "-" for each in re.sub(r"\s+", " ", text))
    text = _shortened(text.strip(" .-"), LONGEST, _MOST_BYTES)
    text = _OF_VAE.sub(r"-\1", text)
    return f"_{text}"[:LONGEST] if _RESERVED.fullmatch(text) else text


def unique(name: str, taken: Container[str]) -> str:
    """The name, else with -2, -3, ... behind it."""
    number, tail = 1, ""
    while folded(_shortened(name, LONGEST - len(tail), _MOST_BYTES - len(tail)) + tail) in taken:
        number += 1
        tail = f"-{number}"
    return _shortened(name, LONGEST - len(tail), _MOST_BYTES - len(tail)) + tail


def folded(name: str) -> str:
    """A name such that two that some file system takes for one are one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def names_in(folder: Path, stems: bool = True) -> set[str]:
    """The names of all that lies in a folder, `folded`; with `stems` also without their suffixes."""
    try:
        found = list(folder.iterdir())
    except OSError:
        return set()
    return {folded(name) for path in found for name in ((path.name, path.stem) if stems else (path.name,))}


def fault_of(name: str) -> str | None:
    """Why what the user typed cannot be a name below the output folder, such as `new` or `mixes/new`, in a sentence; None where
    it can."""
    if not name.strip() or name.endswith("/"):
        return "The file has no name. Type one."
    if _OF_VAE.search(re.sub(r"\.safetensors$", "", name, flags=re.IGNORECASE)):
        return "What ends with .vae is a VAE for the webui, and stands in no list of models. Choose another name."
    if len(name) > _LONGEST_WITH_FOLDERS:
        return f"The name has {len(name)} characters with its folders; {_LONGEST_WITH_FOLDERS} are the most. Shorten it."
    return next(filter(None, map(_fault_of_part, name.split("/"))), None)


def _fault_of_part(name: str) -> str | None:
    """The same of a file's own name, or of a folder before it."""
    if not name or name.strip(" .") in ("", ".."):
        return "A name leads down from the output folder, as new and mixes/new do. Take the rest out."
    if "\\" in name:
        return "Folders are parted by /. Take the backslash out."
    if bad := _UNSAFE.search(name):
        shown = bad[0][0] if bad[0][0].isprintable() else f"U+{ord(bad[0][0]):04X}"
        return f"The character {shown} cannot stand in a file's name on every system. Take it out."
    if name != name.strip() or name.endswith(".") or name.startswith("."):
        return "A name neither begins with a full stop or a space nor ends with one. Take it out."
    if _RESERVED.fullmatch(name):
        return f"{name} is the name of a device in Windows. Choose another."
    if len(name) > LONGEST or len(name.encode(errors="replace")) > _MOST_BYTES:
        return f"The name has {len(name)} characters; {LONGEST} are the most. Shorten it."
    return None if safe(name) == unicodedata.normalize("NFC", name) else "This name cannot stand on every system. Choose another."


def _mixture(plan: Plan) -> str:
    """The sources with their ratios, such as `A 0.70 + B 0.30`; without them where lanes have different ones."""
    rows = [row for row in plan.ordered_rows() if row.label == row.lane] or plan.ordered_rows()
    text, count = "", 0
    for number, source in enumerate(plan.sources):
        ratios = {row.exact.get(number, Fraction(0)) for row in rows}
        if ratios <= {Fraction(0)}:
            continue
        ratio = ratios.pop() if len(ratios) == 1 else None
        sign = "-" if ratio is not None and ratio < 0 else "+"
        shown = "" if ratio is None or ratio == 1 else f" {_ratio(abs(ratio))}"
        count += 1
        if count <= _MOST_SOURCES:
            text += f"{f' {sign} ' if text else ''}{source.name.rsplit('/', 1)[-1]}{shown}"
    return text + (f" + {count - _MOST_SOURCES} more" if count > _MOST_SOURCES else "")


def _ratio(value: Fraction) -> str:
    return f"{float(value):.2f}" if value >= Fraction(1, 100) else f"{float(value):.1g}"


def _shortened(text: str, characters: int, size: int) -> str:
    text = text[:characters]
    while len(text.encode()) > size:
        text = text[:-1]
    return text.rstrip(" .-")
