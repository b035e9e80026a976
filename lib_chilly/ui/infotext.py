"""The parameters below a picture, as the webui writes them -> parameters of a preview. Any of it may be a lie."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence

from ..expression import shortened
from ..header import quoted
from ..host.base import MOST_PIXELS_ON_A_SIDE, RECIPE, GenParams

LONGEST = 1 << 20
LONGEST_PROMPT = 20_000
_FACTS = re.compile(r"^Steps: *\d{1,9}(?=[,\n]|\Z)", re.MULTILINE)
_NEGATIVE = re.compile(r"^Negative prompt:", re.MULTILINE)
_PARTS = re.compile(r'"(?:[^"\\\n]|\\.)*"|[^,"\n]+|,|"')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_MOST_FACTS = 500
_UNIT = 8
_RANGES = {"steps": (1, 1000), "cfg": (1, 100), "clip_skip": (1, 12), "seed": (0, 2**63 - 1)}


@dataclasses.dataclass(frozen=True)
class Infotext:
    """What stands below a picture.

    Attributes:
        params: with those of `base` where nothing is said.
        model: that made it, as it is named there; else "".
        recipe: of the model, where the picture was made here; else "".
        notes: sentences on what could not be taken as it stands.
    """

    params: GenParams
    model: str
    recipe: str
    notes: tuple[str, ...]


def is_infotext(text: str) -> bool:
    """Whether a text has the line of parameters."""
    return _FACTS.search(text[:LONGEST]) is not None


def read_infotext(text: str, samplers: Sequence[str], base: GenParams, schedulers: Sequence[str] = ()) -> Infotext:
    """Read the prompts and the parameters; the last line that begins with "Steps:" counts.

    Args:
        samplers, schedulers: that there are here.
        base: what holds where the text says nothing.
    """
    text = text[:LONGEST].replace("\r\n", "\n").replace("\r", "\n")
    places = [match.start() for match in _FACTS.finditer(text)]
    prompts, line = text[: places[-1]], text[places[-1] :].partition("\n")[0]
    parts = _NEGATIVE.split(prompts, maxsplit=1)
    facts, notes = _facts(line), list[str]()
    found: dict[str, object] = {
        "prompt": _prompt(parts[0], "prompt", notes),
        "negative_prompt": _prompt(parts[1] if len(parts) > 1 else "", "negative prompt", notes),
    }
    for name, field in (("Steps", "steps"), ("CFG scale", "cfg"), ("Seed", "seed"), ("Clip skip", "clip_skip")):
        if name in facts:
            found[field] = _number(facts[name], field, getattr(base, field), notes)
    if match := _SIZE.fullmatch(facts.get("Size", "")):
        found["width"], found["height"] = (_side(int(side), notes) for side in match.groups())
    schedule = facts.get("Schedule type", "")
    if known := next((each for each in schedulers if each.lower() == schedule.lower()), ""):
        found["scheduler"], schedule = known, ""
    if "Sampler" in facts:
        found["sampler"] = _sampler(facts["Sampler"], schedule, samplers, base, notes)
    params = dataclasses.replace(base, **found)  # type: ignore[arg-type]
    return Infotext(params, shortened(facts.get("Model", ""), 200), _unquoted(facts.get(RECIPE, "")), tuple(notes))


def _unquoted(value: str) -> str:
    """A text that stands as JSON writes it; empty where it does not."""
    try:
        text = json.loads(value)
    except ValueError:
        return ""
    return text if isinstance(text, str) else ""


def _facts(line: str) -> dict[str, str]:
    """Name to value of `Name: value, Name: "value, with commas"`."""
    found, pieces = dict[str, str](), [""]
    for match in _PARTS.finditer(line[:LONGEST]):
        if match[0] == ",":
            pieces.append("")
        else:
            pieces[-1] += match[0]
        if len(pieces) > _MOST_FACTS:
            break
    for piece in pieces:
        name, colon, value = piece.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _prompt(text: str, what: str, notes: list[str]) -> str:
    text = "".join(each for each in text.strip() if each == "\n" or each.isprintable())
    if len(text) > LONGEST_PROMPT:
        notes.append(f"the {what} has {len(text)} characters; the first {LONGEST_PROMPT} are taken.")
    return text[:LONGEST_PROMPT]


def _number(text: str, field: str, base: float, notes: list[str]) -> float:
    low, high = _RANGES[field]
    kind = float if field == "cfg" else int
    try:
        value = kind(text[:40])
    except ValueError:
        value = None
    if value is None or not math.isfinite(value):
        notes.append(f"{field.replace('_', ' ')} is {quoted(text)}, no number; {base:g} is taken.")
        return base
    taken = min(high, max(low, value))
    if taken != value:
        notes.append(f"{field.replace('_', ' ')} is {quoted(text)}; {taken:g} is taken, as it is between {low} and {high:g}.")
    return taken


def _side(value: int, notes: list[str]) -> int:
    """A side of a picture as one that can be made."""
    taken = min(MOST_PIXELS_ON_A_SIDE, max(64, round(value / _UNIT) * _UNIT))
    if taken != value:
        notes.append(f"a side of {value} pixels is made {taken}: a multiple of {_UNIT}, {MOST_PIXELS_ON_A_SIDE} at most.")
    return taken


def _sampler(name: str, schedule: str, samplers: Sequence[str], base: GenParams, notes: list[str]) -> str:
    """One of the samplers that there are; the webui says the schedule apart since its version 1.9."""
    plain = "" if schedule in ("", "Automatic") else f" {schedule}"
    by_name = {each.lower(): each for each in samplers}
    for spelling in (f"{name}{plain}", name):
        if taken := by_name.get(spelling.lower()):
            if plain and spelling == name and schedule.lower() != "normal":
                notes.append(f"the schedule {quoted(schedule)} is not here for {taken}; its own is taken.")
            return taken
    near = next((each for each in samplers if name.lower().startswith(each.lower())), base.sampler)
    notes.append(f"there is no sampler {quoted(name + plain)} here; {near} is taken.")
    return near
