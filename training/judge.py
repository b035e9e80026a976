"""Say what a picture shows: in the flat style the colour of its shape, the shape and the colour of its ground; and its style.

The first is no trained thing: the ground is what lies along the border, the shape is what differs from it, compared with every
shape drawn at the same place in several sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.pictures import COLOURS, SHAPES, STYLES, Scene, draw_scene, paint

_FRAME = 2
_SCALES = torch.arange(0.6, 1.3, 0.05)


def judge(picture: Tensor) -> str:
    """The caption that fits a picture of shape (3, size, size) in -1..1, such as "a red circle on blue"."""
    pixels = (picture.float() + 1) / 2
    ground = _along_border(pixels)
    apart = (pixels - ground[:, None, None]).norm(dim=0)
    mask = apart > 0.5 * apart.flatten().quantile(0.97)
    colour = pixels[:, mask].median(dim=1).values
    return f"a {_nearest(colour)} {_best_shape(mask)} on {_nearest(ground)}"


def _along_border(pixels: Tensor) -> Tensor:
    inner = torch.zeros(pixels.shape[1:], dtype=torch.bool)
    inner[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    return pixels[:, ~inner].median(dim=1).values


def _nearest(colour: Tensor) -> str:
    palette = torch.tensor(list(COLOURS.values()))
    return list(COLOURS)[int((palette - colour).norm(dim=1).argmin())]


def _best_shape(mask: Tensor) -> str:
    """The shape whose picture, with the mask's middle, covers most of the same pixels (intersection over union)."""
    size = mask.shape[0]
    across, down = _middle(mask)
    best, found = -1.0, SHAPES[0]
    for index, shape in enumerate(SHAPES):
        centred = _masks(index, torch.zeros(len(_SCALES)), torch.zeros(len(_SCALES)), size)
        middles = torch.tensor([_middle(drawn) for drawn in centred])
        drawn = _masks(index, (across - middles[:, 0]) * 2 / size, (down - middles[:, 1]) * 2 / size, size)
        overlap = (drawn & mask).sum((1, 2)) / (drawn | mask).sum((1, 2))
        if overlap.max() > best:
            best, found = float(overlap.max()), shape
    return found


def _masks(shape: int, across: Tensor, down: Tensor, size: int) -> Tensor:
    """The pixels that a shape covers, in each size of _SCALES."""
    count = len(_SCALES)
    scene = Scene(
        shape=torch.full((count,), shape),
        colour=torch.full((count,), list(COLOURS).index("white")),
        ground=torch.full((count,), list(COLOURS).index("black")),
        scale=_SCALES[:, None, None],
        across=across[:, None, None],
        down=down[:, None, None],
    )
    return paint(scene, "flat", size)[:, 0] > 0


def _middle(mask: Tensor) -> tuple[float, float]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return float(columns.min() + columns.max()) / 2, float(rows.min() + rows.max()) / 2


class StyleJudge:
    """Tells the styles apart: ridge regression from a picture's colours, edges and corners to the style it was drawn in.

    Args:
        each: drawn pictures of each style to learn from.
    """

    def __init__(self, each: int = 200, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        pictures = torch.cat([paint(draw_scene(each, generator), style) for style in STYLES])
        wanted = torch.eye(len(STYLES), dtype=torch.float64).repeat_interleave(each, 0)
        features = _features(pictures)
        self._middle, self._spread = features.mean(0), features.std(0) + 1e-3
        scaled = (features - self._middle) / self._spread
        inner = scaled @ scaled.T + len(scaled) * 0.1 * torch.eye(len(scaled), dtype=torch.float64)
        self._weights = scaled.T @ torch.linalg.solve(inner, wanted)

    def judge(self, pictures: Tensor) -> list[str]:
        """The style of each picture of shape (count, 3, 64, 64) in -1..1."""
        scaled = (_features(pictures) - self._middle) / self._spread
        return [STYLES[index] for index in (scaled @ self._weights).argmax(1).tolist()]


def _features(pictures: Tensor) -> Tensor:
    """(count, n): colours of 8 x 8 fields, and how much neighbours differ in each, in float64."""
    pictures = pictures.double()
    across = F.pad(pictures.diff(dim=-1).abs(), (0, 1))
    down = F.pad(pictures.diff(dim=-2).abs(), (0, 0, 0, 1))
    light = pictures.mean(1, keepdim=True)
    maps = torch.cat([pictures, across, down, (light - F.avg_pool2d(light, 9, 1, 4)).abs(), pictures**2], 1)
    fields = F.avg_pool2d(maps, 8).flatten(1)
    whole = torch.cat([maps.mean((2, 3)), maps.std((2, 3)), maps.amax((2, 3)), maps.amin((2, 3))], 1)
    return torch.cat([fields, whole], 1)
