"""Exact numbers as decimals."""

from __future__ import annotations

from fractions import Fraction

_LONGEST_SHOWN = 24


def is_decimal(value: Fraction) -> bool:
    """Whether a number has a finite decimal text."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def spell_number(value: Fraction) -> str:
    """A number with a finite decimal text as the shortest such text; `0.5`, not `.5` or `0.50`."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = f"{abs(int(value * 10**places)):0{places + 1}}"
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{text}" if value < 0 else text


def shown_number(total: Fraction) -> str:
    """An exact number as short as it can be said; what is nearly 1 or 0 is not said to be that."""
    exact = spell_number(total) if is_decimal(total) else f"{total.numerator}/{total.denominator}"
    if len(exact) <= _LONGEST_SHOWN:
        return exact
    about = f"{float(total):.10g}"
    return f"almost {about}, but not quite" if about in ("0", "1") else f"about {about}"
