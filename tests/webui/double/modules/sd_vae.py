"""A VAE of its own that the user may choose: a file with the keys of first_stage_model without that word."""

import glob
import os

from modules import paths_internal, shared

vae_dict = {}
base_vae = loaded_vae_file = checkpoint_info = None


def get_filename(filepath):
    return os.path.basename(filepath)


def refresh_vae_list():
    vae_dict.clear()
    for path in sorted(glob.glob(os.path.join(paths_internal.models_path, "VAE", "*.safetensors"))):
        vae_dict[get_filename(path)] = path


def resolve_vae(checkpoint_file):
    if shared.cmd_opts.vae_path:
        return shared.cmd_opts.vae_path
    near = os.path.basename(checkpoint_file).rsplit(".", 1)[0]
    if shared.opts.sd_vae == "Automatic":
        return next((path for name, path in vae_dict.items() if name.startswith(near)), None)
    return vae_dict.get(shared.opts.sd_vae)


def load_vae(model, vae_file=None):
    global base_vae, loaded_vae_file, checkpoint_info
    from safetensors.torch import load_file

    if vae_file:
        if base_vae is None:
            base_vae = {key: tensor.clone() for key, tensor in model.state.items() if key.startswith("first_stage_model.")}
            checkpoint_info = model.sd_checkpoint_info
        model.state.update({f"first_stage_model.{key}": tensor.float() for key, tensor in load_file(vae_file).items()})
    elif loaded_vae_file and base_vae is not None:
        model.state.update(base_vae)
        base_vae = None
    loaded_vae_file = vae_file


def reload_vae_weights(sd_model=None, vae_file=None):
    model = sd_model or shared.sd_model
    found = vae_file or resolve_vae(model.sd_checkpoint_info.filename)
    if found != loaded_vae_file:
        load_vae(model, found)


def forget():
    """A new checkpoint has its own VAE again."""
    global base_vae, loaded_vae_file
    base_vae = loaded_vae_file = None
