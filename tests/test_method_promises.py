"""What holds for every merge method that is no weighted sum, whatever it computes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import KEYS, model, plan_in, write_models
from live_bytes import LiveBytes
from method_operands import HARD_KINDS, KINDS, SHAPES, operands, tensors

from lib_chilly import deltas, dot_products, draws, row_ranks, smoothing
from lib_chilly.methods import dropping, nearness
from lib_chilly.registry import MergeMethod, all_methods
from lib_chilly.signature import Cost, Place, Reach

METHODS = [method for method in all_methods().values() if not method.is_sum]
ELEMENTS = [method for method in METHODS if method.reach is Reach.ELEMENT]
COUNT = 3
"""Models in a row of any number."""
SLABS = (
    (deltas, "SLAB"),
    (dot_products, "_AT_ONCE"),
    (dot_products, "_BLOCK"),
    (draws, "_BLOCKS"),
    (dropping, "CELLS"),
    (nearness, "_CELLS"),
    (row_ranks, "CELLS"),
    (smoothing, "_BLOCK"),
)
"""How many elements are looked at at once."""


def count_of(method: MergeMethod) -> int:
    return (COUNT if method.takes_any_number else len(method.operands)) + len(method.named)


def call(method: MergeMethod, models: Sequence[torch.Tensor], start: int = 0, **values: float) -> torch.Tensor:
    plain = len(models) - len(method.named)
    given: dict[str, object] = dict(zip(method.named, models[plain:], strict=True))
    given |= {name: float(default) for name, (_, default) in method.parameters.items()} | values
    if method.takes_place:
        given["place"] = Place("key", start)
    if method.takes_orders:
        given["orders"] = ()
    return method.function(*models[:plain], **given)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_result_is_finite_of_the_same_shape_and_type_and_operands_are_not_written(method: MergeMethod) -> None:
    for number, kind in enumerate((*KINDS, *HARD_KINDS)):
        for shape in SHAPES:
            dtype = (np.float32, np.float64)[number % 2]
            arrays = operands(count_of(method), shape, kind, dtype=dtype)
            if method.reach is Reach.ELEMENT:
                arrays = [each.reshape(-1) for each in arrays]
            models = tensors(arrays)
            found = call(method, models)
            assert (found.shape, found.dtype) == (models[0].shape, models[0].dtype), (kind, shape)
            assert bool(torch.isfinite(found).all()), (kind, shape)
            assert all(np.array_equal(model.numpy(), array) for model, array in zip(models, arrays, strict=True)), (kind, shape)


@pytest.mark.parametrize("method", ELEMENTS, ids=lambda method: method.name)
def test_element_does_not_depend_on_where_a_slab_ends(method: MergeMethod) -> None:
    models = tensors(operands(count_of(method), (301,), "holes"))
    whole = call(method, models)
    for cut in (1, 16, 133, 300):
        parts = [
            call(method, [each[:cut].clone() for each in models]),
            call(method, [each[cut:].clone() for each in models], cut),
        ]
        assert torch.cat(parts).numpy().tobytes() == whole.numpy().tobytes(), cut


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_ends_are_what_the_method_would_have_come_to(method: MergeMethod) -> None:
    models = tensors(operands(count_of(method), (40,) if method.reach is Reach.ELEMENT else (6, 9)))
    names = method.operand_names(len(models))
    other = {
        name: float(int(param.low + param.high) // 2 if param.is_whole else (2 * param.low + param.high) / 3)
        for name, (param, _) in method.parameters.items()
    }
    for (parameter, value), name in method.ends.items():
        for values in ({}, other):
            found = call(method, models, **values | {parameter: float(value)})
            torch.testing.assert_close(found, models[names.index(name)], rtol=1e-5, atol=1e-6)


COUNTED = [method for method in METHODS if not (method.takes_files or method.takes_orders or method.keys)]
"""Not those that by themselves, without files, orders or keys of a model, do nothing."""


@pytest.mark.parametrize("method", COUNTED, ids=lambda method: method.name)
def test_method_holds_as_many_tensors_at_once_as_it_says(method: MergeMethod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs are made small, as they are beside a large tensor; a method of elements is called with slabs as they are."""
    shape: Sequence[int] = (1 << 18,)
    if method.reach is Reach.TENSOR:
        shape = (340, 340, 3, 3)
        for module, name in SLABS:
            monkeypatch.setattr(module, name, getattr(module, name) // 16)
    models = tensors(operands(2 + len(method.named) if method.takes_any_number else count_of(method), shape))
    with LiveBytes(models) as counted:
        found = call(method, models)
    needed = counted.most / found.nbytes - 1
    unseen = 5 if method.cost in (Cost.SORTING, Cost.SPECTRAL) else 1  # what sorting and the like hold inside
    assert method.scratch - unseen < needed <= method.scratch + 0.01, needed


def digests() -> dict[str, str]:
    """sha256 of what each method that promises its bytes makes of some operands."""
    found = {}
    for method in METHODS:
        if method.takes_files or not method.is_bitwise:
            continue
        hashed = hashlib.sha256()
        for kind, shape in (("drawn", (16, 67)), ("holes", (60, 1031)), ("one zero", (7, 3, 3, 3)), ("opposite", (1, 9))):
            models = tensors(operands(count_of(method), shape, kind))
            models = [each.reshape(-1) for each in models] if method.reach is Reach.ELEMENT else models
            hashed.update(call(method, models).contiguous().numpy().tobytes())
        found[method.name] = hashed.hexdigest()
    return found


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="torch has kernels to choose on x86")
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_method_that_promises_its_bytes_makes_them_by_any_kernels_of_the_processor(capability: str) -> None:
    tests = Path(__file__).parent
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import json, torch; from test_method_promises import digests\n"
        "print(json.dumps([torch.backends.cpu.get_cpu_capability(), digests()]))\n"
    )
    command = [sys.executable, "-c", program, str(tests), str(tests.parent)]
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    kernels, found = json.loads(done.stdout.splitlines()[-1])
    assert kernels == capability.upper()
    assert found == digests()


def test_plan_promises_the_same_bytes_only_where_no_power_or_angle_is_taken(tmp_path: Path) -> None:
    folder = write_models(tmp_path, A=model(0, only=[KEYS[0]]), B=model(1, only=[KEYS[0]]))
    texts = {"comparative_interpolation(A, B)": "tolerance", "slerp(A, B)": "tolerance", "nearswap(A, B)": "bitwise"}
    assert {text: plan_in(folder, f"X = {text}").reproducible for text in texts} == texts
