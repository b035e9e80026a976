"""A loaded model: a table of tensors in float32 that is rewritten for the next one."""

import hashlib

import torch


class Model:
    """The tensors of the architecture of a config, at first without values."""

    lowvram = False

    def __init__(self, config, shapes):
        self.used_config = config
        self.state = {key: torch.zeros(shape) for key, shape in shapes.items()}
        self.is_trash = False

    def load_state_dict(self, state_dict, strict=True):
        wrong = [key for key, tensor in state_dict.items() if key in self.state and tensor.shape != self.state[key].shape]
        if wrong:
            raise RuntimeError(f"size mismatch for {wrong[0]}")
        for key, tensor in state_dict.items():
            if key in self.state:
                self.state[key].copy_(tensor)

    def become(self, info, short_hash):
        self.sd_checkpoint_info, self.sd_model_checkpoint, self.sd_model_hash = info, info.filename, short_hash

    def digest(self, *prefixes):
        """Of all tensors of a component: what a picture follows from."""
        if self.is_trash:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        found = hashlib.sha256()
        for key in sorted(self.state):
            if key.startswith(prefixes):
                found.update(self.state[key].numpy().tobytes())
        return found.hexdigest()
