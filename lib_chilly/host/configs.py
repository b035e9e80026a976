"""Tensors' shapes -> the configurations by which diffusers builds modules: widths are read, the rest is the architecture's."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

from ..diffusers_configs import known_configs
from ..errors import ArchitectureError, CheckpointError
from ..header import quoted

Shapes = Mapping[str, tuple[int, ...]]
"""Name in a diffusers folder, such as unet/conv_in.weight, to shape."""

PREVIEWED = ("sd1", "sd2", "sdxl")
_HEAD_WIDTH = 64
_GROUPS = 32
_NEEDED = {"unet": "a U-Net", "vae": "a VAE", "text_encoder": "a text encoder", "text_encoder_2": "its second text encoder"}


def configs_of(architecture: str, title: str, shapes: Shapes) -> dict[str, dict]:
    """Component to its configuration.

    Args:
        title: what the architecture is called in words.

    Raises:
        ArchitectureError: no pictures are made of such models.
        CheckpointError: a component or a tensor is missing, or has a shape that cannot be.
    """
    if architecture not in PREVIEWED:
        raise ArchitectureError(f"pictures of {title} are not made here; of SD 1.x, SD 2.x and SDXL they are. Save it as a file.")
    known = _known(architecture)
    for component in known:
        if not any(name.startswith(f"{component}/") for name in shapes):
            raise CheckpointError(
                f"a picture needs {_NEEDED[component]}, which the result lacks. Merge it from a model that has one"
                + (", or name one with save(vae=...)." if component == "vae" else ".")
            )
    found = _Shapes(shapes)
    configs = {"unet": found.unet(known["unet"]), "vae": found.vae(known["vae"])}
    configs |= {name: found.text_encoder(name, config) for name, config in known.items() if name.startswith("text_encoder")}
    if "addition_time_embed_dim" in known["unet"]:
        pooled = configs["text_encoder_2"]["projection_dim"]
        width = found.size("unet/add_embedding.linear_1.weight", 1)
        configs["unet"] |= {"projection_class_embeddings_input_dim": width, "addition_time_embed_dim": (width - pooled) // 6}
    return configs


def _known(architecture: str) -> dict[str, dict]:
    """Component to the configuration of everybody's models."""
    files = known_configs(architecture)
    return {name.partition("/")[0]: copy.deepcopy(config) for name, config in files.items() if name.endswith("/config.json")}


class _Shapes:
    """Reads numbers off the shapes."""

    def __init__(self, shapes: Shapes):
        self.shapes = shapes

    def size(self, name: str, dimension: int) -> int:
        shape = self.shapes.get(name, ())
        if len(shape) <= dimension or shape[dimension] < 1:
            raise CheckpointError(
                f"a picture needs {quoted(name)}; the result lacks it or has it in shape {shape}. Use a whole model."
            )
        return shape[dimension]

    def unet(self, known: dict) -> dict:
        widths = self._widths("unet/down_blocks.{}.resnets.0.conv1.weight", len(known["block_out_channels"]))
        config = known | {"block_out_channels": widths, "in_channels": self.size("unet/conv_in.weight", 1)}
        config["cross_attention_dim"] = self.size("unet/mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1)
        if isinstance(known["attention_head_dim"], list):  # heads of one width
            config["attention_head_dim"] = [max(1, width // _HEAD_WIDTH) for width in widths]
        if "transformer_layers_per_block" in known:
            config["transformer_layers_per_block"] = [
                max(1, self._count(rf"unet/down_blocks\.{level}\.attentions\.0\.transformer_blocks\.(\d+)\."))
                for level in range(len(widths))
            ]
        return config

    def vae(self, known: dict) -> dict:
        widths = self._widths("vae/encoder.down_blocks.{}.resnets.0.conv1.weight", len(known["block_out_channels"]))
        return known | {"block_out_channels": widths}

    def text_encoder(self, component: str, known: dict) -> dict:
        prefix = f"{component}/text_model."
        config = known | {
            "vocab_size": self.size(f"{prefix}embeddings.token_embedding.weight", 0),
            "hidden_size": self.size(f"{prefix}embeddings.token_embedding.weight", 1),
            "max_position_embeddings": self.size(f"{prefix}embeddings.position_embedding.weight", 0),
            "intermediate_size": self.size(f"{prefix}encoder.layers.0.mlp.fc1.weight", 0),
            "num_hidden_layers": self._count(rf"{component}/text_model\.encoder\.layers\.(\d+)\."),
        }
        if component == "text_encoder_2":
            config["projection_dim"] = self.size(f"{component}/text_projection.weight", 0)
        if config["hidden_size"] % config["num_attention_heads"]:
            raise CheckpointError(
                f"the text encoder is {config['hidden_size']} wide, which its {config['num_attention_heads']} heads cannot "
                "share. Use a whole model."
            )
        return config

    def _widths(self, name: str, levels: int) -> list[int]:
        widths = [self.size(name.format(level), 0) for level in range(levels)]
        odd = [width for width in widths if width % _GROUPS]
        if odd:
            raise CheckpointError(
                f"{quoted(name.format(0))} and its kin have {odd[0]} channels; pictures need multiples of {_GROUPS}. "
                "Made-up models of the size 'tiny' have no pictures."
            )
        return widths

    def _count(self, pattern: str) -> int:
        """How many blocks in a row have keys, whatever numbers a file may claim."""
        return len({match[1] for name in self.shapes if (match := re.match(pattern, name))})
