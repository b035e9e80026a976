"""What the output says of itself in the words of ModelSpec 1.0.0; no date and no hash, so that equal merges are equal files."""

from __future__ import annotations

from collections.abc import Container, Sequence

from .prediction import EPSILON, V
from .sources import Source

_KNOWN = {
    "sd1": ("stable-diffusion-v1", "512x512", "sgm"),
    "sdxl": ("stable-diffusion-xl-v1-base", "1024x1024", "sgm"),
    "sdxl-refiner": ("stable-diffusion-xl-v1-refiner", "1024x1024", "sgm"),
    "sd2": ("stable-diffusion-v2", "", "sgm"),
    "sd2 epsilon": ("stable-diffusion-v2-512", "512x512", "sgm"),
    "sd2 v": ("stable-diffusion-v2-768-v", "768x768", "sgm"),
    "sd3": ("stable-diffusion-v3-medium", "1024x1024", "sgm"),
}
"""Our name of an architecture, and what it predicts where that decides, to ModelSpec's name, the resolution that it was made for,
and the code whose key names it has."""

_INPAINTING = {"sd1": "stable-diffusion-v1-inpainting"}
_INPAINTING_CHANNELS = 9


def modelspec(title: str, sources: Sequence[Source], keys: Container[str], prediction: str | None = None) -> dict[str, str]:
    """The `modelspec.` entries of the output's metadata.

    Args:
        title: of the output.
        sources: in the order of the sum.
        keys: of the output; markers among them say how it is sampled.
        prediction: what the recipe means it to predict.
    """
    architecture = sources[0].architecture
    predicts = _prediction(sources, keys, prediction)
    unknown = _KNOWN.get(architecture.name, (architecture.name, "", "unknown"))
    name, resolution, implementation = _KNOWN.get(f"{architecture.name} {predicts}", unknown)
    if any(source.conv_in_channels() == _INPAINTING_CHANNELS for source in sources):
        name = _INPAINTING.get(architecture.name, name)
    facts = {
        "sai_model_spec": "1.0.0",
        "architecture": name,
        "implementation": implementation,
        "title": title,
        "resolution": resolution,
        "prediction_type": predicts,
        "merged_from": ", ".join(source.name for source in sources),
    }
    # Readers of metadata, the webui among them, take what starts with a brace for JSON.
    return {f"modelspec.{name}": f" {value}" if value.startswith("{") else value for name, value in facts.items() if value}


def _prediction(sources: Sequence[Source], keys: Container[str], meant: str | None) -> str:
    """What the recipe says, else a marker among the keys, else what all sources claim alike; empty where nothing is known."""
    if meant:
        return meant
    for key, said in sources[0].architecture.predictions.items():
        if key in keys:
            return said
    claimed = {source.checkpoint.metadata.get("modelspec.prediction_type") for source in sources}
    said_alike = claimed.pop() if len(claimed) == 1 else None
    return said_alike if said_alike in (EPSILON, V) else ""
