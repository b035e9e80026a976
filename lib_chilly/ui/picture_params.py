"""The parameters of a picture as a page sends them -> GenParams, with a sentence for the field that does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RecipeError
from ..expression import shortened
from ..host.base import GenParams
from ..host.sampling import check_params
from .infotext import LONGEST_PROMPT
from .problem import FieldError

_FIELDS = {field.name: field for field in dataclasses.fields(GenParams)}
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("prompt", "negative_prompt", "sampler", "scheduler"), (str,)),
    **{"cfg": (int, float), "styles": (list,)},
}


def read_params(
    given: Mapping[str, Any], samplers: Sequence[str], schedulers: Sequence[str] = (), styles: Sequence[str] = ()
) -> GenParams:
    """What picture is wanted; what is not said has its default.

    Args:
        samplers, schedulers, styles: the host's.

    Raises:
        FieldError: with the name of the parameter that cannot be taken.
    """
    for name, value in given.items():
        if name not in _FIELDS:
            raise FieldError(f"a picture has no parameter '{name}'. There are: {', '.join(_FIELDS)}.", "params")
        _check_kind(name, value)
    for name in ("prompt", "negative_prompt"):
        if len(text := given.get(name, "")) > LONGEST_PROMPT:
            raise FieldError(
                f"the {name.replace('_', ' ')} has {len(text)} characters; at most {LONGEST_PROMPT} are taken.", name
            )
    plain = GenParams(prompt="")
    for name, value in given.items():
        try:  # by itself, so that the field is known
            check_params(dataclasses.replace(plain, **{name: value}))
        except RecipeError as error:
            raise FieldError(str(error), name) from None
    own = {"cfg": float(given.get("cfg", plain.cfg)), "styles": tuple(given.get("styles", ()))}
    params = dataclasses.replace(plain, **{**given, **own})
    if params.scheduler not in ("", *schedulers):
        raise FieldError(f"there is no schedule '{shortened(params.scheduler, 100)}' here.", "scheduler")
    for style in params.styles:
        if style not in styles:
            raise FieldError(f"there is no style '{shortened(str(style), 100)}' here.", "styles")
    if params.sampler not in samplers:
        raise FieldError(f"there is no sampler '{params.sampler}' here. There are {', '.join(samplers)}.", "sampler")
    return params


def _check_kind(name: str, value: object) -> None:
    kinds = _KINDS.get(name, (int,))
    if isinstance(value, bool) or not isinstance(value, kinds):
        said = "text" if kinds == (str,) else "a list" if kinds == (list,) else "a number" if len(kinds) > 1 else "a whole number"
        raise FieldError(f"the {name.replace('_', ' ')} {'are' if name == 'styles' else 'is'} {said}.", name)
