"""Webuis that load the chosen model only when a picture needs it, as Forge does; their dropdown is no setting of the webui's."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from modules import sd_models, shared

from .webui_merged import CHOSEN
from .webui_pictures import heal
from .webui_queue import wait_for_first_model


def load_chosen() -> None:
    """Load the chosen model now. The caller is in the queue."""
    if find_spec("modules_forge") is None:
        wait_for_first_model()
        sd_models.reload_model_weights()
        return
    from modules_forge import main_thread  # where one thread loads all models

    load = sd_models.reload_model_weights
    if _is_lazy():
        from modules_forge import main_entry

        main_entry.refresh_model_loading_parameters()
        load = sd_models.forge_model_reload
    main_thread.run_and_wait_result(load)


def choose_again(name: str | None) -> None:
    """Choose what was chosen before a load that failed; the next picture loads it. The caller is in the queue."""
    shared.opts.data[CHOSEN] = name
    if not _is_lazy():
        heal()
        return
    from modules_forge import main_entry

    sd_models.model_data.forge_hash = ""  # of what was loaded, and is no longer
    main_entry.refresh_model_loading_parameters()


def listed_name(info: Any) -> str:
    """What a model is called in the dropdown: with its hash or without, as the webui and its settings have it."""
    listed = zip(sd_models.checkpoints_list.values(), _names(), strict=False)
    return next((name for other, name in listed if other is info), str(info.title))


def add_button() -> None:
    """A hidden button that lets the dropdown show the chosen model; called when the webui draws it.

    The webui's own way to do so takes the first model whose name is a part of the wanted one's, or has it as a part.
    """
    import gradio as gr
    from modules_forge import main_entry

    def shown() -> Any:
        return gr.update(choices=_names(), value=shared.opts.data.get(CHOSEN))

    button = gr.Button("show the chosen model", elem_id="chilly_show_chosen", elem_classes=["chilly-hidden"])
    button.do_not_save_to_config = True
    button.click(shown, [], [main_entry.ui_checkpoint], queue=False, show_progress="hidden")


def _is_lazy() -> bool:
    return hasattr(sd_models, "forge_model_reload")


def _names() -> list[str]:
    return list(sd_models.checkpoint_tiles(shared.opts.data.get("sd_checkpoint_dropdown_use_short", False)))
