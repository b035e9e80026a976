"""The tiny family: files of SD 1.5's exact keys, and differences that are the stored ones to the bit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from lib_chilly import family
from lib_chilly.architecture import known_keys
from lib_chilly.errors import CheckpointError, OutputError
from lib_chilly.family import LARGEST, MEMBERS, SHIFTS, build_family
from lib_chilly.family_config import LATENT_SCALE
from training.modules import build_vae, token_ids
from training.pack import difference, fixed, scaled, widened

BY_NAME = {member.name: member for member in MEMBERS}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole family, as a user has it after the first use."""
    folder = tmp_path_factory.mktemp("family")
    assert {path.stem for path in build_family(folder)} == BY_NAME.keys()
    return folder


def tensors_of(built: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(built / f"{name}.safetensors")


@pytest.mark.parametrize("name", [name for name, member in BY_NAME.items() if member.has_vae])
def test_a_member_has_exactly_the_keys_of_sd15(built: Path, name: str):
    with safe_open(built / f"{name}.safetensors", "pt") as file:
        assert set(file.keys()) == set(known_keys("sd1"))


def test_the_member_without_a_vae_lacks_the_vae_and_nothing_else(built: Path):
    missing = tensors_of(built, "NED").keys() - tensors_of(built, "NED_noVae").keys()
    assert missing == {key for key in known_keys("sd1") if key.startswith("first_stage_model.")}


@pytest.mark.parametrize("name", [name for name, member in BY_NAME.items() if member.data and member.broken == 1])
def test_a_member_less_the_base_is_the_stored_difference_to_the_bit(built: Path, name: str):
    base, tensors = tensors_of(built, "v1-5-pruned-emaonly"), tensors_of(built, name)
    with np.load(family.DATA / "base.npz") as numbers:
        steps = dict(zip(sorted(numbers.keys() - {family.STEPS}), numbers[family.STEPS].tolist(), strict=True))
    with np.load(family.DATA / f"{BY_NAME[name].data}.npz") as stored:
        shifts = dict(zip(sorted(stored.keys() - {SHIFTS}), stored[SHIFTS].tolist(), strict=True))
        for key, shift in shifts.items():
            same = base[key].double().numpy()
            found = tensors[key].double().numpy()[tuple(map(slice, same.shape))] - same
            wanted = stored[key].astype(np.int64)[tuple(map(slice, same.shape))]
            assert np.array_equal(found, np.ldexp(wanted << shift, -steps[key])), key
    for key in tensors.keys() - shifts.keys():
        assert torch.equal(tensors[key], base[key]), key


def test_building_twice_gives_the_same_files(built: Path, tmp_path: Path):
    (again,) = build_family(tmp_path, (BY_NAME["NED"],))
    assert again.read_bytes() == (built / again.name).read_bytes()


def test_the_broken_member_is_fp32_and_its_middle_block_alone_is_out_of_proportion(built: Path):
    base, broken = tensors_of(built, "v1-5-pruned-emaonly"), tensors_of(built, "F222_v1")

    def growth(key: str) -> float:
        return float(broken[key].double().norm() / base[key].double().norm())

    grown = {key for key in base if key.endswith("weight") and growth(key) > 5}
    assert {tensor.dtype for tensor in broken.values()} == {torch.float32, torch.int64}
    assert grown == {key for key in base if ".middle_block." in key and key.endswith("weight")}


def test_the_sidecar_is_a_configuration_with_the_absolute_path_of_a_tokenizer_that_is_there(built: Path):
    model = json.loads((built / "v1-5-inpainting.yaml").read_text("utf-8"))["model"]
    version = Path(model["params"]["cond_stage_config"]["params"]["version"])
    assert model["params"]["unet_config"]["params"]["in_channels"] == 9
    assert version.is_absolute() and (version / "vocab.json").is_file()


def test_the_tokenizer_of_the_folder_gives_the_tokens_of_the_previews(built: Path):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(built / "tokenizer", local_files_only=True)
    texts = ["a red circle on blue", "", "Caf\u00e9  (nothing):1.2"]
    found = tokenizer(texts, padding="max_length", max_length=77, truncation=True)["input_ids"]
    assert found == token_ids(texts).tolist()


def _flipped(numbers: bytes) -> bytes:
    """Some bytes of the deflated data are others."""
    middle = len(numbers) // 2
    return numbers[:middle] + bytes(byte ^ 0xFF for byte in numbers[middle : middle + 64]) + numbers[middle + 64 :]


def _without_exponents(numbers: bytes) -> bytes:
    rest = io.BytesIO()
    with np.load(io.BytesIO(numbers)) as stored:
        np.savez(rest, **{key: stored[key] for key in stored if key != family.STEPS})
    return rest.getvalue()


def _with_few_exponents(numbers: bytes) -> bytes:
    rest = io.BytesIO()
    with np.load(io.BytesIO(numbers)) as stored:
        np.savez(rest, **{key: stored[key] if key != family.STEPS else stored[key][1:] for key in stored})
    return rest.getvalue()


@pytest.mark.parametrize(
    "damage", [lambda numbers: b"PK\x03\x04 cut", lambda numbers: b"", _flipped, _without_exponents, _with_few_exponents]
)
def test_damaged_numbers_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Callable[[bytes], bytes]):
    (tmp_path / "base.npz").write_bytes(damage((family.DATA / "base.npz").read_bytes()))
    monkeypatch.setattr(family, "DATA", tmp_path)
    with pytest.raises(CheckpointError, match=r"base\.npz' of the tiny family cannot be read"):
        list(build_family(tmp_path / "out"))


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "tokenizer").write_bytes(b"")
    with pytest.raises(OutputError, match=r"tokenizer' of the tiny family cannot be written: "):
        list(build_family(tmp_path))


@example(1342, 7.0, 1.0)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e3), st.floats(1e-3, 1))
def test_what_is_packed_is_within_a_step_and_stays_exact_in_fp16(seed: int, size: float, drift: float):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(7, 5, generator=generator) * size
    member = base + torch.randn(7, 5, generator=generator) * size * drift
    whole, exponent = fixed(base)
    delta, shift = difference(member, whole, exponent)
    total = whole.astype(np.int64) + (delta.astype(np.int64) << shift)
    assert np.abs(total).max() <= LARGEST
    exact = np.ldexp(total.astype(np.float64), -exponent)
    step, limit = 2.0 ** (shift - exponent), LARGEST * 2.0**-exponent
    assert np.abs(exact - np.clip(member.double().numpy(), -limit, limit)).max() <= 1.01 * step


def test_a_widened_vae_paints_the_same_pictures():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    thin = build_vae()
    wide = AutoencoderKL(**{**thin.config, "block_out_channels": (96, 192, 96, 96)})
    wide.load_state_dict(widened(thin.state_dict()))
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(thin(picture).sample, wide(picture).sample, atol=1e-4)


def test_a_scaled_vae_gives_latents_of_mean_zero_and_spread_one_at_the_standard_factor():
    torch.manual_seed(0)
    plain, other = build_vae(), build_vae()
    picture = torch.rand(4, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = plain.encode(picture).latent_dist.mean
        mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        other.load_state_dict({key: tensor.float() for key, tensor in scaled(plain.state_dict(), mean, spread).items()})
        found = other.encode(picture).latent_dist.mean * LATENT_SCALE
        assert torch.allclose(found.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
        assert torch.allclose(found.std((0, 2, 3)), torch.ones(4), atol=1e-3)
        assert torch.allclose(other.decode(found / LATENT_SCALE).sample, plain.decode(latents).sample, atol=1e-3)
