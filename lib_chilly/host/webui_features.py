"""What this webui can do, told by looking at what it has: there are several that call themselves alike."""

from __future__ import annotations

from importlib.util import find_spec

from modules import sd_hijack, sd_models

_NEEDED = ("get_checkpoint_state_dict", "list_models", "reload_model_weights", "load_model_weights", "checkpoint_aliases")


def why_no_pictures() -> str:
    """Why no pictures of merges can be made here, in a sentence; empty where they can."""
    if find_spec("modules_forge") is not None:
        return (
            "this webui loads models in a way of its own, into which ChillyMerge cannot put a merge yet: no pictures here, no "
            "axes in its X/Y/Z plot, no use without saving. Saving and the history work."
        )
    lacking = [name for name in _NEEDED if not hasattr(sd_models, name)]
    if lacking or not hasattr(sd_hijack, "model_hijack") or not hasattr(sd_models.model_data, "loaded_sd_models"):
        lacked = lacking[0] if lacking else "list of loaded models"
        return f"this webui has no {lacked}, so there are no pictures here. Saving works."
    return ""
