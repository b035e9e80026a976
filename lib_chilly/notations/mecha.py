"""sd-mecha's `.mecha` recipes -> Recipe: one instruction a line, each of whose values later lines call by its number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ..expression import shortened
from .draft import Draft, Imported, spelled, weights_text
from .element_lines import SD1_BLOCKS, SDXL_BLOCKS, Rule

VERSION = "0.1.0"
MOST_LINES = 1_000
LONGEST_LINE = 20_000
_START = re.compile(r"\s*version \d+\.\d+\.\d+[ \t]*\r?(?:\n|\Z)")
_TOKEN = re.compile(r'[ \t]*([^\s"=]*=)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))')
_BLOCK_CONFIGS = {"sd1-supermerger_blocks": SD1_BLOCKS, "sdxl-supermerger_blocks": SDXL_BLOCKS}
_BLOCK_CONVERSIONS = ("convert_sd1_blocks_to_ldm", "convert_sdxl_blocks_to_sgm")
_WHOLE_MODELS = ("null", "sd1-ldm", "sdxl-sgm", "sd1", "sdxl", "singleton-mecha")
_WEIGHTS, _DELTA = ("null", "weight", "base"), "delta"
_OPERANDS = {"weighted_sum": 2, "add_difference": 2, "subtract": 2, "scale": 1, "fallback": 2}
_DEFAULT_ALPHA = {"weighted_sum": Fraction(1, 2), "add_difference": Fraction(1), "scale": Fraction(1)}


@dataclass(frozen=True)
class _Word:
    """An argument: its key where it has one, its text, and whether that stood in quotes."""

    key: str
    text: str
    is_quoted: bool


@dataclass(frozen=True)
class _Value:
    """What a line makes: a model, a merge (`method`), or numbers for blocks."""

    line: int
    method: str = ""
    model: str = ""
    operands: tuple[int, ...] = ()
    alpha: Fraction | int | None = None
    numbers: dict[str, Fraction] = field(default_factory=dict)


def is_mecha(text: str) -> bool:
    """Whether a text begins as a `.mecha` recipe does."""
    return _START.match(text[:200]) is not None


def read(text: str) -> Imported:
    """Read a `.mecha` recipe of weighted sums, means, differences and scales.

    Raises:
        RecipeError: with the line: it makes no sense, or needs a method that does not exist here.
    """
    draft = Draft("sd-mecha's recipe")
    lines = text.strip().splitlines()
    version = lines[0].split()[1]
    if version != VERSION:
        raise draft.error(f"it is of version {version}; {VERSION} is read.")
    if len(lines) > MOST_LINES:
        raise draft.error(f"it has {len(lines)} lines; at most {MOST_LINES} are read.")
    values: list[_Value] = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip() and not line.lstrip().startswith("#"):
            values.append(_Reader(values, number, line, draft).read())
    if not values or not values[-1].operands:
        raise draft.error("its last line is no merge.")
    _write(values, draft)
    draft.note(
        "sd-mecha drops a key that one input lacks or that holds a NaN, and casts position_ids to fp16; here no key is dropped, "
        "and ids are copied."
    )
    return draft.finish()


class _Reader:
    """Reads one line; `values` are those of the lines above."""

    def __init__(self, values: Sequence[_Value], number: int, line: str, draft: Draft):
        self.values, self.number, self.draft = values, number, draft
        self.words = list(self._split(line))

    def read(self) -> _Value:
        command, words = self.words[0].text, self.words[1:]
        positional = [word for word in words if not word.key]
        named = {word.key: word for word in words if word.key}
        if command == "dict":
            return _Value(self.number, numbers={key: self._number(word) for key, word in named.items()})
        if command == "literal" and positional:
            return self._literal(positional[0], named)
        if command == "model" and positional and positional[0].is_quoted:
            return self._model(positional, named)
        if command == "merge" and positional and positional[0].is_quoted:
            return self._merge(positional[0].text, positional[1:], named)
        raise self._error(f"'{shortened(command)}' is no instruction that is read: model, merge, dict and literal are.")

    def _split(self, line: str) -> Iterator[_Word]:
        position = 0
        while len(line) <= LONGEST_LINE and (match := _TOKEN.match(line, position)):
            key, quoted, plain = match.groups()
            text = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            yield _Word((key or "").rstrip("="), text, quoted is not None)
            position = match.end()
        if line[position:].strip():
            raise self._error(f"'{shortened(line[position:].strip())}' cannot be read.")

    def _error(self, message: str) -> Exception:
        return self.draft.error(f"line {self.number}: {message}")

    def _number(self, word: _Word) -> Fraction:
        if word.is_quoted:
            raise self._error(f"'{shortened(word.text)}' stands where a number was expected.")
        return self.draft.number(word.text, f"on line {self.number} {word.key or 'a weight'}")

    def _index(self, word: _Word) -> int:
        match = re.fullmatch(r"&(\d{1,6})", word.text)
        if word.is_quoted or not match or int(match[1]) >= len(self.values):
            raise self._error(f"'{shortened(word.text)}' means no line above; & and a number counted from 0 was expected.")
        return int(match[1])

    def _literal(self, word: _Word, named: dict[str, _Word]) -> _Value:
        config = named["model_config"].text if "model_config" in named else "null"
        if not word.text.startswith("&"):
            return _Value(self.number, numbers={"": self._number(word)})
        if config not in ("null", *_BLOCK_CONFIGS):
            raise self._error(f"weights of the kind '{shortened(config)}' are not read; {' and '.join(_BLOCK_CONFIGS)} are.")
        return self.values[self._index(word)]

    def _model(self, positional: Sequence[_Word], named: dict[str, _Word]) -> _Value:
        texts = [word.text for word in positional[1:]]
        config = named["model_config"].text if "model_config" in named else texts[0] if texts else "null"
        space = named["merge_space"].text if "merge_space" in named else texts[1] if len(texts) > 1 else "null"
        path = positional[0].text
        if config not in _WHOLE_MODELS or space not in _WEIGHTS:
            kind = config if config not in _WHOLE_MODELS else space
            raise self._error(
                f"'{shortened(path)}' is of the kind '{shortened(kind)}', which is not read; whole checkpoints are."
            )
        if re.match(r"[/\\]|[A-Za-z]:", path):
            self.draft.note("a model's folders are left out where its path is a whole one.")
            path = re.split(r"[/\\]", path)[-1]
        return _Value(self.number, model=self.draft.model(path.replace("\\", "/"), f"the model of line {self.number}"))

    def _merge(self, method: str, positional: list[_Word], named: dict[str, _Word]) -> _Value:
        if method in _BLOCK_CONVERSIONS and len(positional) == 1:
            return self.values[self._index(positional[0])]
        count = len(positional) if method == "n_average" else _OPERANDS.get(method)
        if count is None:
            raise self._error(f"there is no method here yet for sd-mecha's '{shortened(method)}'.")
        words = positional + [named.pop(letter) for letter in "ab" if len(positional) < count and letter in named]
        operands = tuple(self._operand(word) for word in words[:count])
        alphas = [*words[count:], *([named.pop("alpha")] if "alpha" in named else [])]
        if len(operands) != count or not count or len(alphas) > 1 or named or (alphas and method not in _DEFAULT_ALPHA):
            raise self._error(f"'{method}' has other arguments than it takes.")
        return _Value(self.number, method, "", operands, self._alpha(alphas, method))

    def _operand(self, word: _Word) -> int:
        index = self._index(word)
        if self.values[index].numbers:
            raise self._error(f"{word.text} is no model.")
        return index

    def _alpha(self, words: Sequence[_Word], method: str) -> Fraction | int | None:
        """A number, or the index of a line with a number for each block."""
        if not words:
            return _DEFAULT_ALPHA.get(method)
        if not words[0].text.startswith("&"):
            return self._number(words[0])
        index = self._index(words[0])
        numbers = self.values[index].numbers
        if "" in numbers:
            return numbers[""]
        if set(numbers) not in (set(SD1_BLOCKS), set(SDXL_BLOCKS), {*SDXL_BLOCKS, "VAE"}):
            raise self._error(f"{words[0].text} does not name all of SD 1.x's or SDXL's blocks, BASE to the last OUT.")
        return index


def _write(values: list[_Value], draft: Draft) -> None:
    """Write the merges that the last one needs, in their order."""
    needed = {len(values) - 1}
    for index in range(len(values) - 1, -1, -1):
        if index in needed:
            needed |= set(_sources(values, index))
    names: dict[int, str] = {}
    for index in sorted(needed):
        value = values[index]
        if value.model or value.method == "fallback":
            names[index] = value.model or names[value.operands[0]]
        else:
            names[index] = draft.step(_expression(values, index, names, draft), alpha=f"line {value.line}")


def _sources(values: list[_Value], index: int) -> Sequence[int]:
    """What a merge is written over: a difference that is added stands in the sum itself."""
    value = values[index]
    if value.method == "fallback":
        return value.operands[:1]
    if _adds_difference(values, index):
        return (value.operands[0], *values[value.operands[1]].operands)
    return value.operands


def _adds_difference(values: list[_Value], index: int) -> bool:
    value = values[index]
    return value.method == "add_difference" and values[value.operands[1]].method == "subtract"


def _expression(values: list[_Value], index: int, names: dict[int, str], draft: Draft) -> str:
    value = values[index]
    operands = [names[source] for source in _sources(values, index)]
    if value.method == "n_average":
        return f"mean({', '.join(operands)})"
    if value.method == "subtract":
        return f"{operands[0]} - {operands[1]}"
    alpha = _weights(values, value.alpha)
    if value.method == "weighted_sum" or len(operands) == 3:
        return f"{value.method}({', '.join(operands)}, alpha={alpha})"
    if not isinstance(value.alpha, Fraction):
        raise draft.error(f"line {value.line}: weights for blocks go here with a difference of two models only.")
    scaled = f"{spelled(value.alpha)} * {operands[-1]}"
    return scaled if value.method == "scale" else f"{operands[0]} + {scaled}"


def _weights(values: list[_Value], alpha: Fraction | int | None) -> str:
    """A list; TIME and LABEL have BASE's number in sd-mecha."""
    if not isinstance(alpha, int):
        return weights_text(alpha if alpha is not None else Fraction(1))
    numbers = values[alpha].numbers
    order = SD1_BLOCKS if "IN11" in numbers else SDXL_BLOCKS
    rules: list[Rule] = [(lane, numbers["BASE"]) for lane in (("TIME",) if order is SD1_BLOCKS else ("TIME", "LABEL"))]
    rules += [("VAE", numbers["VAE"])] if "VAE" in numbers else []
    return weights_text([numbers[name] for name in order], rules)
