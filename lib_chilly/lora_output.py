"""A plan carried out into a LoRA file: each weight of the delta is gathered from the pass, decomposed, and its factors kept."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .diffusers_output import Run
from .dtypes import torch_dtype
from .errors import MergeError, RecipeError
from .fileio import SourceFile
from .header import TensorInfo, counted, quoted
from .key_job import KeyJob
from .lora_join import joined
from .lora_keys import Place
from .lora_plan import LoraPlan, module_shapes
from .lora_reading import plain_tensor
from .low_rank import factors
from .plan import Plan
from .stream import StreamResult, Target
from .tally import RESULT
from .writer import CheckpointWriter


@dataclass
class Factors:
    """Layers' factors in the output's dtype, and what they do not hold.

    Attributes:
        pairs: layer to (down, up).
        squares: layer to the sums of squares that are kept, and that were there.
        lost: keys without modules that change.
    """

    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    squares: dict[str, tuple[float, float]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)


def write_lora(
    plan: Plan, hashes: Mapping[int, str], target: Path, overwrite: bool, run: Run
) -> tuple[StreamResult, int, list[str]]:
    """Carry out `plan` into the file `target`; all else as of `write_folder`."""
    assert isinstance(plan, LoraPlan)
    found, result = make_factors(plan, run)
    header = plan.header_of({name: len(down) for name, (down, _) in found.pairs.items()}, hashes)
    width = plan.dtype.size_bytes
    size = len(header) + sum(width * (1 + down.numel() + up.numel()) for down, up in found.pairs.values())
    with CheckpointWriter(target, size, overwrite) as writer:
        put_factors(plan, found, header, writer, result)
        writer.commit()
    return result, size, _notes(plan, found)


def make_factors(plan: LoraPlan, run: Run) -> tuple[Factors, StreamResult]:
    """The layers' factors, and what the pass saw.

    Raises:
        RecipeError: no layer changes.
        MergeError: a source cannot be read, or a factor is too large for the output's dtype.
    """
    found = Factors()
    if plan.ranks.is_exact:
        result = StreamResult()
        for name, down, up, read in joined(plan):
            found.pairs[name] = _narrowed(plan, name, down), _narrowed(plan, name, up)
            result.read_bytes += read
    else:
        result = run(plan, b"", _Gathering(plan, found))
        result.tally.change.clear()  # a delta is no changed model, and no sick one
        result.tally.weighed.pop(RESULT, None)
    if not found.pairs:
        raise RecipeError("no layer changes: a LoRA would be empty. Extract from models that differ.")
    return found, result


def put_factors(plan: LoraPlan, found: Factors, header: bytes, target: Target, result: StreamResult) -> None:
    """The file's bytes, in the order of its header; what they hash to goes into `result`."""
    file_hash, data_hash, place = hashlib.sha256(header), hashlib.sha256(), len(header)
    target.write_at(header, 0)
    for _, name, _ in plan.modules():
        if name not in found.pairs:
            continue
        down, up = found.pairs[name]
        alpha = torch.tensor(float(len(down)), dtype=down.dtype)
        for part in (alpha, down, up):
            data = part.reshape(-1).view(torch.uint8).numpy().data
            file_hash.update(data)
            data_hash.update(data)
            target.write_at(data, place)
            place += len(data)
    result.sha256, result.data_sha256 = file_hash.hexdigest(), data_hash.hexdigest()


def _notes(plan: LoraPlan, found: Factors) -> list[str]:
    """Which layers have modules, what these hold of the change, and what changes beside them."""
    sizes = [len(down) for down, _ in found.pairs.values()]
    ranks = f"rank {min(sizes)}" if min(sizes) == max(sizes) else f"ranks from {min(sizes)} to {max(sizes)}"
    notes = [f"{counted(len(sizes), 'layer')} {'has' if len(sizes) == 1 else 'have'} modules, of {ranks}."]
    if unchanged := sum(1 for _ in plan.modules()) - len(sizes):
        notes.append(
            f"{counted(unchanged, 'layer')} {'does' if unchanged == 1 else 'do'} not change: no modules are written for them."
        )
    if found.squares:
        kept, whole = (math.fsum(sums) for sums in zip(*found.squares.values(), strict=True))
        notes.append(f"they hold {kept / whole:.2%} of the squared size of what changes in these layers.")
    if found.lost:
        one = len(found.lost) == 1
        notes.append(
            f"{counted(len(found.lost), 'tensor')} that no LoRA has modules for {'changes' if one else 'change'} too, and "
            f"{'is' if one else 'are'} not in it: {quoted(min(found.lost))}{'' if one else ', ...'}."
        )
    return notes


def _narrowed(plan: LoraPlan, name: str, values: torch.Tensor) -> torch.Tensor:
    found = values.to(torch_dtype(plan.dtype))
    if not bool(torch.isfinite(found).all()):
        raise MergeError(
            f"the layer '{name}' changes by more than {plan.dtype.name} holds. Write it with dtype=bf16 or dtype=fp32."
        )
    return found.contiguous()


class _Gathering:
    """Takes the bytes of the delta, a block at a time from any thread; whoever brings a weight's last byte decomposes it."""

    def __init__(self, plan: LoraPlan, found: Factors):
        self.plan, self.found = plan, found
        self._starts = list(itertools.accumulate((job.size_bytes for job in plan.jobs), initial=0))
        self._open: dict[int, tuple[bytearray, list[int]]] = {}
        self._lock = threading.Lock()

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        """Take some bytes."""
        end = offset + len(data)
        number = bisect.bisect_right(self._starts, offset) - 1
        while offset < end:
            stop = min(end, self._starts[number + 1])
            part = data[len(data) - (end - offset) : len(data) - (end - stop)]
            if offset < stop and self._put(number, part, offset - self._starts[number]):
                self._decompose(self.plan.jobs[number], self._open.pop(number)[0])
            offset, number = stop, number + 1

    def _put(self, number: int, part: memoryview | bytes, place: int) -> bool:
        """Put bytes to their weight; whether it is whole now. Of what has no modules it is only noted that it changes."""
        job = self.plan.jobs[number]
        changes = job.key not in self.plan.layers and bool(np.frombuffer(part, np.float32).any())
        with self._lock:
            if job.key not in self.plan.layers:
                self.found.lost |= {job.key} if changes else set()
                return False
            values, missing = self._open.setdefault(number, (bytearray(job.size_bytes), [job.size_bytes]))
            values[place : place + len(part)] = part
            missing[0] -= len(part)
            return missing[0] == 0

    def _decompose(self, job: KeyJob, data: bytearray) -> None:
        values = torch.frombuffer(data, dtype=torch_dtype(job.dtype)).view(job.shape)
        for name, place in self.plan.layers[job.key]:
            matrix = _matrix(values, place)
            if bool(matrix.any()):
                self._keep(job, name, place, matrix.double())

    def _keep(self, job: KeyJob, name: str, place: Place, matrix: torch.Tensor) -> None:
        made = factors(matrix, self.plan.ranks, name)
        down, up = module_shapes(job.shape, place, made.up.shape[1])
        pair = _narrowed(self.plan, name, made.down.reshape(down)), _narrowed(self.plan, name, made.up.reshape(up))
        with self._lock:
            self.found.pairs[name] = pair
            self.found.squares[name] = made.kept, made.whole


def _matrix(values: torch.Tensor, place: Place) -> torch.Tensor:
    """A layer's own rows of a weight, a kernel's window among the columns."""
    layer = values.T if place.is_turned else values
    first, end, of = place.share
    return layer[len(layer) * first // of : len(layer) * end // of].flatten(1)


def is_as_good(file: SourceFile, stored: Mapping[str, TensorInfo], layer: str, made: Factors) -> bool:
    """Whether a layer's factors in a file add what those that were made add, but for the last digits."""
    down, up = made.pairs[layer]
    infos = [stored.get(f"{layer}.{part}") for part in ("alpha", "lora_down.weight", "lora_up.weight")]
    there = [plain_tensor(file, info).double() for info in infos if info]
    if [each.shape for each in there] != [torch.Size(()), down.shape, up.shape]:
        return False
    found = there[2].flatten(1) @ there[1].flatten(1) * (float(there[0]) / len(down))
    wanted = up.double().flatten(1) @ down.double().flatten(1)
    return bool((found - wanted).norm() <= 2 * torch.finfo(down.dtype).eps * wanted.norm())
