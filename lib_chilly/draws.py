"""Random numbers that depend on seed, tensor, stream and element number alone: no order, slab, thread or device changes a draw.

Philox4x32-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3): block b of stream s is the cipher of the counter
(b mod 2^32, b div 2^32, s, 0) under a key of two words, the first eight bytes, little end first, of the sha256 of "SEED", a zero
byte and the tensor's key in UTF-8. Element e is word e mod 4 of block e div 4; its draw is the word's upper 24 bits over 2^24.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .signature import Place

if TYPE_CHECKING:
    import torch

_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_STEPS = 0x9E3779B9, 0xBB67AE85
"""What the key's words grow by after each round."""

_WORD = 0xFFFFFFFF
_BLOCKS = 1 << 15
"""Blocks that are made at once, in 1.5 MiB of scratch."""


def uniforms(place: Place, count: int, seed: float, stream: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """`count` draws from [0, 1), float32 of 24 bits each, flat: those of the elements from `place.start` on.

    Args:
        seed: a whole number.
        stream: apart for what must not share its draws, such as the number of the model; below 2^32.
    """
    import torch

    first, skipped = divmod(place.start, 4)
    end = -(-(place.start + count) // 4)
    drawn = torch.empty(end - first, 4, device=device)
    key = _key(seed, place.key)
    numbers = torch.arange(min(_BLOCKS, end - first), device=device)
    scratch = torch.empty(6, numbers.numel(), dtype=torch.int64, device=device)
    for start, part in zip(range(first, end, _BLOCKS), drawn.split(_BLOCKS), strict=False):
        words = scratch[:, : part.shape[0]].unbind()
        torch.add(numbers[: part.shape[0]], start, out=words[0])
        for number, word in enumerate(_encrypted(words, stream, key)):
            part[:, number] = word.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF)
    return drawn.mul_(2.0**-24).view(-1)[skipped : skipped + count]


def _key(seed: float, tensor: str) -> tuple[int, int]:
    digest = hashlib.sha256(f"{int(seed)}\0{tensor}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _encrypted(words: tuple[torch.Tensor, ...], stream: int, key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """The four words of the blocks whose numbers stand in the first of six tensors, which are written over.

    They stand in the lower halves of int64, since a product of two words needs both; only what is multiplied is kept clean of
    what is in the upper halves.
    """
    import torch

    c0, c1, c2, c3, low, high = words
    torch.bitwise_right_shift(c0, 32, out=c1)
    c0.bitwise_and_(_WORD)
    c2.fill_(stream)
    c3.zero_()
    for turn in range(_ROUNDS):
        k0, k1 = ((word + turn * step) & _WORD for word, step in zip(key, _STEPS, strict=True))
        torch.mul(c0, _MULTIPLIERS[0], out=low)
        torch.mul(c2, _MULTIPLIERS[1], out=high)
        torch.bitwise_right_shift(high, 32, out=c0).bitwise_xor_(c1.bitwise_xor_(k0)).bitwise_and_(_WORD)
        torch.bitwise_right_shift(low, 32, out=c2).bitwise_xor_(c3.bitwise_xor_(k1)).bitwise_and_(_WORD)
        c1, high = high, c1
        c3, low = low, c3
    return c0, c1, c2, c3
