"""The pickle inside a .ckpt: nothing it asks for runs, and none of it crashes, starves or changes the reader."""

from __future__ import annotations

import contextlib
import pickle
import time
from pathlib import Path

import pytest
from forging import Calls, FakeStorage, FakeTensor, Named, archive, forged, forged_file, saved

from lib_chilly import torch_names, torch_pickle
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.errors import CheckpointError
from lib_chilly.header import Checkpoint
from lib_chilly.torch_names import IGNORED
from lib_chilly.torch_pickle import read_pickle

SYSTEM = Named("os", "system")
TOUCH = "echo > marker"


def open_bytes(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "model.ckpt"
    path.write_bytes(content)
    return open_checkpoint(path)


def refusal(pickled: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_pickle(pickled, "'x.ckpt'")
    return str(caught.value)


ATTACKS = {
    "os.system": (Calls(SYSTEM, TOUCH), "os.system"),
    "posix.system": (Calls(Named("posix", "system"), TOUCH), "posix.system"),
    "subprocess": (Calls(Named("subprocess", "call"), ["touch", "marker"]), "subprocess.call"),
    "eval": (Calls(Named("builtins", "eval"), "open('marker', 'w')"), "builtins.eval"),
    "eval by its old name": (Calls(Named("__builtin__", "eval"), "open('marker', 'w')"), "__builtin__.eval"),
    "open": (Calls(Named("io", "open"), "marker", "w"), "io.open"),
    "getattr": (Calls(Calls(Named("builtins", "getattr"), Named("os", "sys"), "exit")), "builtins.getattr"),
    "apply": (Calls(Named("functools", "partial"), SYSTEM, TOUCH), "functools.partial"),
    "nested in arguments": (Calls(Named("collections", "OrderedDict"), [["x", Calls(SYSTEM, TOUCH)]]), "os.system"),
    "as the shape of a tensor": (FakeTensor(shape=Calls(SYSTEM, TOUCH)), "os.system"),
    "as the key of a storage": (FakeTensor(storage=FakeStorage(Calls(SYSTEM, TOUCH))), "os.system"),
    "as a key of a dict": ({Named("os", "system"): 1}, "os.system"),
    "torch.load": (Calls(Named("torch", "load"), "marker"), "torch.load"),
    "torch.load of bytes": (
        Calls(Named("torch.storage", "_load_from_bytes"), saved({"x": 1})),
        "torch.storage._load_from_bytes",
    ),
    "pickle.loads of bytes": (Calls(Named("pickle", "loads"), forged(Calls(SYSTEM, TOUCH))), "pickle.loads"),
    "a dotted attribute": (Calls(Named("torch", "os.system"), TOUCH), "torch.os.system"),
    "a tensor's own rebuilder": (
        Calls(Named("torch._tensor", "_rebuild_from_type_v2"), SYSTEM, 1, (TOUCH,), {}),
        "torch._tensor._rebuild_from_type_v2",
    ),
    "a module": (Named("os", "path"), "os.path"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["state_dict", "elsewhere"])
def test_pickle_that_asks_to_run_code_is_refused_by_name_and_runs_nothing(tmp_path: Path, monkeypatch, attack, place):
    monkeypatch.chdir(tmp_path)
    value, name = ATTACKS[attack]
    with pytest.raises(CheckpointError) as caught:
        open_bytes(tmp_path, forged_file({"x": FakeTensor(), place: value}))
    assert f"'model.ckpt' asks to run '{name}', which is not allowed in a checkpoint: nothing was run." in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_attack_would_run_in_an_ordinary_unpickler(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(forged(ATTACKS["os.system"][0]))
    assert Path("marker").exists()


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"\x80\x02(X\x06\0\0\0markerios\nmkdir\n.", id="INST"),
        pytest.param(b"\x80\x02(cos\nmkdir\nX\x06\0\0\0markero.", id="OBJ"),
        pytest.param(b"\x80\x02\x82\x01X\x06\0\0\0marker\x85R.", id="EXT1"),
        pytest.param(b"\x80\x02cos\nmkdir\nX\x06\0\0\0marker\x85\x81.", id="NEWOBJ"),
        pytest.param(b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x06marker\x85R.", id="STACK_GLOBAL"),
        pytest.param(b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x06marker\x85}\x92.", id="NEWOBJ_EX"),
        pytest.param(b"cos\nmkdir\n(S'marker'\ntR.", id="protocol 0"),
        pytest.param(b"\x80\x05\x97\x98.", id="a buffer from outside"),
    ],
)
def test_every_instruction_that_can_call_is_closed(tmp_path: Path, monkeypatch, pickled):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        open_bytes(tmp_path, archive({"data.pkl": pickled}))
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize("name", sorted(torch_names.ALLOWED))
def test_allowed_name_is_never_called_set_or_changed(name):
    module, _, attribute = name.rpartition(".")
    before = {key: repr(value) for key, value in vars(torch_names).items()}
    named = b"c" + f"{module}\n{attribute}\n".encode()
    state = forged({"__code__": 1, "__defaults__": (1,), "__class__": 2})[2:-1]
    for use in (
        named + state + b"b.",
        named + b"N" + state + b"\x86b.",
        named + b")\x81" + state + b"b.",
        named + b")R" + state + b"b.",
    ):
        with contextlib.suppress(CheckpointError):
            read_pickle(b"\x80\x02" + use, "'x.ckpt'")
    assert {key: repr(value) for key, value in vars(torch_names).items()} == before


def test_values_beside_the_tensors_become_plain_data_or_nothing():
    value = {
        "a": 1,
        "b": "text",
        "c": 0.5,
        "d": None,
        "e": (True, -(2**40)),
        "f": [1],
        "g": {2},
        "h": b"x",
        7: "int",
        ("t",): "tuple",
    }
    for protocol in (2, 3, 4, 5):
        found = read_pickle(pickle.dumps(value, protocol), "'x.ckpt'")
        assert found == {
            "a": 1,
            "b": "text",
            "c": 0.5,
            "d": None,
            "e": (True, -(2**40)),
            "f": IGNORED,
            "g": IGNORED,
            "h": IGNORED,
        }


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80", id="cut inside an instruction"),
        pytest.param(b"\x80\x02.", id="no value"),
        pytest.param(b"\x80\x02N", id="no end"),
        pytest.param(b"\x80\x02NX\xff\xff\xff\xff.", id="text longer than the pickle"),
        pytest.param(b"\x80\x04\x8d" + b"\xff" * 8 + b".", id="text of 2**64 bytes"),
        pytest.param(b"\x80\x02X\x01\0\0\0\xff.", id="text that is not UTF-8"),
        pytest.param(b"\x80\x02\x8b\xff\xff\xff\x7f.", id="number longer than the pickle"),
        pytest.param(b"\x80\x02h\x07.", id="unknown memo"),
        pytest.param(b"\x80\x02t.", id="tuple without a mark"),
        pytest.param(b"\x80\x02N\x86.", id="pair of one"),
        pytest.param(b"\x80\x02}(Nu.", id="key without a value"),
        pytest.param(b"\x80\x02N(NNu.", id="item of None"),
        pytest.param(b"\x80\x02N)R.", id="call of None"),
        pytest.param(b"\x80\x02ctorch\nSize\nNR.", id="arguments that are no tuple"),
        pytest.param(b"\x80\x02ctorch\nSize\n)R.", id="arguments too few"),
        pytest.param(b"\x80\x02NQ.", id="storage of None"),
        pytest.param(b"\x80\x02ctorch", id="name without an end"),
        pytest.param(b"\x80\x04NN\x93.", id="name of None"),
        pytest.param(forged(FakeTensor(storage=(1, 2))), id="tensor without a storage"),
        pytest.param(forged(FakeTensor(rest=())), id="tensor with too few arguments"),
        pytest.param(forged(FakeTensor(rest=(None,) * 9)), id="tensor with too many arguments"),
        pytest.param(forged(FakeTensor(function="_rebuild_tensor_v3", rest=(0, 0, "float32"))), id="tensor with text for a type"),
        pytest.param(forged(FakeStorage(key=0)), id="storage with a number for a key"),
        pytest.param(forged(FakeStorage(elements="4")), id="storage with text for a size"),
        pytest.param(forged(FakeStorage(kind="torch Size")), id="storage of sizes"),
        pytest.param(forged(FakeStorage(pid=("module", 1, 2, 3, 4))), id="persistent id that is no storage"),
        pytest.param(forged(Calls(Named("collections", "OrderedDict"), [["x", 1]])), id="ordered dict of a list"),
    ],
)
def test_damaged_pickle_is_refused_in_one_sentence(pickled):
    message = refusal(pickled)
    assert message.startswith("'x.ckpt': its list of tensors (data.pkl) makes no sense at byte ")
    assert message.endswith(". Download it again.")


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.", id="a key of a million nested tuples"),
        pytest.param(b"\x80\x02}X\x01\0\0\0a)" + b"\x85" * 300_000 + b"s.", id="a value of 300 000 nested tuples"),
        pytest.param(b"\x80\x02})" + b"q\x00h\x00\x86" * 100 + b"Ns.", id="a key that takes 2**100 steps to hash"),
        pytest.param(b"\x80\x02Nr\xff\xff\xff\x7f0}.", id="a memo index of 2**31"),
        pytest.param(b"\x80\x02}\x8b\x00\x09\x3d\x00" + b"\x7f" * 4_000_000 + b"0.", id="a number of 32 million bits"),
        pytest.param(b"\x80\x02}" + b"(" * 500_000 + b"1" * 500_000 + b".", id="half a million groups"),
        pytest.param(b"\x80\x02}" + b"}X\x01\0\0\0a" * 200_000 + b"}" + b"s" * 200_000 + b".", id="nested dicts"),
    ],
)
def test_pickle_made_to_crash_or_starve_its_reader_is_read_quickly_or_refused(pickled):
    started = time.perf_counter()
    with contextlib.suppress(CheckpointError):
        read_pickle(pickled, "'x.ckpt'")
    assert time.perf_counter() - started < 10


def test_pickle_of_too_many_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_INSTRUCTIONS", 100)
    assert "has more than 100 instructions" in refusal(b"\x80\x02" + b"N0" * 50)
