"""Re-basin: a copy with its units anywhere is found again to the byte, whoever merges, and whatever the operands are made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from checkpoints import merge_in, plan_in
from permuting import Tensors, drawn_orders, groups_of, permuted
from pictures import family_pair
from safetensors.torch import load_file, save_file
from updates import differing

from bench.picturable import picturable
from lib_chilly.compared import Compared, Values
from lib_chilly.errors import ArchitectureError, CheckpointError, OutputError
from lib_chilly.live import LiveWeights
from lib_chilly.memory import peak_memory_bytes
from lib_chilly.synth import synthesise

UNITS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight"
AS_STORED = {"dtype": "source"}
SOME = re.compile(r"put_blocks\.(0|1|11)\.|middle_block|_embed|encoder\.layers\.0\.|coder\.mid|coder\.(down|up)\.0")
GROUPS = 30
"""In these layers."""


def noisy(tensors: Tensors, share: float, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        key: (tensor + share * tensor.float().std() * torch.randn(tensor.shape, generator=draw)).half()
        if tensor.is_floating_point() and tensor.numel() > 1
        else tensor
        for key, tensor in tensors.items()
    }


def moved(tensors: Tensors, architecture: str, seed: int) -> dict[str, torch.Tensor]:
    return permuted(tensors, groups_of(tensors, architecture), drawn_orders(seed))


def write(folder: Path, **models: Tensors) -> None:
    for name, tensors in models.items():
        save_file(dict(tensors), folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A of SD 1.x, some layers of each kind; B and C, its copies with other orders; N and O near it; M, P, Q, these elsewhere."""
    folder = tmp_path_factory.mktemp("sd1")
    a = load_file(picturable(folder / "A.safetensors", change=_of_some_layers))
    near, other = noisy(a, 0.3, 1), noisy(a, 0.3, 2)
    write(folder, B=moved(a, "sd1", 1), C=moved(a, "sd1", 2), N=near, M=moved(near, "sd1", 3))
    write(folder, O=other, P=moved(near, "sd1", 4), Q=moved(other, "sd1", 4))
    return folder


def _of_some_layers(tensors: dict[str, torch.Tensor]) -> None:
    for key in [key for key in tensors if not SOME.search(key)]:
        del tensors[key]


def unlike(file: Path, tensors: Tensors) -> list[str]:
    found = load_file(file)
    assert found.keys() == tensors.keys()
    return [key for key in found if not torch.equal(found[key], tensors[key])]


def same_recipe(folder: Path, text: str, expected: str, tmp_path: Path, **options: str) -> None:
    """Two recipes make the same tensors."""
    for name, recipe in (("one", text), ("two", expected)):
        merge_in(folder, recipe, tmp_path / f"{name}.safetensors", options=AS_STORED | options)
    assert unlike(tmp_path / "one.safetensors", load_file(tmp_path / "two.safetensors")) == []


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_permuted_copy_is_found_again_to_the_byte(tmp_path: Path, architecture: str) -> None:
    a = load_file(picturable(tmp_path / "A.safetensors", architecture))
    b = moved(a, architecture, 1)
    write(tmp_path, B=b)
    assert sum(not torch.equal(a[key], b[key]) for key in a) > 500
    report = merge_in(tmp_path, "rebasin(A, B)", tmp_path / "out.safetensors", options=AS_STORED)
    assert unlike(tmp_path / "out.safetensors", a) == []
    assert report.read_bytes == plan_in(tmp_path, "rebasin(A, B)", **AS_STORED).reads_bytes


def test_model_near_it_comes_back_in_its_own_order(folder: Path, tmp_path: Path) -> None:
    same_recipe(folder, "rebasin(A, M)", "N", tmp_path)
    same_recipe(
        folder,
        "weighted_sum(A, rebasin(A, M), alpha={IN*: 0.3, attn1: 0.6, VAE: 0, *: 1})",
        "weighted_sum(A, N, alpha={IN*: 0.3, attn1: 0.6, VAE: 0, *: 1})",
        tmp_path,
    )


def test_trained_model_is_found_again_from_another_of_its_family(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    for name in "ab":
        merge_in(family_pair(tmp_path_factory), name, tmp_path / f"{name}.safetensors", options=AS_STORED)
    b = load_file(tmp_path / "b.safetensors")
    write(tmp_path, moved=moved(b, "sd1", 1))
    merge_in(tmp_path, "rebasin(a, moved)", tmp_path / "x.safetensors", options=AS_STORED)
    assert unlike(tmp_path / "x.safetensors", b) == []


def test_operands_may_be_sums_steps_and_other_calls(folder: Path, tmp_path: Path) -> None:
    same_recipe(folder, "rebasin(A, 0.5 * P + 0.5 * Q)", "0.5 * N + 0.5 * O", tmp_path)
    same_recipe(folder, "rebasin(0.5 * A + 0.5 * N, slerp(P, Q))", "slerp(N, O)", tmp_path, compute="float32")
    same_recipe(
        folder, "X = rebasin(B, M)\nY = 0.4 * rebasin(A, X) + 0.6 * rebasin(A, rebasin(C, B))", "0.4 * N + 0.6 * A", tmp_path
    )


def test_bytes_do_not_depend_on_threads_and_memory_has_those_of_the_file(folder: Path, tmp_path: Path) -> None:
    text, options = "weighted_sum(A, rebasin(A, M), alpha=0.4)", {"dtype": "fp8_scaled"}
    files = [tmp_path / f"{threads}.safetensors" for threads in (1, 3)]
    for file, threads in zip(files, (1, 3), strict=True):
        report = merge_in(folder, text, file, threads=threads, options=options)
        assert report.read_bytes == plan_in(folder, text, **options).reads_bytes
    assert files[0].read_bytes() == files[1].read_bytes()
    live = LiveWeights(2)
    live.update(plan_in(folder, text, **options))
    assert differing(live.tensors, files[0]) == []


def test_update_matches_again_only_what_is_made_of_something_else(folder: Path, tmp_path: Path) -> None:
    live = LiveWeights(2)
    found = []
    for text in (
        "weighted_sum(A, rebasin(A, M), alpha=0.4)",
        "weighted_sum(A, rebasin(A, M), alpha={IN01: 0.7, *: 0.4})",
        "weighted_sum(A, rebasin(A, weighted_sum(M, P, alpha={IN01/attn1: 1})), alpha={IN01: 0.7, *: 0.4})",
    ):
        merge_in(folder, text, tmp_path / "out.safetensors", overwrite=True)
        before = set(map(id, live._orders.values()))
        live.update(plan_in(folder, text))
        assert differing(live.tensors, tmp_path / "out.safetensors") == []
        found.append(len([each for each in live._orders.values() if id(each) not in before]))
    assert found == [GROUPS, 0, 1]
    live.close()


def test_key_that_only_the_second_has_moves_with_its_units(folder: Path, tmp_path: Path) -> None:
    a, bias = load_file(folder / "A.safetensors"), UNITS.removesuffix("weight") + "bias"
    write(tmp_path, A={key: tensor for key, tensor in a.items() if key != bias}, B=load_file(folder / "B.safetensors"), F=a)
    same_recipe(tmp_path, "rebasin(A, B)", "F", tmp_path)
    write(tmp_path, B={key: tensor for key, tensor in load_file(folder / "B.safetensors").items() if key != bias}, A=a)
    same_recipe(tmp_path, "rebasin(A, B)", "F", tmp_path)


def test_model_without_a_component_takes_the_others_as_it_is(folder: Path, tmp_path: Path) -> None:
    a, b = (load_file(folder / f"{name}.safetensors") for name in "AB")
    write(tmp_path, A={key: tensor for key, tensor in a.items() if not key.startswith("first_stage")}, B=b)
    merge_in(tmp_path, "rebasin(A, B)", tmp_path / "out.safetensors", options=AS_STORED)
    expected = {key: (b if key.startswith("first_stage") else a)[key] for key in a}
    assert unlike(tmp_path / "out.safetensors", expected) == []


def test_comparison_sees_what_the_file_would_have(folder: Path) -> None:
    with Compared(plan_in(folder, "rebasin(A, B)", **AS_STORED)) as found:
        assert torch.equal(Values([found]).whole(0, UNITS), load_file(folder / "A.safetensors")[UNITS].float())


def test_nan_in_a_group_is_named_or_replaced(folder: Path, tmp_path: Path) -> None:
    b = load_file(folder / "B.safetensors")
    b[UNITS] = b[UNITS].clone()
    b[UNITS][0, 0] = torch.nan
    write(tmp_path, A=load_file(folder / "A.safetensors"), B=b)
    with pytest.raises(CheckpointError, match=r"'B.safetensors' holds NaN or Inf in 1 value of '.*ff.net.0.proj.weight'"):
        merge_in(tmp_path, "rebasin(A, B)", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    merge_in(tmp_path, "rebasin(A, B)", tmp_path / "out.safetensors", options=AS_STORED | {"on_nan": "take:A"})
    assert unlike(tmp_path / "out.safetensors", load_file(folder / "A.safetensors")) in ([], [UNITS])


def test_what_cannot_be_matched_is_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    for name in "AB":
        synthesise("sd3", "tiny", tmp_path / f"{name}.safetensors")
    with pytest.raises(ArchitectureError, match=r"rebasin does not know which units of .* may change places"):
        plan_in(tmp_path, "rebasin(A, B)")
    with pytest.raises(OutputError, match="not written as a diffusers folder"):
        plan_in(folder, "rebasin(A, B)", format="diffusers")


def test_plan_counts_groups_and_their_memory(folder: Path) -> None:
    plan, plain = plan_in(folder, "rebasin(A, B)"), plan_in(folder, "slerp(A, B)")
    assert any(note.startswith(f"{GROUPS} groups of units are matched before the pass") for note in plan.notes)
    assert plan.reproducible == "tolerance" and plan.reads_bytes > plain.reads_bytes
    assert plan.measured_bytes < plan.data_bytes and plain.measured_bytes == 0
    assert peak_memory_bytes(plan, 2) > plan.matching_bytes(2) > plan.matching_bytes(1) > plain.matching_bytes(1) == 0
