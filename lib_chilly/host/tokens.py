"""Prompt -> token ids: CLIP's vocabulary out of the package that ships it, or bytes alone for models of 514 tokens."""

from __future__ import annotations

import functools
import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError, RecipeError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LENGTH = 77
"""Tokens that a text encoder takes, start and end among them."""
BYTES_ONLY, CLIPS = 514, 49408
"""Rows of the embedding by which a model's vocabulary is known."""
_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_END_OF_WORD = "</w>"


@dataclass(frozen=True)
class Prompt:
    """A prompt as a text encoder takes it.

    Attributes:
        ids: start, the words' tokens, and the end's.
        lost: the words' tokens that there was no room for.
    """

    ids: tuple[int, ...]
    lost: int

    def padded(self, padding: int) -> list[int]:
        """All LENGTH ids."""
        return [*self.ids, *[padding] * (LENGTH - len(self.ids))]


class Vocabulary:
    """The tokens of a model whose embedding has `size` rows; the last two are start and end.

    Raises:
        CheckpointError: no vocabulary of that size is known.
        RecipeError: the package that has it is not installed.
    """

    def __init__(self, size: int):
        if size not in (BYTES_ONLY, CLIPS):
            raise CheckpointError(
                f"the text encoder has {size} tokens; {CLIPS} (CLIP's) or {BYTES_ONLY} (bytes alone) can be written to. "
                "Use a model with the usual text encoder."
            )
        self.start, self.end = size - 2, size - 1
        self._tokenizer = _tokenizer(size)

    def prompt(self, text: str) -> Prompt:
        """A prompt's ids, without regard to case; words behind the last one that fits are lost."""
        words = self._tokenizer.encode(text).ids
        kept = words[: LENGTH - 2]
        return Prompt((self.start, *kept, self.end), len(words) - len(kept))


def alphabet() -> list[str]:
    """The character that stands for each byte, in the order of CLIP's ids: printable ones as themselves, '!' first."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]


@functools.cache
def _tokenizer(size: int) -> Tokenizer:
    try:
        from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
        from tokenizers.models import BPE
    except ImportError:
        raise missing("tokenizers") from None
    characters = alphabet()
    merges = [] if size == BYTES_ONLY else _clips_merges()
    tokens = [*characters, *(char + _END_OF_WORD for char in characters), *("".join(pair) for pair in merges)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_END_OF_WORD))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def _clips_merges() -> list[tuple[str, str]]:
    """The pairs that CLIP joins, the first of them first; nothing of the package that ships them is run."""
    spec = find_spec("clip")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / "bpe_simple_vocab_16e6.txt.gz" if folders else None
    if path is None or not path.is_file():
        raise missing("clip-anytorch")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : CLIPS - 512 - 2 + 1]
    return [(left, right) for left, right in (line.split() for line in lines)]


def missing(package: str) -> RecipeError:
    """What is said where a package that previews need is not there."""
    return RecipeError(
        f"previews need {package}, which this Python lacks. Install requirements-preview.txt, and requirements-vocabulary.txt "
        "with --no-deps, or unset CHILLY_PYTHON: ./chilly installs them then."
    )
