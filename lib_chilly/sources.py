"""A recipe's models as opened headers of one architecture, in the order in which they stand in the sum."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from .architecture import VAE_ALONE, Architecture, detect
from .checkpoint import Checkpoint, TensorInfo
from .errors import ArchitectureError, CheckpointError, RecipeError
from .expression import FileName, ModelRef
from .latents import latents_of
from .lora_file import LoraFile
from .models import ModelLibrary, split_title, without_suffix
from .prediction import UNKNOWN, prediction_of
from .recipe import Recipe
from .unknown_models import or_near_step, refuse_hidden_minus


@dataclass(frozen=True)
class Source:
    """One model of a recipe.

    Attributes:
        name: as first written, without its suffix; with it where another source differs in nothing else.
        tensors: canonical key to place; EMA copies are among them where the recipe keeps them.
        dropped: keys of EMA copies that the output does not have.
        respelled: how many keys have another spelling in the file.
        bare: the prefix that its keys lack in the file, where it is one component by itself without it; else "".
        prediction: what the model predicts: "epsilon", "v", "flow" or "unknown".
        lora: where it is no model but a LoRA, its file; `tensors` are what it adds then.
    """

    name: str
    checkpoint: Checkpoint
    architecture: Architecture
    tensors: Mapping[str, TensorInfo]
    dropped: tuple[str, ...]
    respelled: int = 0
    bare: str = ""
    prediction: str = UNKNOWN
    lora: LoraFile | None = None

    def conv_in_channels(self) -> int | None:
        """Input channels of the first convolution; None where it is missing or malformed."""
        info = self.tensors.get(self.architecture.conv_in.key)
        return info.shape[1] if info and len(info.shape) == 4 else None

    @functools.cached_property
    def latents(self) -> str:
        """What kind of latents its VAE makes; "" where the file does not say."""
        return latents_of(self.checkpoint)

    def main_dtype(self) -> str:
        """Our name of the dtype that most of the bytes have."""
        bytes_of: dict[str, int] = {}
        for info in (self.checkpoint if self.lora else self).tensors.values():
            bytes_of[info.dtype.name] = bytes_of.get(info.dtype.name, 0) + info.size_bytes
        return max(bytes_of, key=lambda name: bytes_of[name])


def shown_names(sources: Sequence[Source]) -> list[str]:
    """Their names, each once: a LoRA that is called as another source is written as it stands in recipes."""
    found: list[str] = []
    for source in sources:
        name = f"lora({source.name})" if source.lora and source.name in found else source.name
        found.append(name if name not in found else f"lora({source.checkpoint.path.name})")
    return found


def ema_key(key: str) -> str:
    """What training calls the EMA copy of a key: its dots are lost."""
    return "model_ema." + key.removeprefix("model.").replace(".", "")


def open_sources(recipe: Recipe, library: ModelLibrary) -> tuple[list[Source], dict[FileName, int]]:
    """Open the header of every model that the result needs.

    Returns:
        The sources in the order of the sum, and for each name as written the number of its source.

    Raises:
        RecipeError: a name fits no file or several, or a title's hash is not the file's.
        CheckpointError, ArchitectureError: a file is bad, or two architectures meet.
    """
    opened: list[tuple[str, Checkpoint]] = []
    number_of: dict[FileName, int] = {}
    by_file: dict[str, int] = {}
    for model in recipe.models():
        if model.name in number_of:
            continue
        refuse_hidden_minus(model, recipe, library)
        try:
            path = library.find(model.name)
        except RecipeError as error:
            raise or_near_step(error, model, recipe, library).at(recipe.text, model.position) from None
        real = str(path.resolve())
        if real not in by_file:
            by_file[real] = len(opened)
            opened.append((split_title(model.name)[0], library.open(path)))
        number_of[model.name] = by_file[real]
    sources = _as_sources(_named_apart(opened), recipe.option("ema") == "keep")
    _refuse_mixtures(sources)
    return sources, number_of


def source_called(name: str, sources: Sequence[Source], number_of: Mapping[FileName, int]) -> int | None:
    """Number of the source that an option names: as a name of the recipe, as the source's own, else with its file's suffix."""
    plain = split_title(name)[0]
    if name in number_of:
        return number_of[name]
    for number, source in enumerate(sources):
        if source.lora:
            continue
        suffix = "/" if source.checkpoint.parts else source.checkpoint.path.suffix
        if plain in (source.name, source.name + suffix):
            return number
    return None


def title_hashes(recipe: Recipe, number_of: Mapping[FileName, int]) -> dict[int, tuple[str, ModelRef]]:
    """Source number to (hash that a webui title in the recipe claims, where it stands).

    Raises:
        RecipeError: two titles claim different hashes for one file.
    """
    claims: dict[int, tuple[str, ModelRef]] = {}
    for model in recipe.models():
        claimed = split_title(model.name)[1]
        if not claimed:
            continue
        before, place = claims.get(number_of[model.name], (claimed, model))
        longer, shorter = sorted((before, claimed), key=len, reverse=True)
        if not longer.startswith(shorter):
            raise RecipeError(
                f"'{without_suffix(model.name)}' has two hashes in this recipe, {before} and {claimed}; one file has one.",
                recipe.text,
                model.position,
            )
        claims[number_of[model.name]] = (longer, place)
    return claims


def _named_apart(opened: list[tuple[str, Checkpoint]]) -> list[tuple[str, Checkpoint]]:
    """Names without suffixes, but of those that only their suffixes tell apart, such as `x.ckpt` and the folder `x/`."""
    count = Counter(without_suffix(name) for name, _ in opened)
    return [(without_suffix(name) if count[without_suffix(name)] == 1 else name, checkpoint) for name, checkpoint in opened]


def _as_sources(opened: list[tuple[str, Checkpoint]], keeps_ema: bool) -> list[Source]:
    """Each file under its architecture's keys; a VAE by itself has those of the models that it stands beside."""
    found = [
        detect({key: info.shape for key, info in checkpoint.tensors.items()}, checkpoint.path.name) for _, checkpoint in opened
    ]
    whole = [architecture for architecture in found if architecture.name != VAE_ALONE]
    return [
        source_of(name, checkpoint, whole[0] if whole and architecture.name == VAE_ALONE else architecture, keeps_ema)
        for (name, checkpoint), architecture in zip(opened, found, strict=True)
    ]


def source_of(name: str, checkpoint: Checkpoint, architecture: Architecture, keeps_ema: bool = False) -> Source:
    """One file under an architecture's keys; CheckpointError where it has one of them twice."""
    tensors, dropped, respelled = dict[str, TensorInfo](), list[str](), 0
    for key, info in checkpoint.tensors.items():
        canonical = architecture.canonical_key(key)
        if architecture.is_dropped(canonical) and not keeps_ema:
            dropped.append(key)
            continue
        if canonical in tensors:
            raise CheckpointError(f"'{checkpoint.path.name}' holds '{canonical}' twice, in an old and in today's spelling.")
        tensors[canonical] = info
        respelled += canonical != key
    bare = architecture.bare_prefix(checkpoint.tensors)
    prediction = prediction_of(checkpoint, architecture)
    return Source(name, checkpoint, architecture, tensors, tuple(dropped), respelled, bare, prediction)


def _refuse_mixtures(sources: list[Source]) -> None:
    if not sources:  # LoRAs alone
        return
    first = sources[0]
    for other in sources[1:]:
        if other.architecture is not first.architecture:
            raise ArchitectureError(
                f"'{first.name}' is {first.architecture.title}, '{other.name}' is {other.architecture.title}. "
                "A merge needs one architecture; choose other models."
            )
    kinds = first.architecture.conv_in.extended
    extended = {count: source.name for source in sources if (count := source.conv_in_channels() or 0) in kinds}
    if len(extended) > 1:
        said = " and ".join(f"'{name}' is {kinds[count]} ({count} input channels)" for count, name in sorted(extended.items()))
        raise ArchitectureError(f"{said}: their extra channels mean different things. Use models of one kind.")


def check_predictions(
    sources: Sequence[Source], architecture: Architecture, keys: Container[str], meant: str | None
) -> list[str]:
    """Weights that were trained to predict different things do not add up, unless the user says what comes of it.

    Args:
        sources: that the U-Net of the output is made of.
        keys: of the output; markers among them say what it predicts.
        meant: what the user says that the output predicts.

    Returns:
        Sentences on what contradicts the user.

    Raises:
        ArchitectureError: they are known to predict different things, and nothing is said.
        RecipeError: the user says what models of this architecture never predict.
    """
    if meant and architecture.prediction not in (None, meant):
        raise RecipeError(f"{architecture.title} predicts {architecture.prediction}; leave prediction out.")
    known: dict[str, str] = {}
    for source in sources:
        if source.prediction != UNKNOWN:
            known.setdefault(source.prediction, source.name)
    if meant is None and len(known) > 1:
        said = ", ".join(f"'{name}' predicts {prediction}" for prediction, name in known.items())
        raise ArchitectureError(
            f"{said}: a mix of both seldom works. Use models of one kind, or name the kind that the result is meant to have, "
            f"such as save(prediction={next(iter(known))})."
        )
    if meant is None:
        return []
    found = [
        f"'{name}' predicts {said} and no source is known to predict {meant}: prediction={meant} is written all the same, and "
        "changes no number."
        for said, name in known.items()
        if meant not in known
    ]
    return found + [
        f"the result keeps '{key}', by which programs take it to predict {said}, not {meant}; discard={key} takes it out."
        for key, said in architecture.predictions.items()
        if key in keys and said != meant
    ]
