"""How much a model's matrices amplify, lane by lane, and what that says of its health without another model to compare with.

What is known of every network: torch begins each linear layer and each convolution with a gain of 1/sqrt(3), whatever its width
(`reset_parameters` of torch.nn.Linear and torch.nn.Conv2d: uniform within 1/sqrt(fan_in)), OpenAI's CLIP its own between 0.2 and
1 (`initialize_parameters` of clip/model.py), and training moves a median by far less than a factor of ten.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .verdicts import BROKEN, SUSPECT

FEWEST_MATRICES = 3
"""Of which a lane's usual gain can be told."""
OTHERS_TOO_FAR = 6.0
"""Factor between a U-Net block's median gain and that of all blocks from which on it is broken."""
LOWEST_GAIN, HIGHEST_GAIN = 1e-3, 50.0
"""Of a lane's median matrix, in any model."""
_INITIAL_GAIN, _INITIAL_FAR = 1 / math.sqrt(3), 10.0
"""Of a layer as torch begins it, and the factor from which on the median of a U-Net's or a VAE's lane is suspect."""
_MOST_TIMES = 1_000_000
"""What is more is not told apart."""
_FEWEST_BLOCKS = 5
"""Of which the usual gain can be told."""


@dataclass(frozen=True)
class Gain:
    """How much a lane amplifies.

    Attributes:
        component: that it belongs to, such as "unet".
        matrices: how many of them are not all zero.
        usual: their median gain; 0 where there is none.
        zero: how many are.
    """

    component: str | None
    matrices: int
    usual: float
    zero: int = 0


def gain_of(component: str | None, gains: Iterable[float]) -> Gain:
    """What the gains of a lane's matrices come to; zero matrices say nothing of the others."""
    found = list(gains)
    live = [gain for gain in found if gain > 0]
    return Gain(component, len(live), statistics.median(live) if live else 0.0, len(found) - len(live))


def judge_gains(lanes: Mapping[str, Gain]) -> Iterator[tuple[str, str, str]]:
    """(lane, verdict, words) of each lane that amplifies as no healthy one does."""
    blocks = [each.usual for each in lanes.values() if each.component == "unet" and each.matrices >= FEWEST_MATRICES]
    usual = statistics.median(blocks) if len(blocks) >= _FEWEST_BLOCKS else 0.0
    for lane, found in lanes.items():
        gain = found.usual
        if not gain:
            continue
        if not LOWEST_GAIN <= gain <= HIGHEST_GAIN:
            how = "exploded" if gain > 1 else "collapsed"
            yield lane, BROKEN, f"its norms have {how}: its matrices amplify {gain:.3g} times"
        elif found.matrices < FEWEST_MATRICES:
            continue
        elif found.component == "unet" and usual and factor(gain / usual) >= OTHERS_TOO_FAR:
            yield lane, BROKEN, f"norms {times(gain / usual)} those of the other blocks"
        elif found.component in ("unet", "vae") and factor(gain / _INITIAL_GAIN) >= _INITIAL_FAR:
            yield lane, SUSPECT, f"norms {times(gain / _INITIAL_GAIN)} those of a network that is not trained yet"


def factor(ratio: float) -> float:
    """How far a ratio is from 1, either way."""
    return max(ratio, 1 / ratio) if ratio > 0 else math.inf


def times(ratio: float) -> str:
    """A ratio in words."""
    if not ratio <= _MOST_TIMES:
        return f"more than {_MOST_TIMES:,}x"
    return f"{ratio:.2g}x" if ratio < 10 else f"{ratio:,.0f}x"
