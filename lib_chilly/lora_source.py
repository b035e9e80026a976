"""A LoRA as a source of a recipe: for each weight that it changes, what it adds, in the weight's shape. Headers only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .architecture import Architecture, known_keys
from .dtypes import BY_NAME
from .errors import CheckpointError, RecipeError
from .expression import FileName
from .header import TensorInfo, quoted
from .lora_file import open_lora
from .lora_module import Module
from .models import ModelLibrary, without_suffix
from .recipe import Recipe
from .sources import Source, open_sources

_EXACT = BY_NAME["fp64"]
"""What is added is computed in float64, and rounded once when it becomes a term of a sum."""


@dataclass(frozen=True)
class LoraTensor(TensorInfo):
    """What a LoRA adds to one weight; there is no run of bytes that holds it.

    Attributes:
        modules: what makes it.
    """

    modules: tuple[Module, ...] = ()

    @property
    def read_bytes(self) -> int:
        """Bytes of the modules' tensors."""
        return sum(info.size_bytes for module in self.modules for info in module.tensors.values())


def open_files(recipe: Recipe, library: ModelLibrary) -> tuple[list[Source], dict[FileName, int]]:
    """The sources of a recipe's models, and behind them those of its LoRAs; with the numbers of both.

    Raises:
        RecipeError: a name fits no file or several, or what `lora_source` refuses, at its place.
        CheckpointError, ArchitectureError: as of `open_sources` and `lora_source`.
    """
    found, numbers = open_sources(recipe, library)
    models = tuple(found)
    by_themselves = {call.operands[0] for call in recipe.calls() if call.method == "lora"}
    by_file: dict[Path, int] = {}
    for lora in recipe.loras():
        if lora in numbers:
            continue
        try:
            path = library.find_lora(lora.name)
            real = path.resolve()
            if real not in by_file:
                by_file[real] = len(found)
                found.append(lora_source(without_suffix(lora.name), path, models, found[0].architecture if found else None))
            if lora in by_themselves:
                _refuse_bases(found[by_file[real]])
        except RecipeError as error:
            raise error.at(recipe.text, lora.position) from None
        numbers[lora] = by_file[real]
    return found, numbers


def lora_source(name: str, path: Path, models: Sequence[Source], like: Architecture | None = None) -> Source:
    """A LoRA file beside the models of a recipe.

    Args:
        name: as written.
        models: the recipe's, all of one architecture; without any every weight of the LoRA counts.
        like: the architecture that it must be for; without it, its own.

    Raises:
        CheckpointError, ArchitectureError: the file is bad, no LoRA, or for another architecture or other sizes.
        RecipeError: none of the models has a weight that it changes.
    """
    file = open_lora(path, like.name if like else None)
    tensors = {
        key: found
        for key, modules in file.modules.items()
        if (found := _tensor(key, modules, _shapes(key, modules, models, file.architecture))) is not None
    }
    if not tensors:
        raise RecipeError(
            f"{quoted(path.name)} changes nothing here: none of the recipe's models has a weight that it is for, such as "
            f"'{next(iter(file.modules))}'."
        )
    return Source(name, file.checkpoint, file.architecture, tensors, (), lora=file)


def _shapes(key: str, modules: tuple[Module, ...], models: Sequence[Source], own: Architecture) -> list[tuple[int, ...]]:
    """The shapes that models have a weight in; where there are no models, that which the first module of it is made for."""
    if models:
        found = dict.fromkeys(source.tensors[key].shape for source in models if key in source.tensors)
        plain = own.conv_in.channels if key == own.conv_in.key else 0
        # What is made for ordinary models goes into the channels that inpainting models have in common with them.
        short = [
            (shape[0], plain, *shape[2:]) for shape in found if len(shape) == 4 and plain and shape[1] in own.conv_in.extended
        ]
        return list(dict.fromkeys([*found, *short]))
    known = known_keys(own.name)[key][1]
    size, place = modules[0].size, modules[0].place
    if size is None or place.size_in(known) == size[:2]:
        return [known]
    first, end, of = place.share
    window = known[2:]
    shape = (size.rows * of // (end - first), size.columns // math.prod(window), *window)[: len(known)]
    return [shape[::-1] if place.is_turned else shape]


def _tensor(key: str, modules: tuple[Module, ...], shapes: Sequence[tuple[int, ...]]) -> LoraTensor | None:
    """What is added to a key; None where no model has it. Models whose first convolutions differ share some channels of it."""
    refusals = []
    for shape in shapes:
        try:
            for module in modules:
                module.check(shape)
        except CheckpointError as error:
            refusals.append(error)
            continue
        return LoraTensor(_EXACT, shape, 0, math.prod(shape) * _EXACT.size_bytes, modules=modules)
    if refusals:
        raise refusals[0]
    return None


def _refuse_bases(source: Source) -> None:
    assert source.lora is not None
    for key in source.tensors:
        if any(module.needs_base for module in source.lora.modules[key]):
            raise RecipeError(
                f"{quoted(source.checkpoint.path.name)} is no plain LoRA: what it adds to '{key}' depends on the model it is "
                "put on. Name that model: lora_on(NAME, MODEL)."
            )
