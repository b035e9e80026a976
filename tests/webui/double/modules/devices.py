"""There is a processor alone."""

import torch

device = cpu = torch.device("cpu")
dtype = dtype_unet = dtype_vae = torch.float32
fp8 = False


def torch_gc():
    pass
