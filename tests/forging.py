"""Builds torch files for tests: what torch.save writes, and what only a hostile program would."""

from __future__ import annotations

import io
import pickle
import zipfile

import torch


def saved(value: object, **options: object) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def archive(records: dict[str, bytes], root: str = "archive/", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these records below one folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in records.items():
            file.writestr(root + name, data)
    return buffer.getvalue()


def records_of(content: bytes) -> dict[str, bytes]:
    """What `archive` would make `content` of."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of a contiguous copy of `tensor`."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


class Named:
    """Pickles as the name `module.attribute`, whether there is such a thing or not."""

    def __init__(self, module: str, attribute: str):
        self.text = f"c{module}\n{attribute}\n"


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Named, *arguments: object):
        self.function, self.arguments = function, arguments


class FakeStorage:
    """Pickles as torch pickles a storage, with whatever content."""

    def __init__(self, key: object = "0", elements: object = 4, kind: str = "torch FloatStorage", pid: object = None):
        self.pid = ("storage", Named(*kind.split()), key, "cpu", elements) if pid is None else pid


class FakeTensor(Calls):
    """Pickles as torch pickles a tensor, with whatever content."""

    def __init__(
        self,
        shape: object = (4,),
        stride: object = (1,),
        offset: object = 0,
        storage: object = None,
        function: str = "_rebuild_tensor_v2",
        rest: tuple[object, ...] = (False, None),
    ):
        super().__init__(Named("torch._utils", function), storage or FakeStorage(), offset, shape, stride, *rest)


class _Forger(pickle._Pickler):
    dispatch = pickle._Pickler.dispatch.copy()

    def save_named(self, named: Named) -> None:
        self.write(named.text.encode())

    def save_call(self, call: Calls) -> None:
        self.save(call.function)
        self.save(call.arguments)
        self.write(pickle.REDUCE)

    dispatch |= {Named: save_named, Calls: save_call, FakeTensor: save_call}

    def persistent_id(self, thing: object) -> object:
        return thing.pid if isinstance(thing, FakeStorage) else None


def forged(value: object) -> bytes:
    """The pickle of a value made of the classes above."""
    buffer = io.BytesIO()
    _Forger(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def forged_file(value: object, data: bytes = b"\0" * 16) -> bytes:
    """A torch file that holds `value`; `data` is storage 0, and storage 1 is 16 bytes long."""
    return archive({"data.pkl": forged(value), "data/0": data, "data/1": b"\1" * 16})
