"""The family's 514 tokens, which need no merges: CLIP's 256 byte symbols, the same at the end of a word, start and end."""

from __future__ import annotations

import torch
from torch import Tensor

START, END = 512, 513

_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_ORDER = [*_VISIBLE, *(byte for byte in range(256) if byte not in _VISIBLE)]
_ID = {byte: index for index, byte in enumerate(_ORDER)}


def encode(texts: list[str]) -> Tensor:
    """Token ids of each text, int64 (count, 77), cut at 75 and filled with the end token."""
    ids = torch.full((len(texts), 77), END)
    for row, text in enumerate(texts):
        tokens = [START]
        for word in text.lower().split():
            *first, last = word.encode()
            tokens += [*(_ID[byte] for byte in first), 256 + _ID[last]]
        tokens = tokens[:76]
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids
