"""Read the pickle inside a torch checkpoint as data: an interpreter that knows what torch writes, and can run nothing.

The standard library's Unpickler is not used: even with every class forbidden a hostile file can crash or starve the
process through it (hashing a dict key of a million nested tuples overflows the C stack; one memo index reserves 32 GB).
Here no key but text is ever hashed, nothing is called, and each instruction costs no more than the bytes it reads or pops.
"""

from __future__ import annotations

import pickle  # for the names of its instructions, nothing else
import struct
from collections.abc import Callable

from .errors import CheckpointError
from .header import quoted
from .torch_names import ALLOWED, IGNORED, STORAGES, Meaningless, Name, Storage, value_of_call

MAX_INSTRUCTIONS = 4_000_000  # about 28 for each tensor, so a real checkpoint has some ten thousands


def read_pickle(data: bytes, name: str) -> object:
    """The value of the pickle `data`: dicts with their text keys only, StoredTensor, Storage, text, numbers, tuples, IGNORED.

    Args:
        data: a whole pickle of protocol 2 to 5, as torch.save writes it.
        name: the file's name, quoted, for messages.

    Raises:
        CheckpointError: the pickle asks for something that is not allowed, or is damaged.
    """
    machine = _Machine(data, name)
    try:
        return machine.run()
    except (Meaningless, IndexError, KeyError, UnicodeDecodeError, struct.error):
        raise CheckpointError(
            f"{name}: its list of tensors (data.pkl) makes no sense at byte {machine.position}. Download it again."
        ) from None


class _Machine:
    """A pickle's stack machine."""

    def __init__(self, data: bytes, name: str):
        self.data = data
        self.name = name
        self.position = 0
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(MAX_INSTRUCTIONS):
            code = self.data[self.position]
            self.position += 1
            if code == ord("."):
                return self.stack.pop()
            _INSTRUCTIONS[code](self)
        raise CheckpointError(
            f"{self.name}: its list of tensors (data.pkl) has more than {MAX_INSTRUCTIONS} instructions, no model needs so many. "
            "Use another release."
        )

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise Meaningless
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise Meaningless
        text = self.data[self.position : end].decode()
        self.position = end + 1
        return text

    def pop_to_mark(self) -> list[object]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def put_items(self, items: list[object]) -> None:
        """Set keys and values in the dict on top of the stack."""
        target = self.stack[-1]
        if len(items) % 2 or not (isinstance(target, dict) or target is IGNORED):
            raise Meaningless
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if isinstance(key, str):
                    target[key] = value

    def put_global(self, module: object, attribute: object) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise Meaningless
        name = f"{module}.{attribute}"
        if name not in ALLOWED:
            raise CheckpointError(
                f"{self.name} asks to run {quoted(name)}, which is not allowed in a checkpoint: nothing was run. "
                "Use its safetensors release, or a source that you trust."
            )
        self.stack.append(Name(name))

    def put_result(self) -> None:
        """Replace a name and its arguments by what the call stands for."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Meaningless
        self.stack.append(value_of_call(function.text, arguments))

    def put_storage(self) -> None:
        """Replace a persistent id by the storage that it names."""
        match self.stack.pop():
            case ("storage", Name(text=kind), str(key), _, int(elements)) if kind in STORAGES:
                self.stack.append(Storage(key, STORAGES[kind], elements))
            case _:
                raise Meaningless

    def put_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise Meaningless
        self.stack[-size:] = [tuple(self.stack[-size:])]


def _start_group(machine: _Machine) -> None:
    machine.outer.append(machine.stack)
    machine.stack = []


def _put_tuple(machine: _Machine) -> None:
    items = machine.pop_to_mark()
    machine.stack.append(tuple(items))


def _put_frozenset(machine: _Machine) -> None:
    machine.pop_to_mark()
    machine.stack.append(IGNORED)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.put_items([key, value])


def _put_stack_global(machine: _Machine) -> None:
    attribute, module = machine.stack.pop(), machine.stack.pop()
    machine.put_global(module, attribute)


def _put_new_with_keywords(machine: _Machine) -> None:
    machine.stack.pop()
    machine.put_result()


def _constant(value: object) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _unpacked(layout: str) -> Callable[[_Machine], None]:
    size = struct.calcsize(layout)
    return lambda machine: machine.stack.append(struct.unpack(layout, machine.take(size))[0])


def _text(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.take(machine.number(size)).decode("utf-8", "surrogatepass"))


def _bytes(size: int) -> Callable[[_Machine], None]:
    def instruction(machine: _Machine) -> None:
        machine.take(machine.number(size))
        machine.stack.append(IGNORED)

    return instruction


def _long(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(int.from_bytes(machine.take(machine.number(size)), "little", signed=True))


def _remember(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.memo.__setitem__(machine.number(size), machine.stack[-1])


def _recall(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.memo[machine.number(size)])


_INSTRUCTIONS: dict[int, Callable[[_Machine], object]] = {
    code[0]: instruction
    for code, instruction in (
        (pickle.PROTO, lambda machine: machine.take(1)),
        (pickle.FRAME, lambda machine: machine.take(8)),
        (pickle.MARK, _start_group),
        (pickle.POP, lambda machine: machine.stack.pop()),
        (pickle.POP_MARK, _Machine.pop_to_mark),
        (pickle.NONE, _constant(None)),
        (pickle.NEWTRUE, _constant(True)),
        (pickle.NEWFALSE, _constant(False)),
        (pickle.BININT, _unpacked("<i")),
        (pickle.BININT1, _unpacked("<B")),
        (pickle.BININT2, _unpacked("<H")),
        (pickle.BINFLOAT, _unpacked(">d")),
        (pickle.LONG1, _long(1)),
        (pickle.LONG4, _long(4)),
        (pickle.SHORT_BINUNICODE, _text(1)),
        (pickle.BINUNICODE, _text(4)),
        (pickle.BINUNICODE8, _text(8)),
        (pickle.SHORT_BINBYTES, _bytes(1)),
        (pickle.BINBYTES, _bytes(4)),
        (pickle.BINBYTES8, _bytes(8)),
        (pickle.BYTEARRAY8, _bytes(8)),
        (pickle.EMPTY_TUPLE, _constant(())),
        (pickle.TUPLE1, lambda machine: machine.put_tuple(1)),
        (pickle.TUPLE2, lambda machine: machine.put_tuple(2)),
        (pickle.TUPLE3, lambda machine: machine.put_tuple(3)),
        (pickle.TUPLE, _put_tuple),
        (pickle.EMPTY_LIST, _constant(IGNORED)),
        (pickle.EMPTY_SET, _constant(IGNORED)),
        (pickle.FROZENSET, _put_frozenset),
        (pickle.APPEND, lambda machine: machine.stack.pop()),
        (pickle.APPENDS, _Machine.pop_to_mark),
        (pickle.ADDITEMS, _Machine.pop_to_mark),
        (pickle.EMPTY_DICT, lambda machine: machine.stack.append({})),
        (pickle.SETITEM, _set_item),
        (pickle.SETITEMS, lambda machine: machine.put_items(machine.pop_to_mark())),
        (pickle.BUILD, lambda machine: machine.stack.pop()),
        (pickle.GLOBAL, lambda machine: machine.put_global(machine.line(), machine.line())),
        (pickle.STACK_GLOBAL, _put_stack_global),
        (pickle.REDUCE, _Machine.put_result),
        (pickle.NEWOBJ, _Machine.put_result),
        (pickle.NEWOBJ_EX, _put_new_with_keywords),
        (pickle.BINPERSID, _Machine.put_storage),
        (pickle.BINPUT, _remember(1)),
        (pickle.LONG_BINPUT, _remember(4)),
        (pickle.MEMOIZE, lambda machine: machine.memo.__setitem__(len(machine.memo), machine.stack[-1])),
        (pickle.BINGET, _recall(1)),
        (pickle.LONG_BINGET, _recall(4)),
    )
}
