"""Is a merged file the arithmetic that docs/recipes.md defines, on every element? Plain numpy says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.fileio import SourceFile

_DTYPES = {"fp16": np.float16, "fp32": np.float32, "int64": np.int64}
_CHUNK = 1 << 22


def compare(output: Path, terms: Sequence[tuple[Path, float]]) -> dict[str, float]:
    """Compare a merged fp16 file with the weighted sum of its sources.

    Args:
        terms: source and its exact coefficient, in the order of the sum.

    Returns:
        "elements", how many of them "differ" from the defined arithmetic, and the "share_off_float64" that differs from float64
        rounded once.
    """
    elements = differ = off = 0
    for result, values in _chunks(output, [path for path, _ in terms]):
        total, exact = None, np.zeros(len(result), np.float64)
        for (_, coefficient), part in zip(terms, values, strict=True):
            product = part.astype(np.float32) * np.float32(coefficient)
            total = product if total is None else total + product
            exact += part.astype(np.float64) * coefficient
        assert total is not None
        elements += len(result)
        differ += int((total.astype(np.float16).view(np.uint16) != result.view(np.uint16)).sum())
        off += int((exact.astype(np.float16).view(np.uint16) != result.view(np.uint16)).sum())
    return {"elements": elements, "differ": differ, "share_off_float64": off / elements}


def _chunks(output: Path, sources: Sequence[Path]) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """(result, values of each source) of the same elements, through all floating-point keys."""
    opened = [(open_checkpoint(path), SourceFile(path)) for path in (output, *sources)]
    for key, info in opened[0][0].tensors.items():
        if not info.dtype.is_floating:
            continue
        for start in range(0, info.elements, _CHUNK):
            count = min(_CHUNK, info.elements - start)
            arrays = []
            for checkpoint, file in opened:
                there = checkpoint.tensors[key]
                size = there.dtype.size_bytes
                data = file.read(there.offset + start * size, count * size)
                arrays.append(np.frombuffer(data, _DTYPES[there.dtype.name]))
            yield arrays[0], arrays[1:]
    for _, file in opened:
        file.close()
