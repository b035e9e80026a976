"""Bad files, bad values and bad words end in one sentence and exit code 2: no traceback, nothing written, no code run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import (
    BETAS,
    CLIP,
    CONV_IN,
    LANE_OF,
    POSITION_IDS,
    UNET,
    VAE,
    draw,
    model,
    stored,
    tiny,
    write_file,
    write_models,
)
from forging import archive, saved
from reference import Stored, decoded, read_file, rounded

from lib_chilly import cli, hashes, reading

KEY = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
VAE_KEY = VAE + "decoder.conv_in.weight"
RECIPE = "MIX = 0.3 * a + 0.7 * b"
OLD = b"what stood here before"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Merge with the models of tmp_path/models into tmp_path/out/mix.safetensors: (exit code, stdout, stderr)."""
    (tmp_path / "out").mkdir()

    def merge(recipe: str, *more: str) -> tuple[int, str, str]:
        output = tmp_path / "out" / "mix.safetensors"
        code = cli.main(["merge", recipe, "-o", str(output), "--models", str(tmp_path / "models"), "--json", *more])
        return code, *capsys.readouterr()

    return merge


@pytest.fixture
def refused(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[..., str]:
    """What is said of a merge that must be refused, over an old file and without one."""

    def merge(recipe: str, *more: str, lines: int = 1) -> str:
        target = tmp_path / "out" / "mix.safetensors"
        assert run(recipe, *more)[0] == 2
        assert list(target.parent.iterdir()) == []
        target.write_bytes(OLD)
        code, out, error = run(recipe, "--overwrite", *more)
        assert (code, out) == (2, "")
        assert error.startswith("chilly: ") and error.endswith("\n") and error.count("\n") == lines
        assert "Traceback" not in error
        assert list(target.parent.iterdir()) == [target] and target.read_bytes() == OLD
        return error

    return merge


# ---- files that are no checkpoints, or no whole ones ----


def good_bytes(tmp_path: Path) -> bytes:
    return write_file(tmp_path / "good", model(2)).read_bytes()


class Trap:
    """Writes a file when it is unpickled by somebody who trusts it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


BAD_FILES: Mapping[str, tuple[Callable[[Path], bytes], str]] = {
    "cut short": (lambda path: good_bytes(path)[:-100], "is cut short"),
    "cut in the header": (lambda path: good_bytes(path)[:500], "is cut short"),
    "cut in the length": (lambda path: good_bytes(path)[:5], "too few for a checkpoint"),
    "empty": (lambda path: b"", "too few for a checkpoint"),
    "longer": (lambda path: good_bytes(path) + b"\0\0", "belongs to no tensor"),
    "noise": (lambda path: np.random.default_rng(1).bytes(5000), "is no checkpoint, or damaged"),
    "noise as header": (lambda path: struct.pack("<Q", 40) + b"{" + b"\xff" * 5000, "is not UTF-8 text"),
    "giant header": (lambda path: b"\xff" * 8 + b"{}", "is no checkpoint, or damaged"),
    "large header": (lambda path: struct.pack("<Q", 1 << 40) + b"{}", "is no checkpoint, or damaged"),
    "page": (lambda path: b"\n <!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "refusal": (lambda path: b'{"error": "You need to log in"}', "is a JSON text"),
    "pointer": (lambda path: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer"),
    "gguf": (lambda path: b"GGUF" + bytes(100), "is a GGUF file"),
    "zip trap": (lambda path: archive({"data.pkl": pickle.dumps({"state_dict": Trap(path / "sprung")})}), "'bad.safetensors'"),
    "torch trap": (lambda path: saved({"state_dict": {KEY: torch.zeros(2), "x": Trap(path / "sprung")}}), "'bad.safetensors'"),
    "pickle trap": (lambda path: pickle.dumps(Trap(path / "sprung")), "is in the legacy pickle format"),
    "legacy pickle": (
        lambda path: saved({KEY: torch.zeros(2)}, _use_new_zipfile_serialization=False),
        "is in the legacy pickle format",
    ),
    "zip of nothing": (lambda path: archive({"readme.txt": b"hello"}), "'bad.safetensors'"),
    "other keys": (lambda path: write_file(path / "other", {"lora_up.weight": stored([1.0], "fp16")}).read_bytes(), "its 1 key,"),
    "no keys": (lambda path: struct.pack("<Q", 2) + b"{}", "its 0 keys"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_said_in_a_sentence_and_nothing_is_written(tmp_path: Path, refused: Callable[..., str], kind: str):
    make, said = BAD_FILES[kind]
    folder = write_models(tmp_path / "models", a=model(1))
    (folder / "bad.safetensors").write_bytes(make(tmp_path))
    error = refused("0.5 * a + 0.5 * bad")
    assert said in error and "'bad.safetensors'" in error
    assert not (tmp_path / "sprung").exists()


def test_trap_of_these_tests_does_spring_where_code_is_run(tmp_path: Path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("command", ["plan", "inspect"])
def test_bad_file_is_refused_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str):
    folder = write_models(tmp_path / "models")
    (folder / "bad.safetensors").write_bytes(b"<html>")
    what = ["bad", "--models", str(folder)] if command == "plan" else [str(folder / "bad.safetensors")]
    assert cli.main([command, *what]) == 2
    said = "chilly: 'bad.safetensors' is a web page saved under a model's name. Download the model itself.\n"
    assert capsys.readouterr() == ("", said)


# ---- models that do not go together ----


def test_two_architectures_are_refused_by_name(
    tmp_path: Path, refused: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
):
    folder = write_models(tmp_path / "models", a=model(1))
    (folder / "large.safetensors").symlink_to(tiny(tmp_path_factory, "xl", "sdxl"))
    error = refused("0.5 * a + 0.5 * large")
    assert "'a' is SD 1.x, 'large' is SDXL" in error


def test_other_shape_is_refused_with_both_shapes(tmp_path: Path, refused: Callable[..., str]):
    write_models(tmp_path / "models", a=model(1), b=model(2, extras={KEY: stored(draw(2, KEY, (24, 30)), "fp16")}))
    error = refused(RECIPE)
    assert f"'{KEY}'" in error and "'a' has shape (24, 24)" in error and "'b' has (24, 30)" in error


def test_inpainting_and_pix2pix_models_are_refused_together(tmp_path: Path, refused: Callable[..., str]):
    write_models(tmp_path / "models", a=model(1, channels=9), b=model(2, channels=8))
    error = refused(RECIPE)
    assert "'a' is inpainting (9 input channels)" in error and "'b' is pix2pix (8 input channels)" in error


# ---- NaN and Inf ----


def spoilt(tensors: Mapping[str, Stored], key: str, places: Iterable[int], value: float = np.nan) -> dict[str, Stored]:
    """The same tensors with `value` at these places of one of them."""
    old = tensors[key]
    values = decoded(old.data, old.tag, old.shape).astype(np.float64).reshape(-1)
    values[list(places)] = value
    return {**tensors, key: stored(values.reshape(old.shape), {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}[old.tag])}


def places(key: str) -> list[int]:
    """Three elements; in the first convolution one of them is in a channel that only inpainting models have."""
    return [3, 4, 40] if key == CONV_IN else [3, 4, 20]


def buffers(seed: int) -> dict[str, Stored]:
    """What is copied, never merged; position_ids as some mergers leave them."""
    positions = stored(np.arange(77).reshape(1, 77), "fp32" if seed == 1 else "fp16")
    return {BETAS: stored(draw(seed, BETAS, (50,)), "fp32"), POSITION_IDS: positions}


NOT_FINITE = {
    "merged, first": ("a", KEY, RECIPE),
    "merged, second": ("b", KEY, RECIPE),
    "alpha 1": ("b", KEY, "weighted_sum(a, b, alpha={IN04: 1, *: 0.5})"),
    "alpha 0": ("a", KEY, "weighted_sum(a, b, alpha={IN04: 0, *: 0.5})"),
    "alone": ("a", KEY, "1 * a"),
    "schedule buffer": ("a", BETAS, RECIPE),
    "VAE that only one has": ("a", VAE_KEY, "MIX = 0.3 * a + 0.7 * c"),
    "text encoder": ("b", CLIP + "final_layer_norm.bias", RECIPE),
    "first convolution": ("b", CONV_IN, RECIPE),
    "extra channels": ("inpainting", CONV_IN, "inpainting + (b - a)"),
    "position_ids": ("a", POSITION_IDS, RECIPE),
}
"""What is spoilt: (in which model, in which key, recipe)."""


def family() -> dict[str, dict[str, Stored]]:
    return {
        "a": model(1, extras=buffers(1)),
        "b": model(2, extras=buffers(2)),
        "c": model(3, without=["VAE"]),
        "inpainting": model(4, channels=9, extras=buffers(4)),
        "painter": model(5, channels=9, extras=buffers(5)),
    }


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "fp16"), (np.inf, "fp32"), (-np.inf, "bf16")])
@pytest.mark.parametrize("place", NOT_FINITE)
def test_value_that_is_not_finite_stops_the_merge_and_is_named(
    tmp_path: Path, refused: Callable[..., str], place: str, value: float, dtype: str
):
    name, key, recipe = NOT_FINITE[place]
    models = family()
    write_models(tmp_path / "models", **{**models, name: spoilt(models[name], key, places(key), value)})
    error = refused(recipe, "--dtype", dtype)
    assert f"'{name}.safetensors' holds NaN or Inf in 3 values of '{key}'" in error
    assert "--on-nan take:MODEL" in error


def test_scale_that_is_not_finite_is_refused_with_all_its_values(tmp_path: Path, refused: Callable[..., str]):
    scaled = {
        KEY: stored(draw(4, KEY, (24, 24), 90), "fp8_e4m3fn"),
        KEY.replace(".weight", ".scale_weight"): stored(np.float32(np.inf), "fp32"),
    }
    write_models(tmp_path / "models", a=model(1), b=model(2, extras=scaled))
    assert f"'b.safetensors' holds NaN or Inf in 576 values of '{KEY}'" in refused(RECIPE)


def test_value_in_a_lane_that_is_not_read_does_no_harm(tmp_path: Path, run: Callable[..., tuple[int, str, str]]):
    write_models(tmp_path / "models", a=model(1), b=spoilt(model(2), KEY, [3]))
    assert run("weighted_sum(a, b, alpha={IN04: 0, *: 0.5})")[0] == 0


def values_of(path: Path, key: str) -> np.ndarray:
    tensor = read_file(path)[key]
    return decoded(tensor.data, tensor.tag, tensor.shape).reshape(-1)


TAKEN = {
    "merged, first": ("a", KEY, RECIPE, "b"),
    "merged, second": ("b", KEY, RECIPE, "a"),
    "alpha 1": ("b", KEY, "MIX = weighted_sum(a, b, alpha={IN04: 1, *: 0.5})", "a"),
    "alone": ("a", KEY, "MIX = a + 0 * b", "b"),
    "schedule buffer": ("a", BETAS, RECIPE, "b"),
    "position_ids": ("a", POSITION_IDS, RECIPE, "b"),
    "VAE that c lacks": ("a", VAE_KEY, "MIX = a + (c - b)", "b"),
    "first convolution": ("b", CONV_IN, RECIPE, "a"),
    "extra channels": ("painter", CONV_IN, "MIX = 0.5 * inpainting + 0.5 * painter + (b - a)", "inpainting"),
}
"""What is spoilt: (in which model, in which key, recipe, whose values are taken)."""


@pytest.mark.parametrize("place", TAKEN)
def test_take_replaces_exactly_the_values_that_are_not_finite_and_says_how_many(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], place: str
):
    name, key, recipe, taken = TAKEN[place]
    models = family()
    folder = write_models(tmp_path / "models", **models)
    output = tmp_path / "out" / "mix.safetensors"
    assert run(recipe)[0] == 0
    clean = read_file(output)

    write_file(folder / f"{name}.safetensors", spoilt(models[name], key, places(key)))
    code, out, error = run(recipe, "--on-nan", f"take:{taken}", "--overwrite")
    assert (code, error) == (0, "")
    mended = read_file(output)
    expected = clean[key].values.reshape(-1).copy()
    theirs = models[taken][key].values.reshape(-1)[places(key)]
    expected[places(key)] = theirs if key == POSITION_IDS else rounded(theirs, clean[key].tag)
    np.testing.assert_array_equal(mended.pop(key).values.reshape(-1), expected)
    del clean[key]
    assert mended == clean
    facts = json.loads(out)
    if key in LANE_OF and place != "alpha 1":
        assert facts["change"][LANE_OF[key]] is not None
    assert f"NaN or Inf was replaced: 3 values in 1 key, as in '{key}'." in facts["warnings"]
    assert f'on_nan="take:{taken}"' in facts["recipe"]
    assert recipe_in(output) == facts["recipe"]


def recipe_in(path: Path) -> str:
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["chillymerge"])["recipe"]


def test_take_may_stand_in_the_recipe(tmp_path: Path, run: Callable[..., tuple[int, str, str]]):
    write_models(tmp_path / "models", a=model(1), b=spoilt(model(2), KEY, [3]))
    output = tmp_path / "out" / "mix.safetensors"
    assert run(RECIPE, "--on-nan", "take:a")[0] == 0
    by_option = output.read_bytes()
    assert run(f'{RECIPE}\nsave(on_nan="take:a")', "--overwrite")[0] == 0
    assert output.read_bytes() == by_option


@pytest.mark.parametrize(("key", "both"), [(KEY, True), (BETAS, True), (POSITION_IDS, True), (KEY, False), (BETAS, False)])
def test_take_of_a_model_that_is_not_finite_there_itself_is_refused(
    tmp_path: Path, refused: Callable[..., str], key: str, both: bool
):
    """Also where it is the only one with the fault."""
    models = family()
    a = spoilt(models["a"], key, [3, 4]) if both else models["a"]
    recipe = RECIPE if key == KEY or both else "MIX = 0.3 * b + 0.7 * a"
    write_models(tmp_path / "models", a=a, b=spoilt(models["b"], key, [4, 5]))
    error = refused(recipe, "--on-nan", "take:b")
    assert f"'b.safetensors' holds NaN or Inf in 2 values of '{key}'" in error


@pytest.mark.parametrize("shape", [(30,), (60,)])
def test_take_of_a_buffer_of_another_length_is_refused(tmp_path: Path, refused: Callable[..., str], shape: tuple[int, ...]):
    models = family()
    other = {**models["b"], BETAS: stored(draw(2, BETAS, shape), "fp32")}
    write_models(tmp_path / "models", a=spoilt(models["a"], BETAS, [3]), b=other)
    error = refused(RECIPE, "--on-nan", "take:b")
    assert f"'{BETAS}'" in error and "'b'" in error


def test_take_of_a_model_without_the_key_is_refused(tmp_path: Path, refused: Callable[..., str]):
    models = family()
    write_models(tmp_path / "models", a=spoilt(models["a"], VAE_KEY, [3]), c=models["c"])
    error = refused("0.5 * a + 0.5 * c", "--on-nan", "take:c")
    assert f"'c' has no '{VAE_KEY}' to replace what is not finite there" in error


def test_take_of_a_model_without_the_extra_channels_is_refused(tmp_path: Path, refused: Callable[..., str]):
    models = family()
    write_models(tmp_path / "models", **{**models, "painter": spoilt(models["painter"], CONV_IN, [40])})
    error = refused("0.5 * inpainting + 0.5 * painter + (b - a)", "--on-nan", "take:a")
    assert f"'painter.safetensors' holds NaN or Inf in 1 value of '{CONV_IN}'" in error


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("take:nobody", "on_nan takes 'nobody', which is no model of this recipe: a, b."),
        ("take:", "on_nan takes '', which is no model of this recipe: a, b."),
        ("skip", "save option 'on_nan' is 'stop' or 'take:MODEL'; here it is 'skip'."),
    ],
)
def test_on_nan_of_something_else_is_refused(tmp_path: Path, refused: Callable[..., str], value: str, said: str):
    write_models(tmp_path / "models", a=model(1), b=model(2))
    assert said in refused(RECIPE, "--on-nan", value)


# ---- sources that change while they are read ----


def on_first_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Do something when the pass reads its first values."""
    real, done = reading.Reader.read, []

    def read(*arguments: object) -> object:
        values = real(*arguments)  # type: ignore[arg-type]
        if not done:
            done.append(change())
        return values

    monkeypatch.setattr(reading.Reader, "read", read)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def append_and_turn_back_the_clock(path: Path) -> None:
    status = path.stat()
    append(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("change", [append, append_and_turn_back_the_clock, touch, rewrite, cut_in_half])
@pytest.mark.parametrize("mapped", [[], ["--mmap"]], ids=["read", "mapped"])
def test_source_that_changes_during_the_pass_is_refused(
    tmp_path: Path,
    run: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    mapped: list[str],
):
    folder = write_models(tmp_path / "models", a=model(1), b=model(2))
    if mapped and change in (cut_in_half, rewrite):
        change = append  # a mapped file that is cut short kills the process, as --mmap's help says
    on_first_read(monkeypatch, lambda: change(folder / "b.safetensors"))
    code, out, error = run(RECIPE, *mapped)
    assert (code, out) == (2, "") and error.count("\n") == 1
    assert "'b.safetensors' " in error and ("changed while it was read" in error or "cut short while it was read" in error)
    assert list((tmp_path / "out").iterdir()) == []


def test_source_that_is_replaced_during_the_pass_is_read_to_its_end(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
):
    folder = write_models(tmp_path / "models", a=model(1), b=model(2))
    output = tmp_path / "out" / "mix.safetensors"
    assert run(RECIPE)[0] == 0
    expected = output.read_bytes()
    new = write_file(tmp_path / "new", model(3))
    on_first_read(monkeypatch, lambda: new.replace(folder / "b.safetensors"))
    assert run(RECIPE, "--overwrite")[0] == 0
    assert output.read_bytes() == expected


def test_source_that_changes_while_it_is_hashed_is_refused_and_not_remembered(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
):
    folder = write_models(tmp_path / "models", a=model(1), b=model(2))
    source, other = folder / "b.safetensors", write_file(tmp_path / "other", model(3)).read_bytes()
    before, status = source.read_bytes(), source.stat()
    assert len(before) == len(other)
    real = hashes.hash_file

    def change_then_hash(path: Path, *more: object) -> str:
        if path == source:
            source.write_bytes(other)
        return real(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(hashes, "hash_file", change_then_hash)
    code, _, error = run(RECIPE)
    assert code == 2 and "'b.safetensors' changed while it was read" in error
    monkeypatch.setattr(hashes, "hash_file", real)
    source.write_bytes(before)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    code, _, error = run(RECIPE)
    assert (code, error) == (0, "")
    content = (tmp_path / "out" / "mix.safetensors").read_bytes()
    assert hashlib.sha256(before).hexdigest().encode() in content
    assert hashlib.sha256(other).hexdigest().encode() not in content


# ---- names ----


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Models `a` and `b`, `sub/twin` and `other/twin`, and a secret outside the folder."""
    folder = write_models(tmp_path / "models", a=model(1), b=model(2))
    for name in ("sub/twin", "other/twin"):
        (folder / name).parent.mkdir()
        write_file(folder / f"{name}.safetensors", model(3, only=[KEY]))
    write_models(tmp_path / "outside", secret=model(4, only=[KEY]))
    return folder


def excerpt(recipe: str, word: str) -> str:
    """How a mistake at `word` is shown below its sentence."""
    return f"\n  {recipe}\n  {' ' * recipe.index(word)}^\n"


@pytest.mark.parametrize(
    ("recipe", "word", "said"),
    [
        ("0.5 * a + 0.5 * qqq", "qqq", "there is no model 'qqq' in '{folder}'"),
        ("0.5 * a + 0.5 * twjn", "twjn", "Did you mean 'other/twin'?"),
        ("0.5 * a + 0.5 * A", "A", "Did you mean 'a'?"),
        (
            "0.5 * a + 0.5 * twin",
            "twin",
            "'twin' fits 2 files: '{folder}/other/twin.safetensors', '{folder}/sub/twin.safetensors'",
        ),
        ("a + a-b", "a-b", "there is no model 'a-b'; a minus between operands has spaces around it: 'a - b'."),
        ('a + (b - "../outside/secret")', '"../', "there is no model '../outside/secret' in '{folder}'"),
        ('a + (b - "{outside}/secret.safetensors")', '"{outside}', "there is no model '{outside}/secret.safetensors' in"),
        ('a + (b - "sub/../a")', '"sub', "there is no model 'sub/../a' in"),
    ],
)
def test_name_that_fits_no_file_or_two_is_shown_at_its_place(
    tmp_path: Path, library: Path, refused: Callable[..., str], recipe: str, word: str, said: str
):
    places = {"{folder}": str(library), "{outside}": str(tmp_path / "outside")}
    for mark, path in places.items():
        recipe, word, said = (text.replace(mark, path) for text in (recipe, word, said))
    error = refused(recipe, lines=3)
    assert said in error
    assert f"line 1, column {recipe.index(word) + 1}: " in error
    assert error.endswith(excerpt(recipe, word))


def test_models_folder_that_is_not_there_is_said(tmp_path: Path, refused: Callable[..., str]):
    assert f"the models folder '{tmp_path / 'models'}' does not exist" in refused(RECIPE)


def test_webui_title_with_the_right_hash_is_taken_and_a_wrong_one_refused(
    tmp_path: Path, library: Path, run: Callable[..., tuple[int, str, str]]
):
    right = hashlib.sha256((library / "b.safetensors").read_bytes()).hexdigest()[:10]
    title = '0.5 * a + 0.5 * "b.safetensors [{}]"'
    for more in ([], ["--no-source-hashes"]):
        code, out, error = run(title.format("0123456789"), *more)
        assert (code, out) == (2, "") and error.count("\n") == 1
        assert f"'b.safetensors' has the hash {right}, the recipe says 0123456789" in error
        assert list((tmp_path / "out").iterdir()) == []
        code, out, error = run(title.format(right), "--overwrite", *more)
        assert (code, error) == (0, "")
        (tmp_path / "out" / "mix.safetensors").unlink()


def test_two_titles_of_one_file_with_two_hashes_are_refused(library: Path, refused: Callable[..., str]):
    right = hashlib.sha256((library / "b.safetensors").read_bytes()).hexdigest()[:10]
    recipe = f'0.5 * "b [{"0" * 10}]" + 0.5 * "b.safetensors [{right}]"'
    assert f"'b' has two hashes in this recipe, 0000000000 and {right}" in refused(recipe, lines=3)


# ---- options and recipes ----


@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        (RECIPE, ["--device", "cuda"], "--device cuda: torch here has no GPU it can use"),
        (RECIPE, ["--step", "MAX"], "there is no step 'MAX'"),
        (RECIPE + '\nsave(vae="nobody")', [], "save option 'vae': there is no model 'nobody' in"),
        (
            RECIPE + "\nsave(dtype=fp8)",
            [],
            "save option 'dtype' is one of fp16, bf16, fp32, source, fp8_e4m3fn, fp8_scaled;",
        ),
        (
            RECIPE + "\nsave(vae_dtype=fp8_scaled)",
            [],
            "save option 'vae_dtype' is one of fp16, bf16, fp32, source, fp8_e4m3fn;",
        ),
        (RECIPE, ["--title", "two\nlines"], "the option title takes one line of text, no control characters; here it is 'two"),
        (RECIPE + "\nsave(compute=fp16)", [], "save option 'compute' is one of float32, float64; here it is 'fp16'"),
        (RECIPE + "\nsave(position_ids=new)", [], "save option 'position_ids' is one of keep, rebuild; here it is 'new'"),
        (RECIPE + "\nsave(ema=maybe)", [], "save option 'ema'"),
    ],
)
def test_option_that_cannot_be_had_is_refused_in_a_sentence(
    library: Path, refused: Callable[..., str], recipe: str, more: list[str], said: str
):
    assert said in refused(recipe, *more).split("\n")[0]
