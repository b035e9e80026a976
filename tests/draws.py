"""Philox4x32-10 after its paper, in numpy and words of 32 bits: what the draws must be."""

from __future__ import annotations

import hashlib

import numpy as np

LOWER = np.uint64(0xFFFFFFFF)


def philox(counter: tuple[np.ndarray, ...], key: tuple[int, int]) -> np.ndarray:
    """The four words of each counter; [..., 4] of uint32."""
    a, b, c, d = (np.asarray(word, np.uint64) for word in counter)
    for turn in range(10):
        k0 = np.uint64((key[0] + turn * 0x9E3779B9) % 2**32)
        k1 = np.uint64((key[1] + turn * 0xBB67AE85) % 2**32)
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (q >> np.uint64(32)) ^ b ^ k0, q & LOWER, (p >> np.uint64(32)) ^ d ^ k1, p & LOWER
    return np.stack([a, b, c, d], -1).astype(np.uint32)


def uniforms(tensor: str, start: int, count: int, seed: int, stream: int) -> np.ndarray:
    """The draws of elements [start, start + count)."""
    digest = hashlib.sha256(f"{seed}\0{tensor}".encode()).digest()
    elements = np.arange(start, start + count, dtype=np.uint64)
    block, zero = elements // np.uint64(4), np.zeros(count, np.uint64)
    counter = block & LOWER, block >> np.uint64(32), zero + np.uint64(stream), zero
    words = philox(counter, tuple(np.frombuffer(digest[:8], "<u4").tolist()))
    own = np.take_along_axis(words, (elements % np.uint64(4)).astype(np.int64)[:, None], 1)[:, 0]
    return (own >> np.uint32(8)).astype(np.float32) / np.float32(2**24)
