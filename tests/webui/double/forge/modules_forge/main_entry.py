"""The dropdown above all tabs, and what the next picture loads."""

from modules import sd_models

ui_checkpoint = None
"""The dropdown, once the page is drawn."""


def refresh_model_loading_parameters():
    wanted = {"checkpoint_info": sd_models.select_checkpoint(), "additional_modules": [], "unet_storage_dtype": None}
    sd_models.model_data.forge_loading_parameters = wanted
