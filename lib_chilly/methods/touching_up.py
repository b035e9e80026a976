"""Methods that change the first and the last layer of one model's U-Net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

from ..registry import merge_method
from ..signature import Model, Param, Place, Reach

_IN, _OUT, _OUT2 = (f"model.diffusion_model.{layer}." for layer in ("input_blocks.0.0", "out.0", "out.2"))

In = Annotated[float, Param(-6, 6, per_block=False, keys=(_IN + "weight", _IN + "bias"))]
Out = Annotated[float, Param(-6, 6, per_block=False, keys=(_OUT + "weight", _OUT + "bias"))]
Out2 = Annotated[float, Param(-6, 6, per_block=False, keys=(_OUT2 + "weight",))]
Tone = Annotated[float, Param(-10, 10, per_block=False, keys=(_OUT2 + "bias",))]

_THIRD = Fraction(1, 3)
_TONES: Mapping[str, Sequence[Sequence[int | Fraction]]] = {
    "SD": ((1, 0, 0, 0), (0, -1, _THIRD, 2 * _THIRD), (0, 1, 1, 0), (0, 0, -1, -1), (0, 1, 0, 1)),
    "SDXL": ((1, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, -1, -1, 0), (0, -1, 1, 0)),
}
"""Kind of latents to what contrast, brightness and the three colours add to each channel, in fiftieths."""


@merge_method(
    title="Adjust",
    formula="A with input_blocks.0.0 * (1 - IN / 100, bias 1 + IN / 50), out.0 * (1 - OUT / 100, bias 1 + OUT / 50), "
    "out.2.weight * (1 - OUT2 / 100), out.2.bias + tones / 50",
    source="hako-mikan/sd-webui-supermerger, Adjust",
    reach=Reach.ELEMENT,
)
def adjust(
    a: Model,
    *,
    IN: In = 0.0,  # noqa: N803
    OUT: Out = 0.0,  # noqa: N803
    OUT2: Out2 = 0.0,  # noqa: N803
    contrast: Tone = 0.0,
    brightness: Tone = 0.0,
    cyan_red: Tone = 0.0,
    magenta_green: Tone = 0.0,
    yellow_blue: Tone = 0.0,
    place: Place,
) -> Any:
    """Touch up how much detail and which tones a model paints, as SuperMerger's Adjust does: in six tensors of the U-Net's ends.

    IN: below 0 flatter and smoother, above 0 more detail, then noise; the composition may change. OUT and OUT2: the same, where
    it hardly does. contrast is of contrast and brightness together. The others make brighter above 0 and darker below, red or
    cyan, green or magenta, blue or yellow: with the latents of SD's and of SDXL's VAEs, whichever the models have; those of the
    tiny family are its own, and so are its tones. Usual are 1 to 5. All other keys are A's, and fold. SD 3 and Flux.1 lack
    these keys and are refused.
    """
    layer, _, kind = place.key.rpartition(".")
    amount = {_IN: IN, _OUT: OUT, _OUT2: OUT2}.get(layer + ".", 0.0)
    if kind == "weight":
        return a * (1 - amount / 100)
    if place.key != _OUT2 + "bias":
        return a * (1 + amount / 50)
    tones = contrast, brightness, cyan_red, magenta_green, yellow_blue
    shift = a.new_zeros(a.numel())
    for element, channel in enumerate(range(place.start, min(place.start + a.numel(), 4))):
        shift[element] = float(sum(tone * row[channel] for tone, row in zip(tones, _TONES[place.latents], strict=True))) / 50
    return a + shift
