"""What a header says of a model's health: keys that are missing, a text encoder that is not this model's kind."""

from __future__ import annotations

import re

from .architecture import known_keys
from .header import counted, quoted
from .sources import Source

_OPTIONAL = ("logit_scale", "text_projection", "text_projection.weight", "position_ids")
"""What programs leave out of text encoders, as no picture needs it or it can be made up."""
_LAYER = re.compile(r".*\.(?:layers|resblocks|block)\.\d+\..*")
_FEWEST_FOREIGN = 4


def missing_keys(source: Source) -> dict[str, str]:
    """Lane to what is said of it where some of its keys are missing, but not all."""
    architecture = source.architecture
    known: dict[str, list[str]] = {}
    for key in known_keys(architecture.name):
        lane = architecture.lane_of(key)
        if lane is not None and not architecture.is_copied(key) and not key.endswith(_OPTIONAL):
            known.setdefault(lane, []).append(key)
    found = {}
    for lane, keys in known.items():
        missing = [key for key in keys if key not in source.tensors]
        if 0 < len(missing) < len(keys):
            are = "is" if len(missing) == 1 else "are"
            found[lane] = f"{len(missing)} of its {counted(len(keys), 'key')} {are} missing, such as {quoted(missing[0])}"
    return found


def header_faults(source: Source) -> list[str]:
    """What is said of text encoders that cannot be this model's."""
    return [*_other_width(source), *_foreign_layers(source)]


def _other_width(source: Source) -> list[str]:
    """The U-Net takes as many numbers for a token as the text encoders, side by side, give."""
    embeddings = [key for key in known_keys(source.architecture.name) if key.endswith("token_embedding.weight")]
    given = [source.tensors[key].shape[-1] for key in embeddings if key in source.tensors and source.tensors[key].shape]
    taken = {info.shape[-1] for key, info in source.tensors.items() if key.endswith("attn2.to_k.weight") and info.shape}
    if not embeddings or len(given) < len(embeddings) or len(taken) != 1 or sum(given) in taken:
        return []
    return [f"the text encoder gives {sum(given)} numbers for a token, the U-Net takes {taken.pop()}: it is another model's"]


def _foreign_layers(source: Source) -> list[str]:
    known = known_keys(source.architecture.name)
    prefixes = tuple(p for name, each in source.architecture.components.items() if name.startswith("text") for p in each)
    foreign = [key for key in source.tensors if prefixes and key.startswith(prefixes) and _LAYER.fullmatch(key)]
    foreign = [key for key in foreign if key not in known]
    if len(foreign) < _FEWEST_FOREIGN:
        return []
    return [f"the text encoder has {len(foreign)} keys that this model's has not, such as {quoted(foreign[0])}"]
