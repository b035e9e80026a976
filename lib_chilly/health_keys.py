"""What a header says of a model's health: keys and lanes that are missing, a text encoder that is not this model's kind."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence

from .architecture import known_keys, load
from .header import counted, quoted
from .sources import Source
from .verdicts import BROKEN, SUSPECT, Said

_OPTIONAL = re.compile(
    r".*(?:logit_scale|text_projection|text_projection\.weight|position_ids)"
    r"|model\.diffusion_model\.guidance_in\..*"
    r"|cond_stage_model\.model\.transformer\.resblocks\.23\..*"
)
"""What no picture needs, or what relatives lack: programs leave it out of text encoders, Flux.1 schnell takes no guidance, and
diffusers' SD 2.x stops before the text encoder's last layer, whose output is not used."""
_LAYER = re.compile(r".*\.(?:layers|resblocks|block)\.\d+\..*")
_OF_PICTURES = re.compile(r".*\.(?:vision_model|visual)\..*")
"""The other half of CLIP, which some files have and nobody reads."""
_FEWEST_FOREIGN = 4


def missing_keys(source: Source) -> Iterator[Said]:
    """Lanes some or all of whose keys are missing; a component that is missing altogether is no fault."""
    architecture = source.architecture
    present = {architecture.component_of(key) for key in source.tensors}
    for lane, keys in _expected(architecture.name).items():
        missing = [key for key in keys if key not in source.tensors]
        if missing and architecture.component_of(missing[0]) in present:
            are = "is" if len(missing) == 1 else "are"
            some = "all" if len(missing) == len(keys) else str(len(missing))
            words = f"{some} of its {counted(len(keys), 'key')} {are} missing, such as {quoted(missing[0])}"
            is_gone = len(missing) == len(keys) and not any(architecture.lane_of(key) == lane for key in source.tensors)
            yield lane, BROKEN if is_gone else SUSPECT, words


def header_faults(source: Source) -> list[Said]:
    """What is said of text encoders that cannot be this model's."""
    return [("", BROKEN, words) for words in (*_other_width(source), *_foreign_layers(source))]


@functools.cache
def _expected(name: str) -> Mapping[str, Sequence[str]]:
    """Lane of an architecture to the keys that a whole model has."""
    architecture = load(name)
    found: dict[str, list[str]] = {}
    for key in known_keys(name):
        lane = architecture.lane_of(key)
        if lane is not None and not architecture.is_copied(key) and not _OPTIONAL.fullmatch(key):
            found.setdefault(lane, []).append(key)
    return found


@functools.cache
def _embeddings(name: str) -> Sequence[str]:
    """What the text encoders of an architecture look tokens up in."""
    return [key for key in known_keys(name) if key.endswith("token_embedding.weight")]


def _other_width(source: Source) -> list[str]:
    """The U-Net takes as many numbers for a token as the text encoders, side by side, give."""
    embeddings = _embeddings(source.architecture.name)
    given = [source.tensors[key].shape[-1] for key in embeddings if key in source.tensors and source.tensors[key].shape]
    taken = {info.shape[-1] for key, info in source.tensors.items() if key.endswith("attn2.to_k.weight") and info.shape}
    if not embeddings or len(given) < len(embeddings) or len(taken) != 1 or sum(given) in taken:
        return []
    return [f"the text encoder gives {sum(given)} numbers for a token, the U-Net takes {taken.pop()}: it is another model's"]


def _foreign_layers(source: Source) -> list[str]:
    known = known_keys(source.architecture.name)
    prefixes = tuple(p for name, each in source.architecture.components.items() if name.startswith("text") for p in each)
    foreign = [key for key in source.tensors if prefixes and key not in known and key.startswith(prefixes)]
    foreign = [key for key in foreign if _LAYER.fullmatch(key) and not _OF_PICTURES.fullmatch(key)]
    if len(foreign) < _FEWEST_FOREIGN:
        return []
    return [f"the text encoder has {len(foreign)} keys that this model's has not, such as {quoted(foreign[0])}"]
