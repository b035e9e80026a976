"""Values of the command line: text -> number, or what is wrong with it."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction


def positive(text: str) -> int:
    """A whole number of 1 to 256."""
    if not (text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= 256):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between 1 and 256")
    return int(text)


def percent(text: str) -> float:
    """A number of 0 to 100."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,9})?", text) or float(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage, a number between 0 and 100")
    return float(text)


def port(text: str) -> int:
    """A port."""
    if not (text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a whole number between 1 and 65535")
    return int(text)


def limits(text: str) -> tuple[Fraction, Fraction]:
    """LOW,HIGH."""
    match = re.fullmatch(r"(-?\d{1,9}(?:\.\d{1,9})?),(-?\d{1,9}(?:\.\d{1,9})?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH, such as 0.2,0.6")
    low, high = Fraction(match[1]), Fraction(match[2])
    if low > high:
        raise argparse.ArgumentTypeError(f"{text!r} has the higher limit first; write the lower one first, such as 0.2,0.6")
    return low, high
