"""The sparse methods after their papers, an element at a time, in numpy's arithmetic of the operands' type."""

from __future__ import annotations

import draws
import numpy as np

Arrays = list[np.ndarray]


def count_kept(density: float, elements: int) -> int:
    return min(elements, max(1 if density > 0 else 0, int(np.rint(density * elements))))


def by_size(values: np.ndarray) -> np.ndarray:
    """Elements' numbers, the largest first, of equal ones the first."""
    return np.argsort(-np.abs(values.ravel()), kind="stable")


def only(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    found = np.zeros_like(values)
    found.ravel()[numbers] = values.ravel()[numbers]
    return found


def added(parts: Arrays) -> np.ndarray:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def agreed(parts: Arrays, by_count: bool = False) -> np.ndarray:
    """TIES: elect a sign, and average those that have it."""
    kind = parts[0].dtype.type
    found = np.zeros_like(parts[0])
    for place in np.ndindex(found.shape):
        ups, downs = ([part[place] for part in parts if sign * part[place] > 0] for sign in (1, -1))
        up, down = (added([kind(0), *terms]) for terms in (ups, downs))
        margin = len(ups) - len(downs) if by_count else up + down
        if margin:
            found[place] = up / kind(len(ups)) if margin > 0 else down / kind(len(downs))
    return found


def trimmed(deltas: Arrays, density: float) -> Arrays:
    return [only(delta, by_size(delta)[: count_kept(density, delta.size)]) for delta in deltas]


def without_outliers(deltas: Arrays, density: float, gamma: float) -> Arrays:
    size = deltas[0].size
    start = min(int(np.rint(gamma * size)), max(size - 1, 0))
    return [only(delta, by_size(delta)[start : start + count_kept(density, size)]) for delta in deltas]


def drawn(delta: np.ndarray, key: str, start: int, seed: int, stream: int) -> np.ndarray:
    return draws.uniforms(key, start, delta.size, seed, stream).reshape(delta.shape)


def dropped(deltas: Arrays, density: float, key: str, start: int, seed: int) -> Arrays:
    chosen = [drawn(delta, key, start, seed, stream) < np.float32(density) for stream, delta in enumerate(deltas)]
    return [np.where(mask, delta, delta.dtype.type(0)) for mask, delta in zip(chosen, deltas, strict=True)]


def restored(delta: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    whole, left = (np.abs(part.astype(np.float64)).sum() for part in (delta, chosen))
    return chosen.astype(np.float64) * (whole / left if left else 0)


def ranks(delta: np.ndarray, digits: int | None = 16) -> np.ndarray:
    """From 0 to 1 in each row; magnitudes of equal leading bits share theirs. All bits count where `digits` is None."""
    rows = np.abs(delta.reshape(delta.shape[0] if delta.ndim > 1 else 1, -1).astype(np.float32))
    if digits:
        rows = (rows.view(np.uint32) >> np.uint32(32 - digits)).astype(np.int64)
        rows = np.maximum(rows, rows.max(1, keepdims=True, initial=0) - 2047)
    smaller = (rows[:, None, :] < rows[:, :, None]).sum(2)
    equal = (rows[:, None, :] == rows[:, :, None]).sum(2)
    return ((2 * smaller + equal) / (2 * rows.shape[1])).reshape(delta.shape)


def pruned(deltas: Arrays, density: float, epsilon: float, key: str, seed: int) -> Arrays:
    found, epsilon = [], min(epsilon, 2 * density, 2 * (1 - density))
    for stream, delta in enumerate(deltas):
        kind = delta.dtype.type
        chance = np.clip(ranks(delta).astype(kind) * kind(epsilon) + kind(density - epsilon / 2), kind(0), kind(1))
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.where(drawn(delta, key, 0, seed, stream) < chance, delta / chance, kind(0)))
    return found


def sce(deltas: Arrays, density: float) -> np.ndarray:
    """In float64."""
    wide = [delta.astype(np.float64) for delta in deltas]
    if all(np.array_equal(delta, deltas[0]) for delta in deltas):
        return wide[0]
    numbers = by_size(np.var(wide, axis=0))[: count_kept(density, wide[0].size)]
    chosen = [only(delta, numbers) for delta in wide]
    energies = [(delta**2).sum() for delta in chosen]
    found = np.zeros_like(wide[0])
    for place in np.ndindex(found.shape):
        sign = np.sign(sum(delta[place] for delta in chosen))
        with_it = [(energy, delta[place]) for energy, delta in zip(energies, chosen, strict=True) if sign * delta[place] > 0]
        weight = sum(energy for energy, _ in with_it)
        found[place] = sum(energy * value for energy, value in with_it) / weight if weight else 0
    return found


def ram(deltas: Arrays, epsilon: float, gain: float = 0, limit: float = 0) -> np.ndarray:
    kind = deltas[0].dtype.type
    moved = [np.abs(delta) > kind(epsilon) for delta in deltas]
    count = np.sum(moved, axis=0)
    parts = []
    for delta, mask in zip(deltas, moved, strict=True):
        own, shared = int((mask & (count == 1)).sum()), int((mask & (count > 1)).sum())
        factor = kind(1 + gain * min(shared / max(own, 1), limit))
        parts.append(np.where(mask & (count == 1), delta * factor, np.where(mask, delta, kind(0))))
    return added(parts) / np.maximum(count, 1).astype(kind)


def nearswap(a: np.ndarray, b: np.ndarray, distance: float) -> np.ndarray:
    kind = a.dtype.type
    return np.where(np.abs(b - a) <= kind(distance), b, a + np.clip(b - a, kind(-distance), kind(distance)))


def comparative(a: np.ndarray, b: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """The weight, in float64."""
    apart = np.abs(b.astype(np.float64) - a)
    alike = apart / (apart.max() or 1)
    return ((1 - beta) * (1 - alike) + beta * alike) ** (1 / alpha - 1)


def importance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Arcee fusion's, in float64."""
    rows = a.shape[0] if a.ndim > 1 else 1
    one, two = (each.astype(np.float64).reshape(rows, -1) for each in (a, b))
    q, p = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (one, two))
    return (np.abs(two - one) * np.maximum((p * np.log(p / q)).sum(1, keepdims=True), 0)).reshape(a.shape)
