"""Exact rationals to the nearest floating-point number, rounded once, half to even."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

_INFINITY = 0x7F800000
"""Bits of float32's Inf, one step above its largest number."""


def to_float64(value: Fraction) -> float:
    """The nearest float64."""
    return float(value)


def to_float32(value: Fraction) -> float:
    """The nearest float32, as a Python float.

    Going through float64 would round twice; so the neighbours are compared exactly.
    """
    near = struct.unpack("<f", struct.pack("<f", float(value)))[0]
    bits = struct.unpack("<i", struct.pack("<f", abs(near)))[0]
    candidates = [struct.unpack("<f", struct.pack("<i", bits + step))[0] for step in (-1, 0, 1) if 0 <= bits + step < _INFINITY]
    distances = [(abs(Fraction(candidate) - abs(value)), _is_odd(candidate), candidate) for candidate in candidates]
    return math.copysign(min(distances)[2], near)


def _is_odd(number: float) -> bool:
    return struct.unpack("<i", struct.pack("<f", number))[0] % 2 == 1
