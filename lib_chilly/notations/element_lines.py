"""`Blocks:Elements:Ratio` lines, as SuperMerger and model-mixer write them -> rules of block weights.

They match parts of a key's whole name, so that an element becomes a glob with a star at both ends.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..architecture import known_keys, load
from ..block_rules import lanes_of
from ..errors import RecipeError
from ..expression import shortened
from .draft import Draft, weights_text

SD1_BLOCKS = ("BASE", *(f"IN{i:02}" for i in range(12)), "M00", *(f"OUT{i:02}" for i in range(12)))
SDXL_BLOCKS = ("BASE", *(f"IN{i:02}" for i in range(9)), "M00", *(f"OUT{i:02}" for i in range(9)))

MOST_LINES, MOST_RULES = 300, 2_000
_ELEMENT = re.compile(r"[\w.-]{1,100}")
_AS_CLASSES = {"attn1", "attn2"}
"""Key classes that hold just the keys in whose names the word stands."""
_IN_EVERY_UNET_KEY = "model.diffusion_model."
_LINE = re.compile(r"\s*(?:(?:NOT|BASE|M00|(?:IN|OUT)\d\d)(?:[ ]*-[ ]*|[ ]+|(?=:)))*:[\w .-]*:[ ]*-?[\d.]+\s*")

Rule = tuple[str, Fraction]


@dataclass(frozen=True)
class Blocks:
    """What block names mean in a program.

    Attributes:
        order: the names, for ranges and NOT.
        also: block to the lanes that the program counts to it and we do not.
        architectures: those that may be meant, the likeliest first.
        blank: what an empty block column means; None for every key.
    """

    order: Sequence[str]
    also: Mapping[str, tuple[str, ...]]
    architectures: tuple[str, ...]
    blank: tuple[str, ...] | None = None


def split_lines(value: object, draft: Draft) -> list[str]:
    """The lines of a text with commas or line breaks between, or of a list of such texts."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else [] if value is None else None
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise draft.error("its element lines are no text.")
    lines = [line.strip() for text in texts for line in re.split(r"[,\n]", text) if line.strip()]
    if len(lines) > MOST_LINES:
        raise draft.error(f"it has {len(lines)} element lines; at most {MOST_LINES} are read.")
    return lines


def element_rules(lines: Sequence[str], blocks: Blocks, draft: Draft) -> list[Rule]:
    """The rules that the lines come to, in their order: the later one wins, there and here.

    What matches no key does nothing there, and has no rule here.

    Raises:
        RecipeError: a block that there is not, an element that is no part of a name, NOT before elements, or no number.
    """
    rules: list[Rule] = []
    for line in lines:
        parts = line.split(":")
        if len(parts) != 3:
            draft.note(f"'{shortened(line)}' is no Blocks:Elements:Ratio line and is passed over, as it was there.")
            continue
        where = _where(parts[0].split(), blocks, line, draft)
        elements = _elements(parts[1].split(), line, draft)
        ratio = draft.number(parts[2], f"the ratio of '{shortened(line)}'")
        if len(rules) + len(where) * len(elements) > MOST_RULES:
            raise draft.error(f"its element lines come to more than {MOST_RULES} rules.")
        found = [(lanes, element) for lanes, names in where for element in elements if _matches(lanes, element, names)]
        if not found:
            draft.note(f"'{shortened(line)}' matches no key, there as here.")
        rules += [(_pattern(lanes, element), ratio) for lanes, element in found]
    return rules


def matching(elements: Sequence[str], blocks: Blocks, draft: Draft) -> list[str]:
    """Those elements in any block that stand in a key's name; what does not is said.

    Raises:
        RecipeError: one that can stand in no name.
    """
    for element in elements:
        if not _ELEMENT.fullmatch(element):
            raise draft.error(f"'{shortened(element)}' is neither a block nor a part of a key's name.")
        if not _matches("", element, blocks.architectures):
            draft.note(f"'{shortened(element)}' matches no key, there as here.")
    return [element for element in elements if _matches("", element, blocks.architectures)]


def translation(text: str) -> RecipeError | None:
    """For a text of nothing but such lines: what to write instead; None for any other text."""
    lines = [line for line in re.split(r"[,\n]", text) if line.strip()]
    if not lines or len(lines) > MOST_LINES or not all(len(line) < 500 and _LINE.fullmatch(line) for line in lines):
        return None
    draft = Draft("SuperMerger's Blocks:Elements:Ratio lines")
    rules = element_rules([line.strip() for line in lines], sd1_blocks(), draft)
    alpha = weights_text(Fraction(1, 2), rules)
    return draft.error(f"they name no models. Write weighted_sum(A, B, alpha={alpha}) with your models and default.")


def sd1_blocks(is_certain: bool = False) -> Blocks:
    """SuperMerger's blocks of SD 1.x and 2.x, which are meant where nothing says SDXL."""
    return Blocks(SD1_BLOCKS, {"IN00": ("TIME",), "OUT11": ("FINAL",)}, ("sd1",) if is_certain else ("sd1", "sdxl"))


def sdxl_blocks() -> Blocks:
    """SuperMerger's blocks of SDXL."""
    return Blocks(SDXL_BLOCKS, {"IN00": ("TIME", "LABEL"), "OUT08": ("FINAL",)}, ("sdxl",))


def lane_runs(names: Sequence[str], blocks: Blocks) -> list[str]:
    """Blocks as lanes and ranges of lanes, in their order, then the lanes that belong to them too."""
    return [*_ranges(names, blocks), *_also(names, blocks)]


def _ranges(names: Sequence[str], blocks: Blocks) -> list[str]:
    found: list[list[str]] = []
    for index, name in enumerate(blocks.order):
        if name not in names:
            continue
        if found and name != "BASE" and found[-1][-1] == blocks.order[index - 1] != "BASE":
            found[-1].append(name)
        else:
            found.append([name])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found]


def _also(names: Sequence[str], blocks: Blocks) -> list[str]:
    return [lane for name in blocks.order if name in names for lane in blocks.also.get(name, ())]


def _where(words: list[str], blocks: Blocks, line: str, draft: Draft) -> Sequence[tuple[str, Sequence[str]]]:
    """(lane or range, architectures in one of which it has to match); "" where every key is meant.

    What the line names may be any architecture's; what follows from it is that of the likeliest.
    """
    negated = bool(words) and words[0] == "NOT"
    names = [name for word in words[negated:] for name in _block_names(word, blocks, line, draft)]
    if negated:
        names = [name for name in blocks.order if name not in names]
    if words and not names:
        raise draft.error(f"'{shortened(line)}' means no block at all.")
    likeliest = blocks.architectures[:1]
    if not words:
        return [("", blocks.architectures)] if blocks.blank is None else [(lane, likeliest) for lane in blocks.blank]
    ranges = [(lanes, likeliest if negated else blocks.architectures) for lanes in _ranges(names, blocks)]
    return ranges + [(lane, likeliest) for lane in _also(names, blocks)]


@functools.cache
def _keys_of(lanes: str, architecture: str) -> tuple[str, ...]:
    """Keys of a lane or range, all that have a lane for an empty text; none where the architecture lacks the lane."""
    known = load(architecture)
    meant = lanes_of(lanes or "*", known) or ()
    return tuple(key for key in known_keys(architecture) if known.lane_of(key) in meant)


def _matches(lanes: str, element: str, architectures: Sequence[str]) -> bool:
    return any(element in key for name in architectures for key in _keys_of(lanes, name))


def _block_names(word: str, blocks: Blocks, line: str, draft: Draft) -> Sequence[str]:
    ends = [end.strip() for end in word.split("-")]
    for end in ends:
        if end not in blocks.order:
            raise draft.error(
                f"'{shortened(line)}' names the block '{shortened(end)}'; the blocks are {blocks.order[0]}, {blocks.order[1]} "
                f"to {blocks.order[len(blocks.order) // 2 - 1]}, M00, OUT00 to {blocks.order[-1]}."
            )
    if len(ends) > 2:
        raise draft.error(f"'{shortened(line)}' has a range with more than two ends.")
    first, last = sorted((blocks.order.index(ends[0]), blocks.order.index(ends[-1])))
    return blocks.order[first : last + 1]


def _elements(words: list[str], line: str, draft: Draft) -> list[str]:
    """Parts of names; an empty one where all keys are meant."""
    if words[:1] == ["NOT"]:
        raise draft.error(
            f"'{shortened(line)}' says NOT of elements, which rules cannot. Name the elements that are meant, one line each."
        )
    for word in words:
        if not _ELEMENT.fullmatch(word):
            raise draft.error(f"'{shortened(word)}' in '{shortened(line)}' is no part of a key's name.")
        if word in _IN_EVERY_UNET_KEY:
            draft.note(
                f"'{word}' stands in '{_IN_EVERY_UNET_KEY}', so '{shortened(line)}' means every U-Net key of its blocks, "
                f"as it did there{'; the class ff without stars is the feed-forward layers' if word == 'ff' else ''}."
            )
    return words or [""]


def _pattern(lanes: str, element: str) -> str:
    kind = element if element in _AS_CLASSES else f"*{element}*" if element else ""
    if not lanes and element in _AS_CLASSES:
        return kind
    return f"{lanes or '*'}/{kind or '*'}" if kind or not lanes else lanes
