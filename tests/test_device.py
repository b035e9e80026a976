"""Merges on a GPU, as far as a machine without one can tell: the way there and back, methods on tensors that lie elsewhere, what
is said of it. Where there is a GPU, the files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import CONV_IN, UNET, VAE, merge_in, model, plan_in, stored, write_models
from method_operands import KINDS, operands, tensors, unlike
from pretended import AWAY, Away, pretended
from test_method_promises import METHODS, call, count_of

from lib_chilly.engine import merge
from lib_chilly.kernel import Kernel
from lib_chilly.key_job import KeyJob
from lib_chilly.placement import placement_note, reproducible
from lib_chilly.reading import OpenSource, Reader
from lib_chilly.registry import MergeMethod
from lib_chilly.signature import Reach
from lib_chilly.staging import Staging

KEY = UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
CPU = torch.device("cpu")
NEAR = 1e-5
"""How far what sees whole tensors may be from the processor's, as a share of the tensor's largest value: docs/recipes.md."""
RECIPES = {
    "elements": "Z = train_difference(A, B, C, alpha={IN*: 0.5, *: 1})",
    "draws": "Z = 0.5 * A + 0.5 * dare(A, B, base=C, density=0.3, seed=7)",
    "reductions": "Z = slerp(A, B, alpha=0.3) + 0.2 * (D - C)",
    "selections": "Z = ties(A, B, D, base=C, density=0.4)",
    "decompositions": "Z = truncate_rank(A, base=C, density=0.2)",
    "one in the other": "Z = slerp(ties(A, B, base=C, density=0.4), 0.5 * A + 0.5 * D)",
    "channels": "Z = ties(A, wide, base=C, density=0.4)",
    "sums alone": "Z = 0.5 * A + 0.5 * B",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dtypes = {"A": "fp16", "B": "bf16", "C": "fp32", "D": "fp16"}
    models = {name: model(seed, dtype, size=32) for seed, (name, dtype) in enumerate(dtypes.items())}
    models["wide"] = model(7, "fp32", channels=9, size=32)
    spoilt = np.full((32, 32), 0.1)
    spoilt[3, 4] = np.nan
    models["spoilt"] = model(9, size=32, extras={KEY: stored(spoilt, "fp32")})
    return write_models(tmp_path_factory.mktemp("models"), **models)


def content(folder: Path, text: str, to: Path, **how: Any) -> bytes:
    merge_in(folder, text, to / "out.safetensors", **how)
    return (to / "out.safetensors").read_bytes()


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_way_to_a_device_and_back_changes_no_byte(folder: Path, tmp_path: Path, text: str) -> None:
    assert content(folder, text, tmp_path, threads=3, device=CPU) == content(folder, text, tmp_path, threads=1)


@pytest.mark.parametrize(
    "options", [{"dtype": "fp32"}, {"dtype": "bf16", "compute": "float64"}, {"unet_dtype": "fp8_scaled"}, {"on_nan": "take:D"}]
)
def test_options_come_to_the_same_bytes_by_that_way(folder: Path, tmp_path: Path, options: dict[str, str]) -> None:
    text = "Z = ties(A, spoilt, base=C, density=0.4)" if "on_nan" in options else RECIPES["selections"]
    text = text + " + 0 * D" if "on_nan" in options else text
    how: dict[str, Any] = {"options": options}
    assert content(folder, text, tmp_path, **how, device=CPU) == content(folder, text, tmp_path, **how)


def moved(folder: Path, text: str, key: str, place: torch.device | None) -> torch.Tensor:
    """What a kernel makes of one key."""
    plan = plan_in(folder, text)
    job: KeyJob = next(job for job in plan.jobs if job.key == key)
    files = [OpenSource(source, use_mmap=False).__enter__() for source in plan.sources]
    try:
        staging = Staging(place)
        out = torch.empty(job.elements, dtype=torch.float16)
        Kernel(Reader(files, staging), None, weighs=True, staging=staging).run(job, 0, out)
        return out.view(job.shape)
    finally:
        for file in files:
            file.__exit__()


@pytest.mark.parametrize("key", [KEY, CONV_IN])
def test_kernel_computes_on_the_device_that_it_was_given(folder: Path, key: str) -> None:
    for name, text in RECIPES.items():
        here = moved(folder, text, key, None)
        with pretended():
            found = moved(folder, text, key, AWAY)
        assert type(found) is torch.Tensor
        assert unlike(found, here.double().numpy()) < 1e-3, name
        if name in ("elements", "draws", "sums alone"):
            assert found.equal(here), name


@pytest.mark.parametrize("method", [each for each in METHODS if not each.takes_files], ids=lambda method: method.name)
def test_method_computes_where_its_operands_lie(method: MergeMethod) -> None:
    shapes: dict[str, tuple[int, ...]] = {"drawn": (), "holes": (40, 30), "one zero": (4, 3, 3, 3)}
    if method.reach is Reach.ELEMENT:
        shapes = dict.fromkeys(KINDS, (1200,))
    for kind, shape in shapes.items():
        models = tensors(operands(count_of(method), shape, kind))
        here = call(method, models)
        with pretended():
            there = call(method, [each.to(AWAY) for each in models])
        assert isinstance(there, Away), (kind, shape)
        if method.reach is Reach.ELEMENT and method.is_bitwise:
            assert there.here.numpy().tobytes() == here.numpy().tobytes(), (kind, shape)
        assert unlike(there.here, here.numpy()) < NEAR, (kind, shape)


def test_pretended_gpu_stumbles_over_what_a_real_one_would() -> None:
    with pretended():
        one = torch.ones(3).to(AWAY)
        with pytest.raises(AssertionError, match="mixes"):
            one + torch.ones(3)
        with pytest.raises(AssertionError, match="contracted"):
            torch.addcmul(one, one, one)
        with pytest.raises(AssertionError, match="contracted"):
            one.add(one, alpha=2)
        with pytest.raises(AssertionError, match="numpy"):
            one.numpy()
        divided = (torch.arange(50.0).to(AWAY) / 3).cpu()
    assert not divided.equal(torch.arange(50.0) / 3)


def test_tensor_that_the_gpu_has_no_room_for_is_merged_on_the_processor(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content(folder, RECIPES["selections"], tmp_path)
    send, sent = Staging.send, [0]

    def full(self: Staging, values: torch.Tensor) -> torch.Tensor:
        sent[0] += self.is_away
        if self.is_away and sent[0] == 6:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return send(self, values)

    monkeypatch.setattr(Staging, "send", full)
    report = merge(plan_in(folder, RECIPES["selections"]), tmp_path / "z.safetensors", threads=2, device=CPU, source_hashes=False)
    (said,) = [words for words in report.warnings if "GPU" in words]
    assert said.startswith("the GPU had no room for 1 key, such as '") and "merged on the processor" in said
    assert (tmp_path / "z.safetensors").read_bytes() == expected


def test_plan_says_what_the_gpu_does_and_whether_its_bytes_are_the_same(folder: Path) -> None:
    found = {name: (reproducible(plan_in(folder, text), "cuda")) for name, text in RECIPES.items()}
    alike = {"elements", "draws", "sums alone"}
    assert {name for name, said in found.items() if said == "bitwise"} == alike
    assert reproducible(plan_in(folder, RECIPES["selections"]), "cpu") == "bitwise"
    assert placement_note(plan_in(folder, RECIPES["sums alone"])).startswith("nothing of this is done on the GPU")
    some = plan_in(folder, "Z = weighted_sum(A, ties(A, B, base=C), alpha={VAE: 0, *: 1})")
    count = sum(not job.key.startswith(VAE) for job in some.jobs)
    assert placement_note(some).startswith(f"{count} keys of {len(some.jobs)} are merged on the GPU")
    assert placement_note(plan_in(folder, RECIPES["draws"])).endswith("with the same bytes.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_in_a_sentence(folder: Path, tmp_path: Path, run: Any) -> None:
    for command in (["plan", "0.5 * A + 0.5 * B"], ["merge", "0.5 * A + 0.5 * B", "-o", tmp_path / "z.safetensors"]):
        code, out, error = run(*command, "--models", folder, "--device", "cuda")
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert error.startswith("chilly: --device cuda: torch here has no GPU it can use (")
    assert not (tmp_path / "z.safetensors").exists()
    assert "has no GPU it can use" in run("bench", "--gpu", "--dir", tmp_path / "work")[2] and not (tmp_path / "work").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("name", RECIPES)
def test_file_made_on_a_gpu_is_the_processors(folder: Path, tmp_path: Path, name: str) -> None:
    plan = plan_in(folder, RECIPES[name])
    here = content(folder, RECIPES[name], tmp_path)
    there = content(folder, RECIPES[name], tmp_path, device=torch.device("cuda"))
    if reproducible(plan, "cuda") == "bitwise":
        assert there == here
    start = len(here) - plan.data_bytes
    assert there[:start] == here[:start]
    numbers = [torch.frombuffer(bytearray(each[start:]), dtype=torch.float16).double() for each in (there, here)]
    assert unlike(numbers[0], numbers[1].numpy()) < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("method", [each for each in METHODS if not each.takes_files], ids=lambda method: method.name)
def test_method_on_a_gpu_is_the_processors(method: MergeMethod) -> None:
    for kind in KINDS:
        models = tensors(operands(count_of(method), (200,) if method.reach is Reach.ELEMENT else (40, 30), kind))
        here, there = call(method, models), call(method, [each.cuda() for each in models]).cpu()
        if method.reach is Reach.ELEMENT and method.is_bitwise:
            assert there.numpy().tobytes() == here.numpy().tobytes(), kind
        assert unlike(there, here.numpy()) < NEAR, kind
