"""Other mergers' recipes on the command line: as text, as a file's name, and out of a checkpoint's header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from checkpoints import model, write_file, write_models
from reference import read_file

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.cli import main
from lib_chilly.hashes import hash_checkpoints
from lib_chilly.synth import synthesise


def test_imported_recipe_plans_with_its_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    elements = "IN04-IN05:attn2:0.5,NOT BASE IN00-M00:norm:0.25"
    said = {"type": "sd-webui-supermerger", "mode": "Weight sum", "calcmode": "normal", "mbw": False, "base_alpha": 0.1}
    text = json.dumps({**said, "model_a": "A", "model_b": "B", "elemental_merge": elements})
    assert main(["plan", text, "--models", str(tmp_path), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["folded"]["IN04/attn2"] == {"A": 0.5, "B": 0.5} and plan["folded"]["TIME"] == {"A": 0.9, "B": 0.1}
    assert plan["folded"]["OUT05/*norm*"] == {"A": 0.75, "B": 0.25}
    assert "The recipe was read from SuperMerger's metadata." in plan["warnings"]


@pytest.mark.parametrize("name", ["recipe.mecha", "history.csv", "meta.json"])
def test_name_of_a_recipe_file_that_is_missing_is_said(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", name]) == 2
    assert "was not found" in capsys.readouterr().err


def merged_elsewhere(folder: Path, **changes: object) -> Path:
    """A file with the metadata that the webui writes into its merges."""
    hashes = [hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest() for name in "AB"]
    recipe = {
        "type": "webui",
        "primary_model_hash": hashes[0],
        "secondary_model_hash": hashes[1],
        "interp_method": "Weighted sum",
        "multiplier": 0.3,
        "save_as_half": True,
        **changes,
    }
    models = {sha256: {"name": f"{name}.safetensors"} for sha256, name in zip(hashes, "AB", strict=True)}
    metadata = {"sd_merge_recipe": json.dumps(recipe), "sd_merge_models": json.dumps(models)}
    (folder / "elsewhere").mkdir()
    return write_file(folder / "elsewhere" / "M.safetensors", model(3), metadata)


@pytest.mark.parametrize("changes", [{"interp_method": "Magic"}, {"multiplier": "R"}, {"custom_name": "two\nlines"}], ids=str)
def test_bad_recipe_in_a_header_is_said_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
):
    write_models(tmp_path, A=model(1), B=model(2))
    assert main(["plan", "--from", str(merged_elsewhere(tmp_path, **changes)), "--models", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("chilly: 'M.safetensors': this was taken for the webui's metadata: ")
    assert "custom_name" not in changes or "custom_name is one line of text" in said


def test_models_of_another_merger_s_folders_are_found_by_their_last_part_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    write_models(tmp_path, A=model(1), B=model(2))
    merged = merged_elsewhere(tmp_path)
    metadata = {
        name: text.replace("A.safe", "sub/A.safe").replace("B.safe", "far\\\\B.safe")
        for name, text in open_checkpoint(merged).metadata.items()
    }
    write_file(merged, model(3), metadata)
    command = [
        "merge",
        "--from",
        str(merged),
        "--models",
        str(tmp_path),
        "-o",
        str(tmp_path / "again.safetensors"),
        "--overwrite",
    ]
    assert main(command) == 0
    write_models(tmp_path, A=model(4))
    assert main(command) == 2
    assert "'A.safetensors' has the hash" in capsys.readouterr().err
    assert main(["plan", 'mean("sub/A.safetensors", B)', "--models", str(tmp_path)]) == 2
    assert "there is no model 'sub/A.safetensors'" in capsys.readouterr().err


def test_plan_says_which_hashes_are_not_checked_yet_and_refuses_known_ones_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    write_models(tmp_path, A=model(1), B=model(2))
    command = ["plan", 'mean("A.safetensors [00deadbeef]", B)', "--models", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    notes = [note for note in json.loads(capsys.readouterr().out)["warnings"] if "hash" in note]
    assert notes == ["the hash of 'A' is not known yet: it is checked while merging."]
    (known,) = hash_checkpoints([open_checkpoint(tmp_path / "A.safetensors")])
    assert main(command) == 2
    assert f"'A.safetensors' has the hash {known[:10]}, the recipe says 00deadbeef" in capsys.readouterr().err
    assert main(["plan", f'mean("A.safetensors [{known[:10]}]", B)', "--models", str(tmp_path)]) == 0
    assert "note: the hash" not in capsys.readouterr().out


def test_file_of_another_merger_is_made_again_from_its_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    merged = merged_elsewhere(tmp_path)
    again, by_hand = tmp_path / "again.safetensors", tmp_path / "by hand.safetensors"
    assert main(["merge", "--from", str(merged), "--models", str(tmp_path), "-o", str(again)]) == 0
    assert "note: The recipe was read from the webui's metadata." in capsys.readouterr().out
    titles = [
        f'"{name}.safetensors [{hashlib.sha256((tmp_path / f"{name}.safetensors").read_bytes()).hexdigest()[:10]}]"'
        for name in "AB"
    ]
    recipe = f"weighted_sum({titles[0]}, {titles[1]}, alpha=0.3)"
    assert main(["merge", recipe, "--models", str(tmp_path), "-o", str(by_hand)]) == 0
    assert again.read_bytes() == by_hand.read_bytes()


def test_file_of_another_merger_whose_source_has_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    merged = merged_elsewhere(tmp_path)
    write_models(tmp_path, B=model(4))
    assert main(["merge", "--from", str(merged), "--models", str(tmp_path), "-o", str(tmp_path / "out.safetensors")]) == 2
    assert "it is another file than the recipe means" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_file_of_another_merger_with_an_unknown_method_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    merged = merged_elsewhere(tmp_path, interp_method="Sigmoid")
    command = ["merge", "--from", str(merged), "--models", str(tmp_path), "-o", str(tmp_path / "out.safetensors")]
    assert main(command) == 2
    assert "no method here for 'Sigmoid'" in capsys.readouterr().err
    assert main([*command, "--presets", "x.tsv"]) == 2
    assert "leave out RECIPE, --seed, --variants and --presets" in capsys.readouterr().err


def test_file_of_another_merger_is_not_made_of_sources_that_it_does_not_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_models(tmp_path, A=model(1), B=model(2))
    command = [
        "merge",
        "--from",
        str(merged_elsewhere(tmp_path)),
        "--models",
        str(tmp_path),
        "-o",
        str(tmp_path / "o.safetensors"),
    ]
    assert main([*command, "--accept-other-sources"]) == 2
    assert "--accept-other-sources is for files that were made here" in capsys.readouterr().err
    assert not (tmp_path / "o.safetensors").exists()


def test_file_of_another_merger_is_made_again_as_a_diffusers_folder(tmp_path: Path):
    synthesise("sd1", "tiny", tmp_path / "A.safetensors", seed=1)
    synthesise("sd1", "tiny", tmp_path / "B.safetensors", seed=2)
    command = ["merge", "--from", str(merged_elsewhere(tmp_path)), "--models", str(tmp_path)]
    assert main([*command, "-o", str(tmp_path / "folder"), "--format", "diffusers"]) == 0
    assert main([*command, "-o", str(tmp_path / "file.safetensors")]) == 0
    assert (tmp_path / "folder" / "model_index.json").is_file()
    assert main(["merge", '1 * "folder/"', "--models", str(tmp_path), "-o", str(tmp_path / "back.safetensors")]) == 0
    assert read_file(tmp_path / "back.safetensors").items() == read_file(tmp_path / "file.safetensors").items()


SUPERMERGER = {"type": "sd-webui-supermerger", "mode": "Weight sum", "calcmode": "normal", "base_alpha": 0.5, "model_a": "A"}
WEBUI = {"type": "webui", "interp_method": "Weighted sum", "multiplier": 0.3, "primary_model_hash": "A"}
MIXER = "ModelMixer model a: A, ModelMixer use model b: True, ModelMixer merge mode b: Sum, ModelMixer alpha b: 0.5, "
MECHA = 'version 0.1.0\nmodel "A" "sd1" "base"\nmodel "Q" "sd1" "base"\nmerge "weighted_sum" &0 &{}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({**SUPERMERGER, "model_b": "Q"}), "SuperMerger's metadata, model B: there is no model 'Q' in"),
        (
            json.dumps({**SUPERMERGER, "model_b": "B", "mbw": True, "weights_alpha": [0.5] * 6}),
            "SuperMerger's metadata, weights_alpha: a list for SD 1.x has 26 numbers",
        ),
        (
            "1,2024.03.01 12.30.45,A x 0.5 + Q x 0.5,,,,,,0.5,0.25,Weight sum,False",
            "a row of SuperMerger's history, model B: there is no model 'Q'",
        ),
        (json.dumps({**WEBUI, "secondary_model_hash": "Q"}), "the webui's metadata, the secondary model: there is no model 'Q'"),
        (MIXER + "ModelMixer model b: Q", "model-mixer's infotext, model b: there is no model 'Q'"),
        (MECHA.format(1), "sd-mecha's recipe, the model of line 3: there is no model 'Q'"),
        (MECHA.format('0 0.5\nmerge "subtract" &0 &1'), "this was taken for sd-mecha's recipe: line 5: the result"),
    ],
)
def test_mistake_in_another_merger_s_recipe_names_its_field_and_no_text_that_nobody_saw(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_models(tmp_path, A=model(1), B=model(2))
    assert main(["plan", text, "--models", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "column" not in message and "^" not in message and "STEP" not in message
