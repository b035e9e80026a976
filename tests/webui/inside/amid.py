"""What happens amid a picture, or right before the webui begins with it."""

from __future__ import annotations

import contextlib
import time
import types

from modules import (
    patches,
    processing,
    script_callbacks,
    sd_models,
    sd_unet,
    shared,
)

from inside.state import title_of

_OTHER_UNET = types.SimpleNamespace(option=types.SimpleNamespace(label="fast"), forward=lambda x, *more, **given: x * 0.5)


def refresh_by(how):
    """What happens between the merge and the webui's work."""
    own = patches.original("chillymerge", sd_models, "list_models")
    {None: lambda: None, "refresh": sd_models.list_models, "refresh by the webui's own function": own}[how]()


def amid_named(name, progress):
    """What happens amid a picture."""
    return {
        None: lambda: None,
        "refresh": lambda: sd_models.list_models(),
        "choose B": lambda: shared.opts.data.update(sd_model_checkpoint=title_of("B")),
        "save settings": lambda: shared.opts.save(shared.config_filename),
        "interrupt": lambda: shared.state.interrupt(),
        "skip": lambda: shared.state.skip(),
        "cancel": lambda: setattr(progress, "cancelled", True),
        "out of memory": lambda: None,
        "another U-Net": lambda: setattr(sd_unet, "current_unet", _OTHER_UNET),
    }[name]


@contextlib.contextmanager
def full_memory(is_full):
    """The card has no room for the sampling."""

    def sample(*args, **given):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    kind = processing.StableDiffusionProcessingTxt2Img
    before = kind.sample
    kind.sample = sample if is_full else before
    try:
        yield
    finally:
        kind.sample = before


def slow(is_so):
    """Whether each step of a picture takes its time."""
    script_callbacks.remove_callbacks_for_function(_sleep)
    if is_so:
        script_callbacks.on_cfg_denoiser(_sleep)


def _sleep(params):
    time.sleep(0.1)
