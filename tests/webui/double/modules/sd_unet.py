"""Another U-Net in place of the model's."""

current_unet = None
