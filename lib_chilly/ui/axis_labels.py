"""What stands beside the cells of a grid: short enough to be read, with blanks where it may be broken into lines."""

from __future__ import annotations

import re
from itertools import groupby

from ..decimals import spell_number
from .axis_values import exact_number

_LONGEST, _LONGEST_READ = 60, 2000
_NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)"
_LIST = re.compile(rf"(?<![\w.]){_NUMBER}(?:\s*,\s*{_NUMBER}){{3,}}(?![\w.])")
_FILE = re.compile(r"(?:\.safetensors|\.ckpt|\.pt)?(?: \[\w+\])?$")


def label_of(axis: str, value: object) -> str:
    """The label of a value; of an axis of addresses the value says what it is.

    Args:
        axis: its name, without what all of ours begin with.
    """
    said = spell_number(exact_number(value)) if isinstance(value, float) else " ".join(str(value)[:_LONGEST_READ].split())
    if axis.startswith("model"):
        said = _FILE.sub("", said) or said
    said = re.sub(r",(?=\S)", ", ", _LIST.sub(_runs, said))
    short = said if len(said) <= _LONGEST else f"{said[: _LONGEST - 3]}..."
    return short if axis.startswith("parameter") else f"{axis}: {short}"


def _runs(match: re.Match[str]) -> str:
    """A list of numbers, in which those that come again and again are counted."""
    runs = ((number, len(list(same))) for number, same in groupby(each.strip() for each in match[0].split(",")))
    return ", ".join(f"{number} x{count}" if count > 2 else ", ".join([number] * count) for number, count in runs)
