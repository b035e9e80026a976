"""One recipe, one file: whatever the threads, the way of reading, the sizes of pieces, the processor or the sources' layout."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from checkpoints import (
    BETAS,
    CONV_IN,
    LANE_OF,
    POSITION_IDS,
    UNET,
    draw,
    merge_in,
    model,
    plan_in,
    stored,
    write_file,
    write_models,
)
from hypothesis import given
from hypothesis import strategies as st
from reference import Stored, read_file
from safetensors import safe_open

from lib_chilly import fileio, kernel, memory
from lib_chilly.dtypes import BY_NAME
from lib_chilly.key_job import ExtraChannels, KeyJob

Models = Mapping[str, Mapping[str, Stored]]

SCALED = UNET + "input_blocks.7.1.transformer_blocks.0.attn1.to_q.weight"
RECIPE = """
BASE = 0.7 * plain + 0.3 * wide
NEXT = BASE + 0.8 * (inpainting - plain)
OUT  = weighted_sum(NEXT, small, alpha={IN00-IN05: 0.3, attn2: 1, M00: 0, VAE: 1, OUT*: 0.9, *: 0.5})
"""
"""Every kind of job: sums, operands taken whole, keys that are missing, extra channels, copies, scaled fp8."""


@pytest.fixture(scope="module")
def models() -> Models:
    positions = stored(np.arange(77).reshape(1, 77), "I64")
    extras = {
        POSITION_IDS: positions,
        BETAS: stored(draw(1, BETAS, (50,)), "fp64"),
        "v_pred": stored([], "fp32"),
        "one": stored(3, "U8"),
    }
    scaled = {
        SCALED: stored(draw(4, SCALED, (24, 24), 90), "fp8_e4m3fn"),
        SCALED.replace(".weight", ".scale_weight"): stored(np.float32(0.0005), "fp32"),
    }
    return {
        "plain": model(1, "fp16", extras=extras),
        "wide": model(2, ("fp32", "bf16"), without=["VAE"]),
        "inpainting": model(3, "fp16", channels=9),
        "small": model(4, ("bf16", "fp16", "fp32"), extras=scaled),
    }


@pytest.fixture(scope="module")
def folder(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("sources"), **models)


@pytest.fixture(scope="module", params=["fp16", "fp32", "source", "fp8_scaled"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def usual(folder: Path, dtype: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file as one thread makes it."""
    output = tmp_path_factory.mktemp("usual") / "out.safetensors"
    merge_in(folder, RECIPE, output, threads=1, options={"dtype": dtype})
    return output.read_bytes()


def data_of(content: bytes) -> bytes:
    return content[8 + int.from_bytes(content[:8], "little") :]


# ---- how it is made ----


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("use_mmap", [False, True], ids=["read", "mmap"])
@pytest.mark.parametrize("sizes", [None, (100, 1000)], ids=["whole", "many blocks"])
def test_file_is_the_same_for_any_threads_and_way_of_reading(
    folder, dtype, usual, tmp_path, monkeypatch, threads, use_mmap, sizes
):
    if sizes:
        cut(monkeypatch, *sizes)
    output = tmp_path / "out.safetensors"
    report = merge_in(folder, RECIPE, output, threads, {"dtype": dtype}, use_mmap=use_mmap, want_data_hash=True)
    assert output.read_bytes() == usual
    assert report.sha256 == hashlib.sha256(usual).hexdigest()
    assert report.data_sha256 == hashlib.sha256(data_of(usual)).hexdigest()


@pytest.mark.parametrize(("elements", "block_bytes"), [(61, 16), (61, 1 << 23), (128, 4096), (1 << 20, 4096)])
def test_file_is_the_same_for_any_slab_and_block_size(folder, dtype, usual, tmp_path, monkeypatch, elements, block_bytes):
    cut(monkeypatch, elements, block_bytes)
    report = merge_in(folder, RECIPE, tmp_path / "out.safetensors", options={"dtype": dtype})
    assert (tmp_path / "out.safetensors").read_bytes() == usual
    assert report.read_bytes == plan_in(folder, RECIPE, dtype=dtype).reads_bytes


def test_file_is_the_same_without_positional_reads_and_writes(folder, dtype, usual, tmp_path, monkeypatch):
    seek = os.lseek

    def seek_and_wait(descriptor: int, offset: int, origin: int) -> int:
        found = seek(descriptor, offset, origin)
        time.sleep(0.0001)  # so that another thread would come between, were there no lock
        return found

    monkeypatch.setattr(fileio, "POSITIONAL", False)
    monkeypatch.setattr(os, "preadv", None)
    monkeypatch.setattr(os, "pwrite", None)
    monkeypatch.setattr(os, "lseek", seek_and_wait)
    cut(monkeypatch, 300, 3000)
    merge_in(folder, RECIPE, tmp_path / "out.safetensors", threads=4, options={"dtype": dtype})
    assert (tmp_path / "out.safetensors").read_bytes() == usual


@pytest.mark.parametrize("dtype", ["fp32"], indirect=True)
def test_file_is_the_same_on_a_processor_without_vectors_and_with_other_hash_seeds(folder, dtype, usual, tmp_path):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path; import torch; from checkpoints import merge_in\n"
        "assert torch.backends.cpu.get_cpu_capability() == 'DEFAULT'\n"
        "for dtype in ('fp16', 'bf16', 'fp32'):\n"
        "    merge_in(Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]) / dtype, options={'dtype': dtype})\n"
        "    merge_in(Path(sys.argv[6]), sys.argv[7], Path(sys.argv[5]) / f'{dtype}.ends', options={'dtype': dtype})\n"
    )
    every = write_models(tmp_path / "every", a=every_number(1), b=every_number(-1))
    tests = Path(__file__).parent
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "3"}
    arguments = [str(tests), str(tests.parent), str(folder), RECIPE, str(tmp_path), str(every), ENDS]
    subprocess.run([sys.executable, "-c", program, *arguments], env=environment, check=True)
    for other in ("fp16", "bf16", "fp32"):
        merge_in(folder, RECIPE, tmp_path / f"{other}.here", options={"dtype": other})
        merge_in(every, ENDS, tmp_path / f"{other}.here.ends", options={"dtype": other})
        assert (tmp_path / other).read_bytes() == (tmp_path / f"{other}.here").read_bytes()
        assert (tmp_path / f"{other}.ends").read_bytes() == (tmp_path / f"{other}.here.ends").read_bytes()
    assert (tmp_path / "fp32").read_bytes() == usual


def test_file_and_its_hash_are_the_same_when_threads_finish_in_any_order(folder, dtype, usual, tmp_path, monkeypatch):
    cut(monkeypatch, 500, 5000)
    delays = random.Random(3)
    original = kernel.Kernel.run

    def run(self, job, start, out):
        time.sleep(delays.choice((0, 0, 0.003)))
        original(self, job, start, out)

    monkeypatch.setattr(kernel.Kernel, "run", run)
    report = merge_in(folder, RECIPE, tmp_path / "out.tmp", 16, {"dtype": dtype}, want_data_hash=True)
    assert (tmp_path / "out.tmp").read_bytes() == usual
    assert report.sha256 == hashlib.sha256(usual).hexdigest()
    assert report.data_sha256 == hashlib.sha256(data_of(usual)).hexdigest()


def test_rebuilt_position_ids_are_the_same_in_pieces(folder, tmp_path, monkeypatch):
    cut(monkeypatch, 25, 1000)
    merge_in(folder, RECIPE + "save(position_ids=rebuild)", tmp_path / "out.tmp", threads=3)
    assert read_file(tmp_path / "out.tmp")[POSITION_IDS] == stored(np.arange(77).reshape(1, 77), "I64")


ENDS = "M = weighted_sum(a, b, alpha=0.3)"


def every_number(step: int) -> dict[str, Stored]:
    """A model with every finite number of fp16, upwards or downwards: subnormals, zeros of both signs, the largest."""
    codes = np.arange(65536, dtype=np.uint16)
    finite = codes[np.isfinite(codes.view(np.float16))][::step]
    return model(1, only=[SCALED]) | {SCALED: Stored("F16", finite.shape, finite.tobytes())}


def cut(monkeypatch: pytest.MonkeyPatch, elements: int, block_bytes: int) -> None:
    """Work in pieces of these sizes, in whichever modules the sizes are known."""
    for name, module in list(sys.modules.items()):
        if name.startswith("lib_chilly."):
            for size, value in (("SLAB_ELEMENTS", elements), ("BLOCK_BYTES", block_bytes)):
                if hasattr(module, size):
                    monkeypatch.setattr(module, size, value)


def test_cutting_as_these_tests_do_it_gives_pieces_of_that_size(folder, monkeypatch):
    cut(monkeypatch, 100, 1000)
    blocks = memory.blocks_of(plan_in(folder, RECIPE).jobs)
    slabs = [slab for block in blocks for slab in block.slabs]
    assert max(slab.count for slab in slabs if slab.job.key != CONV_IN) == 100
    assert len(blocks) > 50
    assert [slab.count for slab in slabs if slab.job.key == CONV_IN] == [24 * 9 * 9]


def job_of(key: str, elements: int, in_one_piece: bool) -> KeyJob:
    extra = ExtraChannels(1, frozenset(), ()) if in_one_piece else None
    return KeyJob(key, BY_NAME["fp16"], (elements,), "IN00", extra=extra, row="IN00")


@given(st.lists(st.tuples(st.integers(1, 30_000), st.booleans()), max_size=12), st.sampled_from([4096, 16384]))
def test_blocks_are_whole_pages_but_for_those_beside_a_tensor_that_stays_in_one_piece(tensors, block_bytes):
    jobs = [job_of(f"key{number}", *tensor) for number, tensor in enumerate(tensors)]
    with mock.patch.object(memory, "BLOCK_BYTES", block_bytes), mock.patch.object(memory, "SLAB_ELEMENTS", 1000):
        blocks = memory.blocks_of(jobs)
    ends = [block.offset + block.size_bytes for block in blocks]
    assert [block.offset for block in blocks] == [0, *ends][: len(blocks)]
    assert ([0, *ends])[-1] == sum(job.elements * 2 for job in jobs)
    sticks_out = {block.number for block in blocks if block.slabs[-1].job.extra}
    assert all(end % block_bytes == 0 for block, end in zip(blocks[:-1], ends, strict=False) if block.number not in sticks_out)
    seen = {job.key: 0 for job in jobs}
    for block in blocks:
        place = 0
        for slab in block.slabs:
            assert (slab.place, slab.start) == (place, seen[slab.job.key])
            place, seen[slab.job.key] = place + slab.count * 2, slab.start + slab.count
        assert place == block.size_bytes
    assert seen == {job.key: job.elements for job in jobs}


def test_what_is_announced_to_the_system_is_what_is_read_later(folder, tmp_path, monkeypatch):
    cut(monkeypatch, 100, 1000)
    announced, read, real = [], [], fileio.SourceFile.read_into
    monkeypatch.setattr(
        fileio.SourceFile, "will_need", lambda file, offset, size: announced.append((file.path.name, offset, size))
    )

    def read_into(file, buffer, offset):
        read.append((file.path.name, offset, len(buffer)))
        real(file, buffer, offset)

    monkeypatch.setattr(fileio.SourceFile, "read_into", read_into)
    merge_in(folder, RECIPE, tmp_path / "out.tmp")
    assert len(announced) > 50
    assert [piece for piece in announced if piece not in read] == []


def test_file_is_the_same_where_the_system_takes_no_hints(folder, dtype, usual, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fadvise")
    merge_in(folder, RECIPE, tmp_path / "out.tmp", options={"dtype": dtype})
    assert (tmp_path / "out.tmp").read_bytes() == usual


# ---- how the sources lie ----


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("use_mmap", [False, True], ids=["read", "mmap"])
def test_data_is_the_same_for_shuffled_and_crooked_sources(models, dtype, usual, tmp_path, seed, use_mmap):
    shuffle = random.Random(seed).sample
    for name, tensors in models.items():
        order = {key: tensors[key] for key in shuffle(sorted(tensors), len(tensors))}
        write_file(tmp_path / f"{name}.safetensors", order, {"made by": "somebody"}, pad=seed)
    merge_in(tmp_path, RECIPE, tmp_path / "out.tmp", options={"dtype": dtype}, use_mmap=use_mmap)
    assert data_of((tmp_path / "out.tmp").read_bytes()) == data_of(usual)


@pytest.mark.parametrize("dtype", ["fp16"], indirect=True)
def test_file_is_the_same_for_sources_of_one_size_whatever_their_order(models, dtype, usual, tmp_path):
    made = []
    for folder, order in ((tmp_path / "a", list), (tmp_path / "b", reversed)):
        folder.mkdir()
        for name, tensors in models.items():
            path = write_file(folder / f"{name}.safetensors", dict(order(tensors.items())))
            longest = max(path.stat().st_size, write_file(path, tensors).stat().st_size) + 100
            write_file(
                path, dict(order(tensors.items())), pad=longest - write_file(path, dict(order(tensors.items()))).stat().st_size
            )
        merge_in(folder, RECIPE, tmp_path / f"{folder.name}.tmp", options={"dtype": dtype})
        made.append((tmp_path / f"{folder.name}.tmp").read_bytes())
    assert made[0] == made[1]
    assert data_of(made[0]) == data_of(usual)


def test_data_is_the_same_for_torch_zips(models, dtype, usual, tmp_path):
    kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
    kinds |= {"F8_E4M3": torch.float8_e4m3fn, "U8": torch.uint8}
    for name, tensors in models.items():
        state = {
            key: torch.frombuffer(bytearray(tensor.data), dtype=kinds[tensor.tag]).reshape(tensor.shape)
            if tensor.data
            else torch.empty(tensor.shape, dtype=kinds[tensor.tag])
            for key, tensor in tensors.items()
        }
        torch.save({"state_dict": state, "global_step": 7}, tmp_path / f"{name}.ckpt")
    merge_in(tmp_path, RECIPE, tmp_path / "out.tmp", options={"dtype": dtype})
    assert data_of((tmp_path / "out.tmp").read_bytes()) == data_of(usual)


# ---- what is read ----


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, list[tuple[int, int]]]]:
    """Inode to every (offset, size) that is read of it."""
    seen: dict[int, list[tuple[int, int]]] = {}
    original = os.preadv

    def preadv(descriptor: int, buffers: list, offset: int) -> int:
        count = original(descriptor, buffers, offset)
        seen.setdefault(os.fstat(descriptor).st_ino, []).append((offset, count))
        return count

    monkeypatch.setattr(os, "preadv", preadv)
    return seen


def place_of(path: Path, key: str) -> tuple[int, int]:
    """(offset, size) of a tensor, out of the header alone."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    first, end = json.loads(content[8:start])[key]["data_offsets"]
    return start + first, end - first


@pytest.mark.parametrize("sizes", [None, (100, 1000)], ids=["whole", "many blocks"])
def test_each_needed_byte_is_read_once_and_no_other(folder, tmp_path, monkeypatch, reads, sizes):
    if sizes:
        cut(monkeypatch, *sizes)
    text = "M = weighted_sum(plain, inpainting, alpha={IN00: 0.5, IN01: 1, M00: 0, VAE: 1, *: 0.3})"
    plan = plan_in(folder, text)
    reads.clear()
    report = merge_in(folder, text, tmp_path / "out.tmp")
    # Headers are read again by merge_in's own plan: only what lies behind them counts.
    needed = {"plain": set(), "inpainting": set()}
    for key, lane in LANE_OF.items():
        needed["plain"] |= {key} if lane not in ("IN01", "VAE") else set()
        needed["inpainting"] |= {key} if lane != "M00" else set()
    needed["plain"] |= {POSITION_IDS, BETAS, "one"}
    total = 0
    for name, keys in needed.items():
        path = folder / f"{name}.safetensors"
        start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        got = sorted(place for place in reads[path.stat().st_ino] if place[0] >= start)
        assert all(first[0] + first[1] <= second[0] for first, second in itertools.pairwise(got)), "a byte is read twice"
        wanted = sum(place_of(path, key)[1] for key in keys)
        assert sum(size for _, size in got) == wanted
        inside = [place_of(path, key) for key in keys]
        assert all(any(offset >= o and offset + size <= o + s for o, s in inside) for offset, size in got)
        total += wanted
    assert report.read_bytes == plan.reads_bytes == total


@pytest.mark.parametrize("use_mmap", [False, True], ids=["read", "mmap"])
def test_report_counts_the_bytes_that_the_plan_promises(folder, tmp_path, use_mmap):
    report = merge_in(folder, RECIPE, tmp_path / "out.tmp", use_mmap=use_mmap)
    plan = plan_in(folder, RECIPE)
    assert report.read_bytes == plan.reads_bytes
    assert report.written_bytes == (tmp_path / "out.tmp").stat().st_size


def test_conv_in_of_mixed_channels_is_read_once(folder, tmp_path, reads):
    merge_in(folder, "M = inpainting + 0.5 * (plain - small)", tmp_path / "out.tmp")
    for name in ("inpainting", "plain", "small"):
        path = folder / f"{name}.safetensors"
        assert reads[path.stat().st_ino].count(place_of(path, CONV_IN)) == 1


# ---- the file ----


def test_output_is_a_safetensors_file_whose_data_starts_on_a_4096_boundary(usual, tmp_path):
    path = tmp_path / "out.safetensors"
    path.write_bytes(usual)
    start = 8 + int.from_bytes(usual[:8], "little")
    assert start % 4096 == 0
    assert usual[8:10] == b'{"'
    ours = read_file(path)
    with safe_open(path, "pt") as opened:
        assert set(opened.keys()) == ours.keys()
        for key in opened.keys():  # noqa: SIM118 - not a mapping
            tensor = opened.get_tensor(key)
            assert tuple(tensor.shape) == ours[key].shape
            assert tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() == ours[key].data
        assert opened.metadata()["format"] == "pt"
    assert sum(len(tensor.data) for tensor in ours.values()) == len(usual) - start


def test_data_hash_does_not_depend_on_title_or_source_hashes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    output = tmp_path / "out.tmp"
    plain = merge_in(folder, RECIPE, output, want_data_hash=True)
    titled = merge_in(folder, RECIPE + 'save(title="a very long title")', output, want_data_hash=True)
    hashed = merge_in(folder, RECIPE, output, want_data_hash=True, source_hashes=True)
    again = merge_in(folder, RECIPE, output, threads=16, want_data_hash=True, source_hashes=True)
    assert plain.data_sha256 == titled.data_sha256 == hashed.data_sha256
    assert len({plain.sha256, titled.sha256, hashed.sha256}) == 3
    assert again.sha256 == hashed.sha256


def test_file_does_not_depend_on_the_folders_and_names_of_its_output(folder, models, tmp_path):
    there = write_models(tmp_path / "elsewhere", **models)
    merge_in(folder, RECIPE, tmp_path / "one.safetensors")
    merge_in(there, RECIPE, tmp_path / "elsewhere" / "two.tmp")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "elsewhere" / "two.tmp").read_bytes()


def test_source_may_be_overwritten_by_its_own_merge(folder, models, tmp_path):
    there = write_models(tmp_path / "own", **models)
    merge_in(there, RECIPE, tmp_path / "out.tmp")
    for use_mmap in (False, True):
        write_models(there, **models)
        merge_in(there, RECIPE, there / "plain.safetensors", use_mmap=use_mmap)
        assert (there / "plain.safetensors").read_bytes() == (tmp_path / "out.tmp").read_bytes()
