"""One job for each key of the output: what the planner says of a tensor, and the executors carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .architecture import NO_LANE, Architecture
from .dtypes import BY_NAME, DType
from .errors import ArchitectureError, RecipeError
from .header import quoted
from .rounding import to_float32, to_float64

Terms = tuple[tuple[int, float], ...]
"""(number of a source, its coefficient rounded once to the compute type), in the order of the sum; no zeros."""


@dataclass(frozen=True)
class Row:
    """The weighted sum that keys of one kind share.

    Attributes:
        label: LANE, LANE/RULE, or either with |-NAME,... of the sources that lack these keys.
        lane: of its keys.
        exact: number of a source to its coefficient.
        pick: the source that copied keys come from.
    """

    label: str
    lane: str
    exact: Mapping[int, Fraction]
    pick: int
    _rounded: dict[str, Terms] = field(default_factory=dict, init=False, repr=False, compare=False)

    def terms(self, compute: str) -> Terms:
        """The sum with coefficients rounded to "float32" or "float64"; one tuple for all keys of the row."""
        if compute not in self._rounded:
            rounded = to_float32 if compute == "float32" else to_float64
            try:
                self._rounded[compute] = tuple((source, rounded(self.exact[source])) for source in sorted(self.exact))
            except OverflowError:
                raise RecipeError(f"a coefficient in {self.label} is too large for {compute}: use smaller numbers.") from None
        return self._rounded[compute]


@dataclass(frozen=True)
class ExtraChannels:
    """The input channels that only inpainting or pix2pix models have, in a first convolution merged with ordinary ones.

    Attributes:
        shared: channels that every model has; they come first.
        holders: numbers of the sources that have the extra ones.
        terms: the weighted sum in the extra ones.
    """

    shared: int
    holders: frozenset[int]
    terms: Terms


@dataclass(frozen=True, slots=True)
class KeyJob:
    """One tensor of the output.

    Attributes:
        dtype, shape: of the output.
        lane: the key's lane, or NO_LANE.
        terms: the weighted sum; without any the result is 0.
        compute: "float32" or "float64", the type in which the sum is taken.
        source: of a copied key; None where nothing is read: rebuilt position_ids, scales, markers (all 0).
        extra: what is done in input channels that not every source has; None where all have the same.
        row: label of its row; None for keys that are copied.
        is_scaled: whether it is written divided by its own scale, which is measured before.
        scale_of: the scaled key whose scale this tensor is.
    """

    key: str
    dtype: DType
    shape: tuple[int, ...]
    lane: str
    terms: Terms = ()
    compute: str = "float32"
    source: int | None = None
    extra: ExtraChannels | None = None
    row: str | None = None
    is_scaled: bool = False
    scale_of: str | None = None

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.size_bytes

    @property
    def is_copied(self) -> bool:
        return self.row is None

    @property
    def is_position_ids(self) -> bool:
        return self.key.endswith("position_ids")

    @property
    def passes(self) -> int:
        """How often its sources are read: a scale is known only when the whole tensor was summed once."""
        return 2 if self.is_scaled else 1

    @property
    def is_companion(self) -> bool:
        """Whether it is a scale or a marker: no source has it."""
        return self.is_copied and self.source is None and not self.is_position_ids

    def reads(self) -> set[int]:
        """Numbers of the sources that are read for this key."""
        terms = self.terms + (self.extra.terms if self.extra else ())
        return {source for source, _ in terms} | ({self.source} if self.source is not None else set())


def scale_jobs(jobs: Sequence[KeyJob], architecture: Architecture) -> list[KeyJob]:
    """What stands beside scaled fp8 weights: a scale for each, and the marker by which readers know to look for them.

    Raises:
        ArchitectureError: a source has another tensor under such a key.
    """
    weights = [job for job in jobs if job.is_scaled]
    if not weights:
        return []
    found = [
        KeyJob(job.key.removesuffix("weight") + "scale_weight", BY_NAME["fp32"], (), job.lane, scale_of=job.key)
        for job in weights
    ]
    # Of two elements: layers are computed in 16 bits, with their weights alone in fp8.
    found.append(KeyJob(architecture.components["unet"][0] + "scaled_fp8", BY_NAME["fp8_e4m3fn"], (2,), NO_LANE))
    for key in {job.key for job in jobs} & {job.key for job in found}:
        raise ArchitectureError(f"{quoted(key)} of a source stands where a scale is to be written. Use a whole release of it.")
    return found
