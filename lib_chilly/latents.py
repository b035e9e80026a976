"""Which kind of latents a file's VAE makes: shapes do not tell, the rest of a whole checkpoint does."""

from __future__ import annotations

from .architecture import detect
from .checkpoint import Checkpoint
from .errors import ArchitectureError


def latents_of(checkpoint: Checkpoint) -> str:
    """What kind of latents a file's VAE makes; "" where it does not say."""
    try:
        return detect({key: info.shape for key, info in checkpoint.tensors.items()}, checkpoint.path.name).latents
    except ArchitectureError:
        return ""
