"""Units that may change places: diffusers' own modules compute the same with them anywhere in their blocks, not beyond."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from permuting import Tensors, drawn_orders, groups_of, permuted
from safetensors.torch import load_file

from bench.picturable import picturable
from lib_chilly.architecture import known_keys, load
from lib_chilly.unit_groups import unit_groups

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from lib_chilly.host.parts import Parts


class Network:
    """A small model in float64, and what its components answer to a random input."""

    def __init__(self, file: Path, architecture: str):
        self.name, self.tensors = architecture, load_file(picturable(file, architecture))
        self.groups = groups_of(self.tensors, architecture)
        self.parts = Parts(load(architecture), self.tensors)
        for module in self.parts.modules.values():
            module.double()

    def answers(self, tensors: Tensors, component: str) -> torch.Tensor:
        """Of a component with other values in the keys that differ."""
        changed = {key for key in tensors if tensors[key] is not self.tensors[key]}
        self.parts.follow(tensors, changed)
        draw = torch.Generator().manual_seed(0)
        module, config = self.parts.modules[component], self.parts.configs[component]

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=draw, dtype=torch.float64)

        with torch.no_grad():
            if component == "unet":
                added = {}
                if self.name == "sdxl":
                    width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
                    added = {"added_cond_kwargs": {"text_embeds": random(1, width), "time_ids": random(1, 6)}}
                found = module(random(1, 4, 8, 8), 500, random(1, 5, config["cross_attention_dim"]), **added).sample
            elif component == "vae":
                found = module(random(1, 3, 16, 16)).sample
            else:
                found = module(torch.arange(12).reshape(1, -1)).last_hidden_state
        self.parts.follow(self.tensors, changed)
        return found


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return Network(tmp_path_factory.mktemp("sd1") / "A.safetensors", "sd1")


def component_of(network: Network, key: str) -> str:
    return load(network.name).component_of(key) or ""


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_function_is_the_same_with_the_units_of_every_group_elsewhere(tmp_path: Path, sd1: Network, architecture: str) -> None:
    network = sd1 if architecture == "sd1" else Network(tmp_path / "A.safetensors", architecture)
    moved = permuted(network.tensors, network.groups, drawn_orders(2))
    for component in network.parts.modules:
        groups = [group for group in network.groups if component_of(network, group.name) == component]
        assert groups and off(network.answers(moved, component), network.answers(network.tensors, component)) < 1e-12


def test_units_that_leave_their_head_or_norm_change_the_function(sd1: Network) -> None:
    divided = {(group.blocks, len(group.sets)): group for group in sd1.groups if 1 < group.blocks < group.units}
    assert {blocks for blocks, _ in divided} == {8, 12, 32}
    for group in divided.values():
        broken = permuted(sd1.tensors, [replace(group, blocks=1)], drawn_orders(3))
        component = component_of(sd1, group.name)
        assert off(sd1.answers(broken, component), sd1.answers(sd1.tensors, component)) > 1e-6, group.name


@pytest.mark.parametrize(
    ("architecture", "count", "heads"), [("sd1", 121, {8, 12}), ("sd2", 145, {5, 10, 16, 20}), ("sdxl", 343, {10, 12, 20})]
)
def test_groups_of_the_true_keys_have_each_hidden_layer_once(architecture: str, count: int, heads: set[int]) -> None:
    groups = list(unit_groups(load(architecture), {key: shape for key, (_, shape) in known_keys(architecture).items()}))
    keys = [key for group in groups for key in group.keys]
    assert len(groups) == count and len(keys) == len(set(keys))
    assert {group.blocks for group in groups} == heads | {1, 32}
    assert all(group.units % group.blocks == 0 for group in groups)
    behind = (".to_out.0.weight", ".net.2.weight", ".out_layers.3.weight", ".fc2.weight", ".c_proj.weight", ".conv2.weight")
    assert {key for key in known_keys(architecture) if key.endswith(behind)} <= {group.name for group in groups}


def test_group_that_lacks_a_weight_or_does_not_fit_is_left_out(sd1: Network) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in sd1.tensors.items()}
    one = next(group for group in sd1.groups if group.name.endswith("input_blocks.1.0.out_layers.3.weight"))
    emb = next(key for key in one.keys if key.endswith("emb_layers.1.weight"))
    for other in (
        {key: shape for key, shape in shapes.items() if key != emb},
        shapes | {emb: (2 * shapes[emb][0], shapes[emb][1])},
        shapes | {key: tuple(31 if size == 32 else size for size in shapes[key]) for key in one.keys},
        shapes | {one.name: ()},
    ):
        assert one.name not in {group.name for group in unit_groups(load("sd1"), other)}
    assert list(unit_groups(load("flux"), shapes)) == []
