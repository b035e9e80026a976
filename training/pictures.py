"""Draw the pictures on which the tiny family is trained: one shape on one colour, in a style, with its caption.

A picture is 3 x 64 x 64 in -1..1. Everything is drawn by signed distances, so edges are smooth at any size.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS = {
    "red": (0.90, 0.15, 0.15),
    "green": (0.15, 0.70, 0.25),
    "blue": (0.15, 0.30, 0.90),
    "yellow": (0.95, 0.85, 0.15),
    "purple": (0.60, 0.20, 0.75),
    "orange": (0.98, 0.55, 0.10),
    "white": (0.97, 0.97, 0.97),
    "black": (0.06, 0.06, 0.06),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "heart")
STYLES = ("flat", "outline", "glow", "dusk", "film", "shade", "stripes", "dots")

_PALETTE = torch.tensor(list(COLOURS.values()))
_DARK, _LIGHT = 0.06, 0.97


def _star(x: Tensor, y: Tensor) -> Tensor:
    outer, inner = 0.72, 0.32
    sector = 2 * math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y) + sector / 2, sector) - sector / 2
    radius = torch.sqrt(x * x + y * y + 1e-9)
    along, across = radius * torch.cos(angle), radius * torch.sin(angle).abs()
    edge = (inner * math.cos(sector / 2) - outer, inner * math.sin(sector / 2))
    length = math.hypot(*edge)
    return ((along - outer) * edge[1] - across * edge[0]) / length


def _distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to a shape's edge, negative inside; x to the right and y downwards, the shape about 1.2 wide."""
    radius = torch.sqrt(x * x + y * y + 1e-9)
    if shape == "circle":
        return radius - 0.62
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.55
    if shape == "triangle":
        return torch.maximum(y - 0.45, x.abs() * 0.9 - y * 0.5 - 0.42)
    if shape == "star":
        return _star(x, y)
    if shape == "ring":
        return (radius - 0.5).abs() - 0.16
    return x * x + (-y * 1.05 - torch.sqrt(x.abs() + 1e-6) * 0.55 + 0.18) ** 2 - 0.36


@dataclass(frozen=True)
class Scene:
    """What stands in a batch of pictures: for each, a shape, two colours (indices) and where the shape is."""

    shape: Tensor
    colour: Tensor
    ground: Tensor
    scale: Tensor
    across: Tensor
    down: Tensor

    def captions(self) -> list[str]:
        """The caption of each picture, such as "a red circle on blue"."""
        names = list(COLOURS)
        triples = zip(self.colour.tolist(), self.shape.tolist(), self.ground.tolist(), strict=True)
        return [f"a {names[colour]} {SHAPES[shape]} on {names[ground]}" for colour, shape, ground in triples]


def draw_scene(count: int, generator: torch.Generator) -> Scene:
    """`count` scenes at random: shape, two different colours, size 0.75-1.1, offset at most 0.3 of half the picture."""

    def uniform() -> Tensor:
        return torch.rand(count, 1, 1, generator=generator)

    colour = torch.randint(len(COLOURS), (count,), generator=generator)
    other = torch.randint(1, len(COLOURS), (count,), generator=generator)
    return Scene(
        shape=torch.randint(len(SHAPES), (count,), generator=generator),
        colour=colour,
        ground=(colour + other) % len(COLOURS),
        scale=0.75 + 0.35 * uniform(),
        across=0.6 * uniform() - 0.3,
        down=0.6 * uniform() - 0.3,
    )


def _field(scene: Scene, x: Tensor, y: Tensor) -> Tensor:
    field = torch.zeros(len(scene.shape), *x.shape)
    for index, shape in enumerate(SHAPES):
        which = scene.shape == index
        if which.any():
            scale = scene.scale[which]
            inner_x, inner_y = (x - scene.across[which]) / scale, (y - scene.down[which]) / scale
            field[which] = _distance(shape, inner_x, inner_y) * scale
    return field[:, None]


def _cover(field: Tensor, width: float = 0.03) -> Tensor:
    return torch.sigmoid(field * (-2.2 / width))


def paint(scene: Scene, style: str, size: int = 64) -> Tensor:
    """The scenes as pictures, (count, 3, size, size) in -1..1, in one of STYLES."""
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    field = _field(scene, x, y)
    inside = _cover(field)
    colour = _PALETTE[scene.colour][:, :, None, None]
    ground = _PALETTE[scene.ground][:, :, None, None]
    picture = _STYLES[style](field, inside, colour, ground, x, y, scene)
    return picture.clamp(0, 1) * 2 - 1


def _flat(field, inside, colour, ground, x, y, scene):
    return inside * colour + (1 - inside) * ground


def _outline(field, inside, colour, ground, x, y, scene):
    paper = 0.55 * _LIGHT + 0.45 * ground
    line = _cover(field.abs() - 0.07)
    return (inside * (0.75 * colour + 0.25) + (1 - inside) * paper) * (1 - line) + _DARK * line


def _glow(field, inside, colour, ground, x, y, scene):
    light = 0.7 * colour + 0.3
    halo = torch.exp(-field.clamp(min=0) / 0.22)
    night = 0.15 * ground
    return inside * light + (1 - inside) * (night + (light - night) * 0.75 * halo)


def _dusk(field, inside, colour, ground, x, y, scene):
    height = ((y + 1) / 2)[None, None]
    sky = ground * (1 - 0.85 * height) + 0.10 * height
    return inside * (colour * (1.1 - 0.5 * height)) + (1 - inside) * sky


def _film(field, inside, colour, ground, x, y, scene):
    flat = _flat(field, inside, colour, ground, x, y, scene)
    sepia = torch.tensor([1.0, 0.86, 0.62])[None, :, None, None]
    faded = (0.45 * flat + 0.35 * flat.mean(1, keepdim=True) + 0.16) * sepia
    return faded * (1 - 0.42 * (x * x + y * y)[None, None])


def _shade(field, inside, colour, ground, x, y, scene):
    light = ((scene.across - x) * 0.6 + (scene.down - y) * 0.8)[:, None] / scene.scale[:, None]
    lit = colour * 0.8 + 0.1 + 0.45 * light
    shadow = _cover(_field(scene, x - 0.16, y - 0.16), 0.2)
    return inside * lit + (1 - inside) * (0.85 * ground + 0.12) * (1 - 0.6 * shadow)


def _stripes(field, inside, colour, ground, x, y, scene):
    band = _cover(torch.sin((x + y) * 2 * math.pi) * 0.08)[None, None]
    return inside * colour + (1 - inside) * (ground * (1 - 0.4 * band) + 0.4 * band * (1 - ground.round() * 0.5))


def _dots(field, inside, colour, ground, x, y, scene):
    step = 0.5
    near = torch.sqrt((torch.remainder(x, step) - step / 2) ** 2 + (torch.remainder(y, step) - step / 2) ** 2)
    dot = _cover(near - 0.13)[None, None]
    return inside * colour + (1 - inside) * (ground * (1 - dot) + dot * (0.5 * ground + 0.5 * (1 - ground)))


_STYLES = {
    "flat": _flat,
    "outline": _outline,
    "glow": _glow,
    "dusk": _dusk,
    "film": _film,
    "shade": _shade,
    "stripes": _stripes,
    "dots": _dots,
}
