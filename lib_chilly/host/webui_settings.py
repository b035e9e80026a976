"""The webui's settings: ours among them, and what of all says how a picture looks. Imported when the webui starts."""

from __future__ import annotations

import hashlib

from modules import shared

from .webui_features import why_no_pictures

SECTION = ("chillymerge", "ChillyMerge")
SAVES_PICTURES = "chillymerge_save_pictures"
_WHOSE_MODEL = ("sd_model_checkpoint", "sd_checkpoint_hash")


def add_settings() -> None:
    """Our section on the webui's page of settings; there is none where no pictures are made."""
    if why_no_pictures():
        return
    label = "Save the pictures of merges where txt2img saves its own"
    shared.opts.add_option(SAVES_PICTURES, shared.OptionInfo(False, label, section=SECTION))


def picture_state() -> str:
    """The same while the webui makes the same picture of the same model and parameters: all its settings but which model is
    chosen, and the texts of its styles."""
    settings = {name: value for name, value in list(shared.opts.data.items()) if name not in _WHOSE_MODEL}
    styles = getattr(shared.prompt_styles, "styles", {})
    return hashlib.sha256(repr((settings, styles)).encode(errors="replace")).hexdigest()
