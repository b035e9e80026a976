"""LoRAs as a prompt of the webui names them, with the block weights of the LoRA Block Weight extension.

`<lora:NAME:STRENGTH>`, `<lora:NAME:TE:UNET>`, `<lora:NAME:te=0.5:unet=1:lbw=1,0,...>`; `lyco` for `lora` too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .architecture import Architecture, load
from .block_rules import listed
from .errors import RecipeError
from .header import quoted

_TAG = re.compile(r"<(?:lora|lyco):([^>]+)>")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})")
_WHEN = ("start", "stop", "step")
"""Names of parts that say at which steps of a picture the LoRA acts."""


def _blocks(letters: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{letters}{number:02}" for number in range(first, last + 1))


_LISTS: Mapping[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    12: (("sdxl",), ("BASE", "IN04", "IN05", "IN07", "IN08", "M00", *_blocks("OUT", 0, 5))),
    17: (("sd1", "sd2"), ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00", *_blocks("OUT", 3, 11))),
    20: (("sdxl",), ("BASE", *_blocks("IN", 0, 8), "M00", *_blocks("OUT", 0, 8))),
    26: (("sd1", "sd2"), ("BASE", *_blocks("IN", 0, 11), "M00", *_blocks("OUT", 0, 11))),
    61: (("flux",), ("CLIP_L", "T5", "EMBED", *_blocks("D", 0, 18), *_blocks("S", 0, 37), "FINAL")),
}
"""How many numbers a list has, to the architectures that it is for and the lanes that they are for; BASE is the text encoders."""
_TEXT_ENCODERS = ("CLIP_L", "CLIP_G", "T5")
_OUTSIDE = ("TIME", "LABEL", "FINAL", "VAE", "EMBED")
"""Lanes that stand in no block: the extension leaves them as they are, unless the list has a number for them."""


@dataclass(frozen=True)
class PromptLora:
    """One LoRA of a prompt.

    Attributes:
        name: the file's, without its suffix, as it stands.
        text_encoder, unet: strengths.
        blocks: a list of numbers for blocks; None without one.
        notes: sentences on what a merge cannot do as the picture did.
    """

    name: str
    text_encoder: Fraction
    unet: Fraction
    blocks: tuple[Fraction, ...] | None = None
    notes: tuple[str, ...] = ()

    def scales(self, architecture: Architecture) -> dict[str, Fraction]:
        """Lane to the factor that its keys have: strength times the block's number.

        Raises:
            RecipeError: the list is for another architecture.
        """
        strengths = {lane: self.text_encoder if lane in _TEXT_ENCODERS else self.unet for lane in architecture.lanes}
        if self.blocks is None:
            return strengths
        owners, slots = _LISTS[len(self.blocks)]
        if architecture.name not in owners:
            titles = listed(load(name).title for name in owners)
            raise RecipeError(
                f"the list of {len(self.blocks)} numbers of {quoted(self.name)} is for {titles}, this is {architecture.title}."
            )
        numbers = dict(zip(slots, self.blocks, strict=True))
        if "BASE" in numbers:
            numbers |= dict.fromkeys(_TEXT_ENCODERS, numbers["BASE"])
        return {lane: strength * numbers.get(lane, Fraction(lane in _OUTSIDE)) for lane, strength in strengths.items()}


def prompt_loras(prompt: str, presets: Mapping[str, Sequence[Fraction]] | None = None) -> Iterator[PromptLora]:
    """The LoRAs of a prompt, in its order; other text is passed over.

    Args:
        presets: lists that the prompt may name.

    Raises:
        RecipeError: a number that is none, a list of a length that is none, an unknown preset, something that is not read.
    """
    return (_lora(match[0], match[1], presets or {}) for match in _TAG.finditer(prompt))


def _lora(tag: str, inside: str, presets: Mapping[str, Sequence[Fraction]]) -> PromptLora:
    items = inside.split(":")
    named = dict(item.split("=", 1) for item in items if "=" in item)
    name, *given = [item for item in items if "=" not in item] or [""]
    if not name:
        raise RecipeError(f"{quoted(tag)} names no LoRA; '<lora:NAME:STRENGTH>' was expected.")
    block_text = named.pop("lbw", None)
    if len(given) > 1 and not _NUMBER.fullmatch(given[-1].strip()):  # as old prompts have it
        block_text = given.pop()
    text_encoder = _number(named.pop("te", given[0] if given else "1"), tag)
    unet_text = named.pop("unet", given[1] if len(given) > 1 else None)
    unet = text_encoder if unet_text is None else _number(unet_text, tag)
    notes = tuple(
        f"{quoted(tag)} acts at some steps of a picture only ({quoted(f'{key}={named.pop(key)}')}); here it acts at all of them."
        for key in _WHEN
        if key in named
    )
    if len(given) > 2 or named:
        what = quoted(next(iter(named)) + "=") if named else f"a third number, {quoted(given[2])},"
        raise RecipeError(f"{quoted(tag)}: {what} is not read; known are te=, unet=, lbw=, start=, stop= and step=.")
    return PromptLora(name, text_encoder, unet, _list(block_text, tag, presets), notes)


def _list(text: str | None, tag: str, presets: Mapping[str, Sequence[Fraction]]) -> tuple[Fraction, ...] | None:
    """The numbers of a list, or of a preset."""
    if text is None:
        return None
    if "," in text:
        numbers = tuple(_number(item, tag) for item in text.split(","))
    elif text.strip() in presets:
        numbers = tuple(presets[text.strip()])
    else:
        known = f" Known: {listed(map(quoted, presets))}." if presets else ""
        raise RecipeError(f"{quoted(tag)}: {quoted(text)} is no list of numbers and no known preset; write its numbers.{known}")
    if len(numbers) not in _LISTS:
        raise RecipeError(f"{quoted(tag)}: a list has {listed(map(str, _LISTS))} numbers, this one has {len(numbers)}.")
    return numbers


def _number(text: str, tag: str) -> Fraction:
    if not _NUMBER.fullmatch(text.strip()):
        raise RecipeError(
            f"{quoted(tag)}: {quoted(text)} is no number such as 0.8; letters that draw one anew for each picture are not read."
        )
    return Fraction(text.strip())
