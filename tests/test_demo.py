"""The demo makes its sources and two results from nothing, runs again, and never writes over what it did not make."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reference import read_file
from safetensors import safe_open

from lib_chilly import cli, demo, demo_models
from lib_chilly.demo import RESULTS, run_demo
from lib_chilly.demo_models import FULL_MODELS
from lib_chilly.errors import Interrupted, OutputError

NAMES = {
    "v1-5-pruned-emaonly",
    "pyro_pov_a",
    "pyro_pov_b",
    "analogDiffusion_10",
    "F222_v1",
    "r34_e4",
    "chilloutmix",
    "NED",
    "NED_noVae",
}
FAMILY = NAMES | {"v1-5-inpainting"}
BASE, BLOCKS = "ChillyMixBaseV0.safetensors", "ChillyMixBase_V1-NED.safetensors"
Run = Callable[..., str]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path_factory.getbasetemp() / "demo-home"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the demo has run once, and what it said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHILLY_HOME", str(tmp_path_factory.getbasetemp() / "demo-home"))
        folder = tmp_path_factory.mktemp("demo")
        said: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        run_demo(folder, False, 2, lambda: False, pictures=False)
    return folder, "\n".join(said)


@pytest.fixture
def folder(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder, to do with as one likes."""
    return Path(shutil.copytree(made[0], tmp_path / "demo"))


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the demo once more: what it said."""

    def again(should_stop: Callable[[], bool] = lambda: False) -> str:
        run_demo(folder, False, 1, should_stop, pictures=False)
        return capsys.readouterr().out

    return again


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file()}


def models(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {name: state for name, state in files(folder / "models").items() if name.endswith(".safetensors")}


def test_demo_makes_the_family_and_two_results_and_nothing_else(made: tuple[Path, str]):
    folder, _ = made
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    sources = {f"models/{name}.{suffix}" for name in FAMILY for suffix in ("safetensors", "yaml")}
    tokenizer = {f"models/tokenizer/{name}" for name in ("config.json", "merges.txt", "tokenizer_config.json", "vocab.json")}
    results = {f"out/{Path(name).stem}.{suffix}" for name in (BASE, BLOCKS) for suffix in ("safetensors", "yaml")}
    assert found == sources | tokenizer | results | {"lora/polka-dots.safetensors", ".chilly-demo.json"}


@pytest.mark.parametrize("name", [BASE, BLOCKS])
def test_result_of_the_demo_opens_as_fp16_with_every_key_of_its_sources(made: tuple[Path, str], name: str):
    path = made[0] / "out" / name
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
        title = json.loads(file.metadata()["chillymerge"])["recipe"].splitlines()[-1]
        assert all(bool(file.get_tensor(key).isfinite().all()) for key in keys)
    assert set(keys) == set(read_file(made[0] / "models" / "v1-5-pruned-emaonly.safetensors"))
    assert f"title={name.removesuffix('.safetensors')}" in title
    assert {tensor.tag for tensor in read_file(path).values()} == {"F16", "I64"}


def test_block_merge_of_the_demo_has_ned_s_input_blocks_and_the_base_s_output_blocks(made: tuple[Path, str]):
    folder, _ = made
    blocks, base = (read_file(folder / "out" / name) for name in (BLOCKS, BASE))
    ned = read_file(folder / "models" / "NED.safetensors")
    assert blocks != base
    for key, tensor in blocks.items():
        taken = base if ".output_blocks." in key or key.startswith("model.diffusion_model.out.") else ned
        assert tensor.data == taken[key].data, key


def test_demo_says_the_card_and_what_it_folds_to(made: tuple[Path, str]):
    _, said = made
    assert "pyro_pov_a + pyro_pov_b = pyAB" in said
    for term in (
        "0.605625 * analogDiffusion_10",
        "0.0534375 * pyro_pov_a",
        "0.0534375 * pyro_pov_b",
        "- 0.7125 * v1-5-pruned-emaonly",
        "0.75 * F222_v1",
        "0.25 * r34_e4",
        "1 * NED",
    ):
        assert term in said
    for name in (BASE, BLOCKS):
        assert f"=== {name.removesuffix('.safetensors')}" in said


def test_demo_s_table_of_models_is_the_card_s():
    assert {row.name for row in FULL_MODELS} == NAMES
    assert set(RESULTS.values()) == {BASE, BLOCKS}
    assert [row.base for row in FULL_MODELS if row.base not in {None, *(row.name for row in FULL_MODELS)}] == []


def test_second_run_reuses_the_sources_and_writes_the_same_results_anew(folder: Path, run: Run):
    run()  # a copied folder's configs are written anew
    sources, results = files(folder / "models"), files(folder / "out")
    said = run()
    assert said.count("reuse ") == len(FAMILY) and "make  " not in said
    assert files(folder / "models") == sources
    again = files(folder / "out")
    assert {name: content for name, (_, content) in again.items()} == {name: content for name, (_, content) in results.items()}
    assert all(again[name][0] > results[name][0] for name in (BASE, BLOCKS))


def test_source_that_is_missing_is_made_again_with_the_same_bytes(folder: Path, run: Run):
    path = folder / "models" / "NED.safetensors"
    before = path.read_bytes()
    path.unlink()
    said = run()
    assert said.count("make  ") == 1 and f"make  {path}" in said
    assert path.read_bytes() == before


def test_sources_older_than_the_family_s_numbers_are_made_anew(folder: Path, run: Run):
    before = models(folder)
    path, record = folder / "models" / "NED.safetensors", folder / ".chilly-demo.json"
    os.utime(path, ns=(0, 0))
    said = json.loads(record.read_text("utf-8"))
    said["models/NED.safetensors"][1] = 0
    record.write_text(json.dumps(said), "utf-8")
    assert run().count("make  ") == 1
    assert {name: content for name, (_, content) in models(folder).items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_in_a_folder_that_was_moved_the_configs_name_the_tokenizer_that_is_there(folder: Path, tmp_path: Path):
    moved = folder.rename(tmp_path / "moved \u00e9 \U0001f600")
    run_demo(moved, False, 1, lambda: False, pictures=False)
    for path in (moved / "models" / "NED.yaml", moved / "out" / BASE.replace(".safetensors", ".yaml")):
        params = json.loads(path.read_bytes())["model"]["params"]
        assert params["cond_stage_config"]["params"]["version"] == str(moved / "models" / "tokenizer")


@pytest.mark.parametrize("name", ["models/NED.yaml", "models/tokenizer/vocab.json", "out/ChillyMixBaseV0.yaml"])
def test_small_file_of_somebody_else_s_is_refused_and_stays(folder: Path, run: Run, name: str):
    (folder / "models" / "NED.safetensors").unlink()
    path = folder / name
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="was not made by the demo, or changed since"):
        run()
    assert path.read_bytes() == b"mine"


def test_small_file_that_no_record_names_is_no_stranger_when_it_is_as_it_would_be_made(folder: Path, run: Run):
    run()
    (folder / "models" / "NED.safetensors").unlink()
    record = folder / ".chilly-demo.json"
    said = json.loads(record.read_text("utf-8"))
    kept = {name: state for name, state in said.items() if name.endswith(".safetensors")}
    assert len(kept) < len(said)
    record.write_text(json.dumps(kept), "utf-8")
    assert run().count("make  ") == 1


def test_model_of_true_size_does_not_keep_the_tiny_one_s_config(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("synthesise", "synthesise_near"):
        monkeypatch.setattr(
            demo_models, name, lambda *given, **_: next(iter(p for p in given[::-1] if isinstance(p, Path))).touch()
        )
    demo_models.make_models(folder / "models", True, demo_models.Manifest(folder), lambda: False)
    assert {path.stem for path in (folder / "models").glob("*.yaml")} == FAMILY - NAMES


def test_file_of_the_user_s_under_a_source_s_name_is_used_and_never_written_over(folder: Path, run: Run):
    path = folder / "models" / "r34_e4.safetensors"
    mine = (folder / "models" / "chilloutmix.safetensors").read_bytes()
    path.write_bytes(mine)
    before = (folder / "out" / BASE).read_bytes()
    said = run()
    assert f"reuse {path}" in said
    assert path.read_bytes() == mine
    assert (folder / "out" / BASE).read_bytes() != before


@pytest.mark.parametrize("is_changed_result", [True, False], ids=["changed since", "never ours"])
def test_file_of_somebody_else_s_in_the_place_of_a_result_is_refused_and_stays(folder: Path, run: Run, is_changed_result: bool):
    path = folder / "out" / BLOCKS
    content = path.read_bytes() + b"\0" if is_changed_result else b"my own merge"
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(OutputError, match="was not made by the demo, or changed since"):
        run()
    assert path.read_bytes() == content
    assert sorted(other.name for other in (folder / "out").glob("*.safetensors")) == [BASE, BLOCKS]


@pytest.mark.parametrize("lie", ["no JSON", "[1]", '{"out/ChillyMixBaseV0.safetensors": 5}', "\udcff"])
def test_record_that_lies_is_believed_in_nothing(folder: Path, run: Run, lie: str):
    (folder / ".chilly-demo.json").write_bytes(lie.encode("utf-8", "surrogateescape"))
    with pytest.raises(OutputError, match="was not made by the demo"):
        run()


def test_demo_that_is_stopped_keeps_whole_models_for_the_next_run(folder: Path, run: Run):
    shutil.rmtree(folder)
    folder.mkdir()
    asked = []

    def after_three() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Interrupted):
        run(after_three)
    kept = models(folder)
    assert len(kept) == 4
    run()
    assert {name: models(folder)[name] for name in kept} == kept
    assert len(models(folder)) == len(FAMILY)


def test_full_demo_without_room_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=demo.FULL_BYTES - 1))
    monkeypatch.setattr(demo_models, "synthesise", lambda *_, **__: pytest.fail("a model was made"))
    with pytest.raises(OutputError, match=f"{demo.FULL_BYTES:,} bytes are needed"):
        run_demo(tmp_path / "demo", True, 1, lambda: False)
    assert not (tmp_path / "demo").exists()


def test_demo_without_the_packages_of_previews_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert cli.main(["demo", "--no-page", "--dir", str(tmp_path / "demo")]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1) and "previews need diffusers" in error
    assert not (tmp_path / "demo").exists()


def test_demo_with_a_pillow_that_cannot_draw_its_sheet_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("PIL.__version__", "9.5.0")
    with pytest.raises(OutputError, match=r"Pillow 10\.1 or newer, and 9\.5\.0 is installed"):
        run_demo(tmp_path / "demo", False, 1, lambda: False)
    assert not (tmp_path / "demo").exists()


def test_demo_in_a_folder_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_bytes(b"")
    assert cli.main(["demo", "--no-page", "--dir", str(tmp_path / "file" / "demo")]) == 2
    assert capsys.readouterr() == ("", f"chilly: the folder '{tmp_path}/file/demo/models' cannot be made: Not a directory.\n")


def test_demo_is_a_command(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["demo", "--no-page", "--no-pictures", "--threads", "2", "--dir", str(folder)]) == 0
    out, error = capsys.readouterr()
    assert out.count("reuse ") == len(FAMILY) and error == ""
