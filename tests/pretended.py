"""A GPU that is not there: its tensors are computed on the processor, and stumble over what would fail on a real one.

Tensors of both places do not mix, and its arithmetic is CUDA's where IEEE 754 leaves room: a division by a plain number
multiplies by the reciprocal, of two zeros the larger is +0 and the smaller -0, sums run the other way round, powers and angles
are a last place off, singular vectors point the other way. What a kernel may contract to one operation is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

AWAY = torch.device("ipu", 0)
"""A kind of device that no machine here has."""

_CARRIES = ("_to_copy", "copy_")
_CONTRACTED = ("addcmul", "addcdiv", "lerp", "addmm", "addmv", "addr", "baddbmm")
_LOOKS = ("searchsorted", "contiguous", "copy_", "nonzero", "__invert__")
_APPROXIMATE = ("pow", "exp", "log", "sin", "cos", "atan2", "_log_softmax", "_softmax", "log_softmax")


class Away(torch.Tensor):
    """A tensor on the GPU; its values are in `here`."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Away:
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=AWAY
        )
        made.here = here
        return made

    def __init__(self, here: torch.Tensor):
        pass

    # What torch does in C++ with a device that it knows nothing of.
    def tolist(self) -> Any:
        return self.here.tolist()

    def __int__(self) -> int:
        return int(self.here)

    def new_tensor(self, values: Any, dtype: torch.dtype | None = None) -> Away:
        return Away(self.here.new_tensor(values, dtype=dtype))

    def __getitem__(self, index: Any) -> Away:
        return Away(self.here[_here(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.here[_here(index)] = _here(value)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called where there is no GPU")


@contextmanager
def pretended() -> Iterator[None]:
    """While this is entered, AWAY is a device like any other."""
    with _Making(), _Computing():
        yield


class _Making(TorchFunctionMode):
    """What looks for its device in C++; what leaves torch must be on the processor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == AWAY:
            return Away(torch.tensor(*args, **kwargs | {"device": "cpu"}))
        if getattr(func, "__name__", "") in _LOOKS and isinstance(args[0], Away):
            made = func(*_here(args), **_here(kwargs))
            return args[0] if made is args[0].here else Away(made)
        assert func is not torch.Tensor.numpy or not isinstance(args[0], Away), "numpy reads the GPU's memory"
        return func(*args, **kwargs)


class _Computing(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        found = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
        away = {id(each.here): each for each in found if isinstance(each, Away)}
        if away and name not in _CARRIES:
            strangers = [each for each in found if not isinstance(each, Away) and each.dim()]
            assert not strangers, f"{func} mixes the GPU's tensors with the processor's"
        asked = kwargs.get("device")
        is_away = asked == AWAY if asked is not None else bool(away)
        if asked == AWAY:
            kwargs["device"] = torch.device("cpu")
        args, kwargs = _here((args, kwargs))
        made = _computed(func, name, args, kwargs) if away else func(*args, **kwargs)

        def placed(each: Any) -> Any:
            if not isinstance(each, torch.Tensor):
                return each
            return away[id(each)] if id(each) in away else Away(each) if is_away else each

        return tree_map(placed, made)


def _here(values: Any) -> Any:
    return tree_map(lambda each: each.here if isinstance(each, Away) else each, values)


def _computed(func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """What CUDA would make of it."""
    plain = name.rstrip("_")
    assert plain not in _CONTRACTED and kwargs.get("alpha", 1) == 1, f"{func} may be contracted to one operation"
    if plain == "div" and not isinstance(args[1], torch.Tensor) and args[0].is_floating_point():
        return getattr(args[0], name.replace("div", "mul"))(torch.ones((), dtype=args[0].dtype) / args[1])
    if plain in _EXTREMES and args[0].is_floating_point():
        found = _EXTREMES[plain](*args, **{end: kwargs[end] for end in ("min", "max") if end in kwargs})
        target = kwargs.get("out", args[0] if name.endswith("_") else None)
        return found if target is None else target.copy_(found)
    if plain == "sum":
        args = args[0].flip(args[1] if len(args) > 1 and args[1] else list(range(args[0].dim()))), *args[1:]
    if plain in ("dot", "mm"):
        args = args[0].flip(-1), args[1].flip(0)
    made = func(*args, **kwargs)
    is_square = plain == "pow" and args[1] in (0, 1, 2)
    if plain in _APPROXIMATE and not is_square and made.is_floating_point():
        made.copy_(torch.where(made.abs() > 0, torch.nextafter(made, torch.zeros_like(made)), made))
    if plain == "_linalg_eigh":
        made[1].neg_()
    return tuple(-each for each in made) if plain == "linalg_qr" else made


def _larger(one: torch.Tensor, other: Any) -> torch.Tensor:
    other = torch.as_tensor(other, dtype=one.dtype)
    zero = torch.where(one.signbit() & other.signbit(), -0.0, 0.0).to(one.dtype)
    return torch.where((one == 0) & (other == 0), zero, torch.maximum(one, other))


def _smaller(one: torch.Tensor, other: Any) -> torch.Tensor:
    return -_larger(-one, -torch.as_tensor(other, dtype=one.dtype))


def _clamped(values: torch.Tensor, min: Any = None, max: Any = None) -> torch.Tensor:
    values = values if min is None else _larger(values, min)
    return values.clone() if max is None else _smaller(values, max)


_EXTREMES = {"maximum": _larger, "minimum": _smaller, "clamp": _clamped, "clamp_min": _larger, "clamp_max": _smaller}
