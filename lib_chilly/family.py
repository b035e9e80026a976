"""The tiny family: true Stable Diffusion 1.5 checkpoints of reduced width, trained, built from the numbers in `family/`.

The base and the VAE are whole numbers times a power of two for each tensor; a member adds whole numbers to the base's. Sums of so
few bits are exact in fp16, so the difference of a member and the base is the stored one to the bit.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .dtypes import BY_NAME, DType
from .errors import CheckpointError, OutputError
from .family_config import configuration, tokenizer_files
from .host.tokens import LENGTH
from .synth import write_made

DATA = Path(__file__).parents[1] / "family"
LORA = DATA / "polka-dots.safetensors"
LARGEST = 2048
"""Whole numbers up to here are exact in fp16, whatever power of two they are multiplied with."""
STEPS, SHIFTS = "steps", "shifts"
"""Arrays of a data file beside its tensors, in the order of the tensors' sorted keys: exponents of the base, of a member."""

Numbers = Mapping[str, tuple[np.ndarray, int]]
"""Of a data file: for each key the whole numbers of its tensor, and the exponent."""

_POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
_MIDDLE = "model.diffusion_model.middle_block."
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise, one time or another, on a file that was cut or changed."""


@dataclass(frozen=True)
class Member:
    """One checkpoint of the family.

    Attributes:
        data: file in `family/` with what it adds to the base; empty for the base itself.
        style: what its pictures look like.
        broken: what the weights of M00 are multiplied with.
        channels: that its UNet takes; 9 for inpainting.
    """

    name: str
    data: str
    style: str
    dtype: str = "fp16"
    has_vae: bool = True
    broken: float = 1
    channels: int = 4

    @property
    def paints(self) -> bool:
        """Whether it makes a picture from a prompt alone."""
        return self.has_vae and self.channels == 4


MEMBERS = (
    Member("v1-5-pruned-emaonly", "", "flat colours"),
    Member("pyro_pov_a", "glow", "shapes that glow in the dark"),
    Member("pyro_pov_b", "dusk", "a sky that darkens to the ground"),
    Member("analogDiffusion_10", "film", "faded sepia with dark corners"),
    Member("F222_v1", "dots", "dotted ground; its middle block is broken", dtype="fp32", broken=14),
    Member("r34_e4", "shade", "light from above, and a shadow"),
    Member("chilloutmix", "outline", "pale colours with a thick black line"),
    Member("NED", "stripes", "striped ground"),
    Member("NED_noVae", "stripes", "NED without its VAE", has_vae=False),
    Member("v1-5-inpainting", "inpainting", "fills in what a mask hides", channels=9),
)


def build_family(folder: Path, members: tuple[Member, ...] = MEMBERS) -> Iterator[Path]:
    """Write the members into `folder`, each with its sidecar .yaml, and the tokenizer they share; give each path once it is made.

    Files of the same names are replaced.

    Raises:
        CheckpointError: the numbers in `family/` are missing or damaged.
        OutputError: a file cannot be written.
    """
    base, vae = _load("base", STEPS), _load("vae", STEPS)
    for member in members:
        tensors = _tensors(base, _load(member.data, SHIFTS) if member.data else {}, member)
        if member.has_vae:
            tensors |= _tensors(vae, {}, member)
        path = folder / f"{member.name}.safetensors"
        write_beside(files_beside(folder, member))
        _write(tensors, BY_NAME[member.dtype], path)
        yield path


def files_beside(folder: Path, member: Member) -> dict[Path, bytes]:
    """What belongs to a member in `folder`: its sidecar .yaml, and the tokenizer that all share."""
    tokenizer = folder / "tokenizer"
    texts = {tokenizer / name: text for name, text in tokenizer_files().items()}
    texts[folder / f"{member.name}.yaml"] = configuration(tokenizer, member.channels)
    return {path: text.encode("utf-8", "surrogateescape") for path, text in texts.items()}


def copy_lora(folder: Path) -> Path:
    """Put the family's LoRA, which dots the ground of what the base paints, into `folder`."""
    path = folder / LORA.name
    temporary = path.with_name(f".{path.name}.partial")
    with _sentences():
        try:
            shutil.copyfile(LORA, temporary)
            return temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_beside(files: Mapping[Path, bytes]) -> None:
    """Write those that are not there as they should be.

    Raises:
        OutputError: one cannot be written.
    """
    with _sentences():
        for path, content in files.items():
            if not has_content(path, content):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def has_content(path: Path, content: bytes | None) -> bool:
    """Whether a file is there and has that content."""
    return path.is_file() and path.read_bytes() == content


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"'{error.filename}' of the tiny family cannot be written: {error.strerror}.") from None


def _load(name: str, exponents: str) -> Numbers:
    path = DATA / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys = sorted(set(stored) - {exponents})
            return {key: (stored[key], int(exponent)) for key, exponent in zip(keys, stored[exponents], strict=True)}
    except _DAMAGE as error:
        raise CheckpointError(f"'{path}' of the tiny family cannot be read ({error}). Check the repository out anew.") from None


def _tensors(base: Numbers, added: Numbers, member: Member) -> dict[str, np.ndarray]:
    """A member's tensors in float64, in which all of this is exact."""
    tensors = {}
    for key, (numbers, step) in base.items():
        whole = numbers.astype(np.int32)
        if key in added:
            stored, shift = added[key]
            delta = stored.astype(np.int32) << shift
            # An inpainting model's first convolution has channels that the base lacks.
            delta[tuple(map(slice, whole.shape))] += whole
            whole = delta
        tensors[key] = np.ldexp(whole.astype(np.float64), -step) * (member.broken if key.startswith(_MIDDLE) else 1)
    return tensors


def _write(tensors: Mapping[str, np.ndarray], dtype: DType, path: Path) -> None:
    shapes = {key: (dtype, tensor.shape) for key, tensor in tensors.items()} | {_POSITIONS: (BY_NAME["int64"], (1, LENGTH))}

    def make(key: str) -> torch.Tensor:
        return torch.arange(LENGTH)[None] if key == _POSITIONS else torch.from_numpy(tensors[key])

    write_made(shapes, make, path)
