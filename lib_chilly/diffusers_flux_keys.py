"""What diffusers calls the layers of a Flux transformer, and which rows of the original's they are: facts, from both models.

Only for files that speak of layers one by one: diffusers folders of Flux are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

Share = tuple[int, int, int]
"""(first, end, of): rows of a tensor that is cut into `of` equal parts."""

WHOLE: Share = (0, 1, 1)
SWAPPED_HALVES = "final_layer.adaLN_modulation.1"
"""Its rows are shift and scale in the original, scale and shift in diffusers."""

DOUBLE_BLOCKS, SINGLE_BLOCKS = 19, 38

_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    SWAPPED_HALVES: "norm_out.linear",
    "final_layer.linear": "proj_out",
}
_DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
}
_DOUBLE_FUSED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_SINGLE = {"linear2": "proj_out", "modulation.lin": "norm.linear"}
# Seven times as many rows as columns: q, k, v, and four times that for the feed-forward layer.
_LINEAR1: dict[str, Share] = {"attn.to_q": (0, 1, 7), "attn.to_k": (1, 2, 7), "attn.to_v": (2, 3, 7), "proj_mlp": (3, 7, 7)}


def flux_layers() -> Iterator[tuple[str, str, Share]]:
    """(diffusers' name of a layer, the original's, which of its rows) of every layer with a weight to train."""
    for layer, name in _OUTSIDE.items():
        yield name, layer, WHOLE
    for number in range(DOUBLE_BLOCKS):
        block, original = f"transformer_blocks.{number}.", f"double_blocks.{number}."
        for layer, name in _DOUBLE.items():
            yield block + name, original + layer, WHOLE
        for layer, names in _DOUBLE_FUSED.items():
            for part, name in enumerate(names):
                yield block + name, original + layer, (part, part + 1, len(names))
    for number in range(SINGLE_BLOCKS):
        block, original = f"single_transformer_blocks.{number}.", f"single_blocks.{number}."
        for layer, name in _SINGLE.items():
            yield block + name, original + layer, WHOLE
        for name, share in _LINEAR1.items():
            yield block + name, f"{original}linear1", share
