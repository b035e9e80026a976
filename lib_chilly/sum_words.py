"""What messages say of a coefficient sum."""

from __future__ import annotations

from fractions import Fraction

from .decimals import is_decimal, spell_number

_LONGEST_SUM = 24


def described(total: Fraction) -> str:
    return {Fraction(1): "a model", Fraction(0): "a delta"}.get(total, f"neither: its coefficients add to {shown(total)}")


def shown(total: Fraction) -> str:
    """An exact number as short as it can be said; what is nearly 1 or 0 is not said to be that."""
    exact = spell_number(total) if is_decimal(total) else f"{total.numerator}/{total.denominator}"
    if len(exact) <= _LONGEST_SUM:
        return exact
    about = f"{float(total):.10g}"
    return f"almost {about}, but not quite" if about in ("0", "1") else f"about {about}"
