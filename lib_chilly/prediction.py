"""What a model was trained to predict, as far as anything says so: its marker keys, its metadata, the config beside it."""

from __future__ import annotations

from pathlib import Path

from .architecture import Architecture
from .checkpoint import Checkpoint
from .diffusers_folder import SCHEDULER, read_json
from .errors import CheckpointError
from .own_files import config_beside

EPSILON, V, UNKNOWN = "epsilon", "v", "unknown"
_METADATA = ("modelspec.prediction_type", "modelspec.predict_key")
_SPELLINGS = {"epsilon": EPSILON, "eps": EPSILON, "v": V, "v_prediction": V}
_TARGET, _PARAMETERIZATION = ("model", "target"), ("model", "params", "parameterization")


def prediction_of(checkpoint: Checkpoint, architecture: Architecture) -> str:
    """ "epsilon", "v", the one answer of architectures that have one, or "unknown".

    Marker keys go before metadata, and metadata before the config: the nearer to the weights, the less likely left behind.
    """
    if architecture.prediction:
        return architecture.prediction
    for key, said in architecture.predictions.items():
        if key in checkpoint.tensors:
            return said
    for name in _METADATA:
        if said := _SPELLINGS.get(checkpoint.metadata.get(name, "").strip().lower(), ""):
            return said
    if checkpoint.parts:
        return _scheduled(checkpoint.path)
    found = config_beside(checkpoint.path)
    return predicted_by(found.content) if found else UNKNOWN


def predicted_by(config: bytes) -> str:
    """What `model.params.parameterization` of a .yaml is; its default where a model of latent diffusion does not say it."""
    values = _read_config(config.decode())
    said = values.get(_PARAMETERIZATION)
    if said is None and values.get(_TARGET, "").startswith("ldm.models.diffusion."):
        return EPSILON
    return _SPELLINGS.get(said or "", UNKNOWN)


def _scheduled(folder: Path) -> str:
    """What the scheduler of a diffusers folder says; where it says nothing, diffusers takes epsilon."""
    try:
        said = read_json(folder / SCHEDULER).get("prediction_type", EPSILON)
    except CheckpointError:  # the weights can be merged all the same
        return UNKNOWN
    return _SPELLINGS.get(said, UNKNOWN) if isinstance(said, str) else UNKNOWN


def _read_config(text: str) -> dict[tuple[str, ...], str]:
    """Those plain `name: value` pairs of a config in block style that are looked at. All else in it is passed over."""
    values: dict[tuple[str, ...], str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        name, colon, rest = line.partition("#")[0].partition(":")
        if colon and name.strip().isidentifier():
            indent, value = len(name) - len(name.lstrip()), rest.strip().strip("'\"")
            above = [*(pair for pair in above if pair[0] < indent), (indent, name.strip())]
            path = tuple(part for _, part in above)
            if value and path in (_PARAMETERIZATION, _TARGET):
                values.setdefault(path, value)
    return values
