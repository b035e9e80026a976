"""A state dict as diffusers' modules: built around its tensors, and kept in step with them in place."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from ..architecture import Architecture
from ..diffusers_keys import key_map, name_of
from ..dtypes import BY_TORCH_NAME
from ..errors import CheckpointError
from ..header import TensorInfo, counted, quoted
from ..plan import Plan
from .configs import configs_of
from .tokens import missing

Tensors = Mapping[str, torch.Tensor]
_LOADING = threading.Lock()
"""Two threads that import the same at once may see half of it."""
_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def import_diffusers() -> tuple[Any, Any]:
    """diffusers and transformers, told never to ask the network.

    Raises:
        RecipeError: they are not installed.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise missing(error.name or "diffusers") from None
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return diffusers, transformers


def load_modules() -> None:
    """Load what the modules are made of, which takes seconds the first time; later it takes none."""
    with _LOADING:
        diffusers, transformers = import_diffusers()
        for package, names in ((diffusers, ("UNet2DConditionModel", "AutoencoderKL")), (transformers, ("CLIPTextModel",))):
            for name in names:  # each is loaded when it is asked for
                getattr(package, name)


def shapes_of(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Name in a diffusers folder to shape, of all that a plan's result has."""
    names = key_map(plan.architecture.name)
    shapes: dict[str, tuple[int, ...]] = {}
    for job in plan.jobs:
        info = TensorInfo(job.dtype, job.shape, 0, job.size_bytes)
        shapes |= {name: view(info).shape for name, view in names.places(job.key, info)} if names else {}
    return shapes


class Parts:
    """The modules of one model in float32, in which every 16-bit number is exact.

    Attributes:
        configs: component to its configuration.
        modules: component to its module.

    Raises:
        MergeError: no pictures are made of such a model, or a part of it is missing.
    """

    def __init__(self, architecture: Architecture, tensors: Tensors):
        self.architecture, self.shapes = architecture, _shapes(tensors)
        self._names = key_map(architecture.name)
        named = {name: tensor for key in tensors for name, tensor in self._placed(tensors, key)}
        self.configs = configs_of(
            architecture.name, architecture.title, {name: tuple(part.shape) for name, part in named.items()}
        )
        self.modules = {component: _build(component, config) for component, config in self.configs.items()}
        self._parameters: dict[str, torch.Tensor] = {}
        for component, module in self.modules.items():
            self._fill(component, module, named)

    def fits(self, architecture: Architecture, tensors: Tensors) -> bool:
        """Whether these tensors can take the place of those that the modules were built around."""
        return architecture is self.architecture and _shapes(tensors) == self.shapes

    def follow(self, tensors: Tensors, keys: Collection[str]) -> None:
        """Take over the values of the named keys, into the same parameters."""
        with torch.no_grad():
            for key in keys:
                for name, tensor in self._placed(tensors, key):
                    if name in self._parameters:
                        self._parameters[name].copy_(tensor)
                    elif name.endswith("position_ids"):
                        self._place_positions(name.partition("/")[0], tensor)

    def _placed(self, tensors: Tensors, key: str) -> Iterator[tuple[str, torch.Tensor]]:
        """(name in a diffusers folder, the values as they are there) of one key."""
        tensor = tensors[key]
        if tensor.dtype in _FP8:
            tensor = tensor.to(torch.float32)
            scale = tensors.get(key.removesuffix("weight") + "scale_weight")
            if scale is not None:  # as it is read again: what it stands for, in fp16
                tensor = tensor.mul_(scale).to(torch.float16)
        info = TensorInfo(BY_TORCH_NAME[str(tensor.dtype).removeprefix("torch.")], tuple(tensor.shape), 0, tensor.nbytes)
        for name, view in self._names.places(key, info) if self._names else ():
            yield name, _seen(tensor, view(info))

    def _fill(self, component: str, module: torch.nn.Module, named: Tensors) -> None:
        """Put float32 copies of the tensors in the places of the module's parameters, which have no memory yet."""
        wanted = {name_of(component, key): key for key in module.state_dict() if not key.endswith("position_ids")}
        shapes = {name_of(component, key): tuple(value.shape) for key, value in module.state_dict().items()}
        wrong = [name for name in wanted if name not in named or tuple(named[name].shape) != shapes[name]]
        if wrong:
            found = f"is {tuple(named[wrong[0]].shape)}" if wrong[0] in named else "is missing"
            raise CheckpointError(
                f"{counted(len(wrong), 'tensor')} of the {component} cannot be used for a picture: {quoted(wrong[0])} {found}, "
                f"{shapes[wrong[0]]} is needed. Use a whole model."
            )
        values = {key: named[name].to(torch.float32, copy=True).contiguous() for name, key in wanted.items()}
        module.load_state_dict(values, strict=False, assign=True)
        module.requires_grad_(False).eval()
        filled = module.state_dict(keep_vars=True)
        self._parameters |= {name: filled[key] for name, key in wanted.items()}
        if component.startswith("text_encoder"):
            self._place_positions(component, named.get(f"{component}/text_model.embeddings.position_ids"))

    def _place_positions(self, component: str, stored: torch.Tensor | None) -> None:
        """Give the text encoder its position_ids: the model's own, faulty ones too, since that is how they look."""
        count = self.configs[component]["max_position_embeddings"]
        ids = torch.arange(count) if stored is None else stored.reshape(-1).to(torch.int64, copy=True)
        if ids.numel() != count or not bool(((ids >= 0) & (ids < count)).all()):
            raise CheckpointError("the position_ids of the text encoder are out of range; save(position_ids=rebuild) mends them.")
        for module in self.modules[component].modules():
            if hasattr(module, "position_embedding"):
                module.position_ids = ids.reshape(1, -1)


def _build(component: str, config: dict) -> torch.nn.Module:
    """A module whose parameters have shapes and no memory."""
    diffusers, transformers = import_diffusers()
    try:
        with torch.device("meta"):
            if component.startswith("text_encoder"):
                return getattr(transformers, config["architectures"][0])(transformers.CLIPTextConfig(**config))
            module = diffusers.UNet2DConditionModel if component == "unet" else diffusers.AutoencoderKL
            return module.from_config(config)
    except (ValueError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"the {component} has widths of which diffusers builds no module: {reason}") from None


def _shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in tensors.items()}


def _seen(tensor: torch.Tensor, info: TensorInfo) -> torch.Tensor:
    """The part of a whole tensor that `info` describes."""
    if info.transposed:
        return tensor.T
    start = info.offset // info.dtype.size_bytes
    return tensor.reshape(-1)[start : start + info.elements].reshape(info.shape)
