"""What a merge must give, worked out a second time: number formats, the defined arithmetic, keys that a model lacks.

Plain numpy, fractions and integers after the design's words; nothing here imports what it judges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

# ---- number formats ----


class Format(NamedTuple):
    """A binary floating-point format.

    Attributes:
        precision: bits, the hidden one included.
        lowest: exponent of its smallest step.
        largest: its largest number.
        beyond: what larger ones become.
        size: bytes.
    """

    precision: int
    lowest: int
    largest: float
    beyond: float
    size: int


FORMATS = {
    "F64": Format(53, -1074, float(np.finfo(np.float64).max), math.inf, 8),
    "F32": Format(24, -149, float(2**128 - 2**104), math.inf, 4),
    "F16": Format(11, -24, 65504.0, math.inf, 2),
    "BF16": Format(8, -133, float(2**128 - 2**120), math.inf, 2),
    "F8_E4M3": Format(4, -9, 448.0, 448.0, 1),
    "F8_E5M2": Format(3, -16, 57344.0, math.inf, 1),
}
INTEGERS = {"I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}
TAGS = {"fp64": "F64", "fp32": "F32", "fp16": "F16", "bf16": "BF16", "fp8_e4m3fn": "F8_E4M3", "fp8_e5m2": "F8_E5M2"}


def rounded(values: np.ndarray, tag: str) -> np.ndarray:
    """`values` (float32 or float64) rounded once, half to even, to a format; as float64, which holds them all exactly."""
    exact = np.asarray(values, np.float64)
    form = FORMATS[tag]
    if tag == "F64":
        return exact
    _, exponent = np.frexp(exact)
    step = np.ldexp(1.0, np.maximum(exponent - form.precision, form.lowest))
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.copysign(np.rint(exact / step) * step, exact)
    return np.where(np.abs(near) > form.largest, np.copysign(form.beyond, near), near)


def encoded(values: np.ndarray, tag: str) -> bytes:
    """The bytes of `values`, which the format must hold exactly (see `rounded`)."""
    if tag in INTEGERS:
        return np.asarray(values).astype(INTEGERS[tag]).tobytes()
    exact = np.asarray(values, np.float64)
    if tag == "F64":
        return exact.tobytes()
    if tag == "F16":
        return exact.astype(np.float16).tobytes()
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    if tag == "F32":
        return single.tobytes()
    if tag == "BF16":
        return (single.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    table, wanted = _bit_patterns(_eight_bits(tag)), _bit_patterns(exact.reshape(-1))
    order = np.argsort(table)
    codes = order[np.searchsorted(table[order], wanted)]
    assert np.array_equal(table[codes], wanted), f"{tag} does not hold these values"
    return codes.astype(np.uint8).tobytes()


def decoded(data: bytes, tag: str, shape: Sequence[int]) -> np.ndarray:
    """Stored bytes as exact float64 values, or as integers."""
    if tag in INTEGERS:
        return np.frombuffer(data, INTEGERS[tag]).reshape(shape)
    if tag == "BF16":
        values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif tag.startswith("F8"):
        values = _eight_bits(tag)[np.frombuffer(data, np.uint8)]
    else:
        values = np.frombuffer(data, {"F64": np.float64, "F32": np.float32, "F16": np.float16}[tag])
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64).reshape(shape)


def _eight_bits(tag: str) -> np.ndarray:
    """Every number of an 8-bit format by its code: E4M3FN has no Inf, E5M2 is the upper half of fp16."""
    if tag == "F8_E5M2":
        return (np.arange(256, dtype=np.uint16) << 8).view(np.float16).astype(np.float64)
    table = np.empty(256)
    for code in range(256):
        exponent, mantissa = code >> 3 & 15, code & 7
        size = math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)
        table[code] = math.nan if code & 127 == 127 else math.copysign(size, -1 if code & 128 else 1)
    return table


def _bit_patterns(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), np.nan, values).view(np.uint64)


def nearest(value: Fraction, precision: int, lowest: int) -> Fraction:
    """The number of a format that is nearest to an exact one, half to even; integers only."""
    if value == 0:
        return Fraction(0)
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    step = Fraction(2) ** max(exponent - precision + 1, lowest)
    count, rest = divmod(size.numerator * step.denominator, size.denominator * step.numerator)
    whole = size.denominator * step.numerator
    if 2 * rest > whole or (2 * rest == whole and count % 2):
        count += 1
    return count * step if value > 0 else -count * step


# ---- files ----


class Stored(NamedTuple):
    """One tensor as a safetensors file holds it."""

    tag: str
    shape: tuple[int, ...]
    data: bytes

    @property
    def values(self) -> np.ndarray:
        return decoded(self.data, self.tag, self.shape)


def read_file(path: Path) -> dict[str, Stored]:
    """Every tensor of a safetensors file, in the order in which they lie in it."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    rows = sorted(header.items(), key=lambda row: row[1]["data_offsets"])
    return {
        key: Stored(row["dtype"], tuple(row["shape"]), content[start + row["data_offsets"][0] : start + row["data_offsets"][1]])
        for key, row in rows
    }


# ---- the defined arithmetic ----


def weighted(terms: Sequence[tuple[Fraction, np.ndarray]], dtype: str, compute: str | None = None) -> bytes:
    """The bytes of a weighted sum.

    Args:
        terms: (exact coefficient, exact values) in the order of the sum.
        dtype: of the output, "fp16", "bf16", ...
        compute: the type of the sum, where it is not the output's own.
    """
    compute = compute or ("float64" if dtype in ("fp32", "fp64") else "float32")
    terms = [term for term in terms if term[0] != 0]
    if len(terms) == 1 and terms[0][0] == 1:
        return encoded(rounded(terms[0][1], TAGS[dtype]), TAGS[dtype])
    return encoded(rounded(summed(terms, compute), TAGS[dtype]), TAGS[dtype])


def scaled_fp8(terms: Sequence[tuple[Fraction, np.ndarray]], compute: str = "float32") -> tuple[bytes, np.float32]:
    """The bytes of a weighted sum that is divided by a scale of its own, and the scale."""
    total = summed(terms, compute)
    scale = np.float32(float(nearest(Fraction(float(np.abs(total).max())) / 448, 24, -149)))
    if scale < np.finfo(np.float32).tiny:
        scale = np.float32(1)
    return encoded(rounded(total / total.dtype.type(scale), "F8_E4M3"), "F8_E4M3"), scale


def summed(terms: Sequence[tuple[Fraction, np.ndarray]], compute: str) -> np.ndarray:
    """The sum itself, each product and each addition rounded in its type."""
    kind, precision, lowest = (np.float32, 24, -149) if compute == "float32" else (np.float64, 53, -1074)
    total = None
    for coefficient, values in terms:
        product = kind(nearest(coefficient, precision, lowest)) * values.astype(kind)
        total = product if total is None else total + product
    assert total is not None
    assert total.dtype == kind
    return total


def exact_sum(terms: Sequence[tuple[Fraction, np.ndarray]]) -> np.ndarray:
    """A weighted sum in float64."""
    return sum(float(coefficient) * values for coefficient, values in terms)  # type: ignore[return-value]


# ---- absence ----

Form = Mapping[str, Fraction]
"""What one kind of key comes to: source to its coefficient."""
Held = Form | None
"""A model's form; None where nothing in it holds the key."""


def _combine(*terms: tuple[Fraction, Form]) -> Form:
    total: dict[str, Fraction] = {}
    for weight, form in terms:
        for source, coefficient in form.items():
            total[source] = total.get(source, Fraction(0)) + weight * coefficient
    return {source: coefficient for source, coefficient in total.items() if coefficient}


def share(*operands: tuple[Fraction, Held]) -> Held:
    """Operands that hold the key share the weight; where it adds to 0 the first of them is taken whole."""
    held = [(weight, form) for weight, form in operands if form is not None]
    total = sum(weight for weight, _ in held)
    if not held:
        return None
    return held[0][1] if total == 0 else _combine(*((weight / total, form) for weight, form in held))


def weighted_sum(a: Held, b: Held, alpha: Fraction) -> Held:
    return share((1 - alpha, a), (alpha, b))


def mean(*models: Held) -> Held:
    return share(*((Fraction(1, len(models)), model) for model in models))


def sum_twice(a: Held, b: Held, c: Held, alpha: Fraction, beta: Fraction) -> Held:
    return share(((1 - beta) * (1 - alpha), a), ((1 - beta) * alpha, b), (beta, c))


def triple_sum(a: Held, b: Held, c: Held, alpha: Fraction, beta: Fraction) -> Held:
    """For alpha and beta of 0 and more that add to 1 at most."""
    return share((1 - alpha - beta, a), (alpha, b), (beta, c))


def add_difference(a: Held, b: Held, c: Held, alpha: Fraction) -> Held:
    """`A + alpha * (B - C)`: the base is A or the first that holds the key; the delta needs both its sides."""
    if a is None:
        return b if b is not None else c
    return a if b is None or c is None else _combine((Fraction(1), a), (alpha, b), (-alpha, c))


def weighted_subtraction(a: Held, b: Held, alpha: Fraction, beta: Fraction) -> Held:
    """`A + s * (A - B)` with s = alpha * beta / (1 - alpha * beta)."""
    if a is None or b is None:
        return a if a is not None else b
    s = alpha * beta / (1 - alpha * beta)
    return _combine((1 + s, a), (-s, b))


def free_sum(*operands: tuple[Fraction, Held]) -> Held:
    """A missing operand counts 0."""
    held = [(weight, form) for weight, form in operands if form is not None]
    return _combine(*held) if held else None
