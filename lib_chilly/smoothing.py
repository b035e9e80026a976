"""Median and Gaussian filters in all dimensions, as scipy.ndimage defines them, of whole arrays at once.

The median is found by networks of minima and maxima of shifted arrays: lists that are sorted along one dimension are merged with
their neighbours' along the next, and the last merge makes the middle one alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_RADIUS = 4
"""Of a Gaussian of width 1: what is further away than four widths is left out."""

_MOST = 4
"""Dimensions that have windows of their own: these hold 3, 9, 27, 81 elements."""

_FEW = 8
"""Dimensions of fewer elements, a convolution's kernel, are put inside the rows, so that lines stay long."""

_BLOCK = 1 << 17
"""Elements that are filtered at once: the some fifty arrays of a network are then not far from the cores."""

Network = tuple[tuple[tuple[bool, int, int, int], ...], tuple[int, ...], int]
"""((whether it is a minimum, left, right, where it goes), ...), where the results are, and how many places there are beside the
inputs', which come first."""


def smoothed(values: Tensor) -> Tensor:
    """The median of three in every dimension, then a Gaussian of width 1 in every dimension; edges are mirrored.

    Dimensions of one element count for nothing; of more than four, which no model has, the last are taken as one.
    """
    used = [each for each in range(values.dim()) if values.shape[each] > 1]
    if not used or values.numel() == 0:
        return values
    if len(used) > _MOST:
        return smoothed(values.squeeze().flatten(_MOST - 1)).view(values.shape)
    long = [each for each in used if values.shape[each] >= _FEW]
    order = [*long[:1], *(each for each in used if each not in long), *long[1:]]
    dense = values.squeeze().permute([used.index(each) for each in order]).contiguous()
    filtered = _gaussian(_median(dense if dense.dim() > 1 else dense.unsqueeze(1)))
    return filtered.view(dense.shape).permute([order.index(each) for each in used]).reshape(values.shape)


def _median(values: Tensor) -> Tensor:
    """Rows are taken in pairs: what stands side by side in two windows is merged for both.

    Rows of one kind lie in one flat array each, so that a window's elements are slices of it; what runs over the end of a row
    is left out at last.
    """
    result = values.new_empty(values.shape)
    for start, count in _pieces(values):
        pairs = (count + 1) // 2
        rows = _mirrored(values, 0, start, 2 * pairs, 1)
        upper, lower = (_sorted_columns(rows[first::2]) for first in (0, 1))
        pitch = (upper[0].numel() + 2) // (pairs + 1)
        length = pairs * pitch - 2
        places = (lower, 0), (upper, pitch), (upper, 0), (lower, pitch)
        slices = [one[at : at + length] for lists, at in places for one in lists]
        for first, flat in enumerate(_run(_middle(len(upper)), slices)):
            target = result[start : start + count][first::2]
            target.copy_(flat.as_strided(target.shape, _strides(target.shape, pitch)))
    return result


def _strides(shape: Sequence[int], pitch: int) -> list[int]:
    """Of rows that lie `pitch` apart, each line of them two longer than it is."""
    strides = [1, shape[-1] + 2]
    for size in reversed(shape[1:-1]):
        strides.append(strides[-1] * size)
    return [pitch, *reversed(strides[: len(shape) - 1])]


def _sorted_columns(rows: Tensor) -> list[Tensor]:
    """For each element those of its row's window, sorted; flat, with two more elements to each line but the last."""
    lists = [rows]
    last = rows.dim() - 1
    for each in range(1, last):
        wide = [_mirrored(one, each, 0, rows.shape[each], 1) for one in lists]
        lists = _run(_merging(len(lists)), [one.narrow(each, shift, rows.shape[each]) for shift in range(3) for one in wide])
    flat = [_mirrored(one, last, 0, rows.shape[last], 1).reshape(-1) for one in lists]
    return _run(_merging(len(flat)), [one[shift : one.numel() - 2 + shift] for shift in range(3) for one in flat])


def _gaussian(values: Tensor) -> Tensor:
    weights = [math.exp(-0.5 * distance**2) for distance in range(_RADIUS + 1)]
    whole = weights[0] + 2 * sum(weights[1:])
    result = values.new_empty(values.shape)
    for start, count in _pieces(values):
        found = values
        for each in range(values.dim()):
            first, size = (0, values.shape[each]) if each else (start, count)
            wide = _mirrored(found, each, first, size, _RADIUS)
            found = wide.narrow(each, _RADIUS, size) * (weights[0] / whole)
            for distance in range(1, _RADIUS + 1):
                sides = wide.narrow(each, _RADIUS - distance, size) + wide.narrow(each, _RADIUS + distance, size)
                found.add_(sides.mul_(weights[distance] / whole))
        result[start : start + count] = found
    return result


def _pieces(values: Tensor) -> Iterator[tuple[int, int]]:
    """(start, count) of rows that are filtered at once."""
    total = values.shape[0]
    most = max(8, _BLOCK * total // values.numel())
    for start in range(0, total, most):
        yield start, min(most, total - start)


def _mirrored(values: Tensor, dimension: int, start: int, count: int, margin: int) -> Tensor:
    """Elements from `start` on with `margin` more on either side; beyond the edges stands their mirror image, edge included."""
    import torch

    size = values.shape[dimension]
    first, end = max(start - margin, 0), min(start + count + margin, size)
    inside = values.narrow(dimension, first, end - first)

    def mirror(places: range) -> Tensor:
        turned = [min(place % (2 * size), -1 - place % (2 * size) + 2 * size) for place in places]
        return values.index_select(dimension, torch.tensor(turned, dtype=torch.int64, device=values.device))

    if end - first == count + 2 * margin:
        return inside
    return torch.cat((mirror(range(start - margin, first)), inside, mirror(range(end, start + count + margin))), dimension)


def _run(network: Network, values: Sequence[Tensor]) -> list[Tensor]:
    import torch

    steps, results, places = network
    room = values[0].new_empty((places, *values[0].shape))
    known = [*values, *room]
    for is_minimum, left, right, place in steps:
        (torch.minimum if is_minimum else torch.maximum)(known[left], known[right], out=known[place])
    return [known[place] for place in results]


class _Steps:
    """Minima and maxima, numbered from the number of inputs on."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self.steps: list[tuple[bool, int, int]] = []

    def lower(self, left: int, right: int) -> int:
        self.steps.append((True, left, right))
        return self.inputs + len(self.steps) - 1

    def upper(self, left: int, right: int) -> int:
        self.steps.append((False, left, right))
        return self.inputs + len(self.steps) - 1

    def merged(self, left: Sequence[int], right: Sequence[int]) -> list[int]:
        """Batcher's merge of two sorted lists of any lengths."""
        if not left or not right:
            return [*left, *right]
        if len(left) == len(right) == 1:
            return [self.lower(left[0], right[0]), self.upper(left[0], right[0])]
        odd = self.merged(left[::2], right[::2])
        even = self.merged(left[1::2], right[1::2])
        pairs = min(len(odd) - 1, len(even))
        found = [odd[0]]
        for place in range(pairs):
            found += [self.lower(even[place], odd[place + 1]), self.upper(even[place], odd[place + 1])]
        return [*found, *odd[pairs + 1 :], *even[pairs:]]

    def middle(self, long: Sequence[int], short: Sequence[int]) -> int:
        """The median of a sorted list and one half as long: the least of what is no less than so many of both."""
        rank = (len(long) + len(short)) // 2
        found = long[rank]
        for taken in range(len(short)):
            found = self.lower(found, self.upper(long[rank - 1 - taken], short[taken]))
        return found


def _needed(steps: Sequence[tuple[bool, int, int]], results: Sequence[int], inputs: int) -> Network:
    """The steps that results are made of; what they make lies where something lay that is not needed any more."""
    wanted, last = set(results), dict.fromkeys(results, len(steps))
    for step in reversed(range(len(steps))):
        if inputs + step in wanted:
            for number in steps[step][1:]:
                wanted.add(number)
                last.setdefault(number, step)
    place = {number: number for number in range(inputs)}
    free: list[int] = []
    found, places = [], 0
    for step, (is_minimum, left, right) in enumerate(steps):
        if inputs + step not in wanted:
            continue
        free += [place[number] for number in {left, right} if last[number] == step and number >= inputs]
        if not free:
            free.append(inputs + places)
            places += 1
        place[inputs + step] = free.pop()
        found.append((is_minimum, place[left], place[right], place[inputs + step]))
    return tuple(found), tuple(place[number] for number in results), places


@functools.cache
def _merging(length: int) -> Network:
    """The network that merges three sorted lists of a length to one."""
    found = _Steps(3 * length)
    first, second, third = (range(start, start + length) for start in range(0, 3 * length, length))
    return _needed(found.steps, found.merged(found.merged(first, second), third), found.inputs)


@functools.cache
def _middle(length: int) -> Network:
    """The network of four sorted lists: two that stand side by side, the one before them, and the one behind.

    It makes two medians, of the two with that before and with that behind: the two are merged for both.
    """
    found = _Steps(4 * length)
    first, second, before, behind = (range(start, start + length) for start in range(0, 4 * length, length))
    long = found.merged(first, second)
    return _needed(found.steps, (found.middle(long, before), found.middle(long, behind)), found.inputs)
