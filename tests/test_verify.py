"""A file is what its header says, or it is said which tensors are not, or why nobody can know."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from checkpoints import KEYS, metadata_of, model, stored, write_file, write_models
from reference import Stored, read_file
from test_schemas import faults, schema

from lib_chilly import recorded_library
from lib_chilly.errors import Interrupted
from lib_chilly.header import Checkpoint
from lib_chilly.verification import verify
from lib_chilly.verified_tensors import Verification

Run = Callable[..., tuple[int, str, str]]
RECIPE = "M = weighted_sum(a, b, alpha={*: 0.3, OUT*: 0.6})\nN = M + 0.5 * (a - c)"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models", a=model(1), b=model(2, "fp32"), c=model(3, "bf16", without=["VAE"]))


@pytest.fixture
def merged(run: Run, models: Path, tmp_path: Path) -> Path:
    output = tmp_path / "merged.safetensors"
    assert run("merge", RECIPE, "--models", models, "-o", output)[0] == 0
    return output


def with_metadata(path: Path, **changes: object) -> Path:
    """The file with our record changed; None takes an entry out."""
    record = {**json.loads(metadata_of(path)["chillymerge"]), **changes}
    return write_file(path, read_file(path), {"chillymerge": json.dumps(record)})


@pytest.mark.parametrize("options", [[], ["--dtype", "fp8_scaled"], ["--dtype", "fp32"]], ids=["fp16", "fp8", "fp32"])
def test_file_as_it_was_written_is_confirmed(run: Run, models: Path, tmp_path: Path, options: list[str]):
    output = tmp_path / "out.safetensors"
    assert run("merge", RECIPE, "--models", models, "-o", output, *options)[0] == 0
    code, out, error = run("verify", output, "--models", models, "--json")
    facts = json.loads(out)
    assert (code, error, facts["verdict"], facts["says"]) == (0, "", "same", [])
    assert facts["tensors"] == len(read_file(output)) and list(faults(facts, schema("verify"))) == []
    assert "all of its" in run("verify", output, "--models", models)[1]


def test_edited_metadata_and_another_order_do_not_matter(merged: Path, models: Path):
    tensors = dict(reversed(read_file(merged).items()))
    write_file(merged, tensors, {**metadata_of(merged), "modelspec.title": "mine"}, pad=3)
    assert verify(merged, [models], threads=2).verdict == "same"


def test_what_differs_is_named_with_its_number_of_elements(run: Run, merged: Path, models: Path):
    tensors = read_file(merged)
    first, second, third, fourth = KEYS[3], KEYS[10], KEYS[20], KEYS[30]
    data = bytearray(tensors[first].data)
    data[1] ^= 0x40
    data[-1] ^= 0x40
    tensors[first] = Stored(tensors[first].tag, tensors[first].shape, bytes(data))
    del tensors[second]
    tensors[third] = stored([1.0], "fp32")
    tensors["strange.key"] = stored([1.0], "fp16")
    write_file(merged, tensors, metadata_of(merged))
    code, out, error = run("verify", merged, "--models", models, "--json")
    facts = json.loads(out)
    assert (code, facts["verdict"], facts["differing"]) == (2, "differs", {first: 2})
    assert (facts["missing"], facts["other_form"], facts["extra"]) == ([second], [third], ["strange.key"])
    assert "4 tensors of" in error and list(faults(facts, schema("verify"))) == []
    code, out, _ = run("verify", merged, "--models", models)
    assert code == 2 and f"'{first}' differs in 2 elements." in out and "'strange.key' is not made by the recipe." in out
    assert fourth not in out


def test_other_recipe_than_the_one_that_made_it_is_found_out(merged: Path, models: Path):
    lie = json.loads(metadata_of(merged)["chillymerge"])["recipe"].replace("0.6", "0.61")
    found = verify(with_metadata(merged, recipe=lie), [models])
    assert found.verdict == "differs" and all("output_blocks" in key or ".out." in key for key in found.differing)
    assert found.differing


def test_source_that_is_gone_or_another_leaves_it_unknown(run: Run, merged: Path, models: Path):
    (models / "b.safetensors").unlink()
    write_file(models / "c.safetensors", model(9, "bf16", without=["VAE"]))
    code, out, error = run("verify", merged, "--models", models, "--json")
    facts = json.loads(out)
    assert (code, facts["verdict"], facts["lacking"]) == (2, "unknown", ["b", "c"])
    assert error.startswith("chilly: 'merged.safetensors' cannot be verified: there is no 'b' in ")
    assert list(faults(facts, schema("verify"))) == []


def test_file_that_names_itself_as_its_source_proves_nothing(merged: Path, models: Path):
    size = 0
    for _ in range(4):  # the size stands inside the file
        with_metadata(merged, recipe="X = 1 * merged\nsave(dtype=fp16)", sources=[{"name": "merged", "size": size}])
        size = merged.stat().st_size
    found = verify(merged, [merged.parent])
    assert (found.verdict, found.says) == ("unknown", ["'merged' is the file itself, which proves nothing."])
    os.link(merged, models / "merged.safetensors")
    assert verify(merged, [models]).verdict == "unknown"


def test_without_hashes_what_was_taken_for_granted_is_said(run: Run, models: Path, tmp_path: Path):
    output = tmp_path / "out.safetensors"
    run("merge", RECIPE, "--models", models, "-o", output, "--no-source-hashes")
    found = verify(output, [models])
    assert found.verdict == "same" and "recorded without hashes" in found.says[0]
    found = verify(with_metadata(output, maths=7), [models])
    assert found.says[1] == "it was made with arithmetic 7, this is 1: its numbers may differ."


@pytest.mark.parametrize("options", [[], ["--no-source-hashes"]], ids=["hashes", "none"])
def test_source_that_was_exchanged_accuses_no_honest_file(run: Run, models: Path, tmp_path: Path, options: list[str]):
    output = tmp_path / "out.safetensors"
    run("merge", RECIPE, "--models", models, "-o", output, *options)
    write_file(models / "b.safetensors", model(7, "fp32"))  # another one of the same name and size
    code, out, error = run("verify", output, "--models", models, "--json")
    facts = json.loads(out)
    assert (code, facts["verdict"]) == (2, "unknown") and list(faults(facts, schema("verify"))) == []
    assert bool(facts["differing"]) == bool(options)
    assert "cannot be verified" in error and "'out.safetensors' is not what" not in error
    assert "--accept-other-sources" not in error


def test_other_arithmetic_accuses_no_honest_file(merged: Path, models: Path):
    recipe = json.loads(metadata_of(merged)["chillymerge"])["recipe"].replace("0.6", "0.61")
    found = verify(with_metadata(merged, maths=7, recipe=recipe), [models])
    assert found.verdict == "unknown" and found.differing and "its numbers may differ" in found.says[0]


def test_rest_of_what_differs_is_counted(run: Run, merged: Path, models: Path):
    tensors = {**read_file(merged), **{f"strange.{n:02}": stored([1.0], "fp16") for n in range(25)}}
    write_file(merged, tensors, metadata_of(merged))
    out = run("verify", merged, "--models", models)[1]
    assert out.count("is not made by the recipe.") == 20 and "\nand 5 more.\n" in f"{out}\n"


def test_single_element_is_counted_in_the_singular(run: Run, merged: Path, models: Path):
    tensors = read_file(merged)
    data = bytearray(tensors[KEYS[3]].data)
    data[1] ^= 0x40
    write_file(
        merged, {**tensors, KEYS[3]: Stored(tensors[KEYS[3]].tag, tensors[KEYS[3]].shape, bytes(data))}, metadata_of(merged)
    )
    assert f"'{KEYS[3]}' differs in 1 element.\n" in run("verify", merged, "--models", models)[1]


def test_search_for_made_up_sources_is_bounded_and_can_be_stopped(merged: Path, models: Path, monkeypatch: pytest.MonkeyPatch):
    size = (models / "a.safetensors").stat().st_size
    many = [{"name": f"s{n}", "size": size, "sha256": f"{n:064x}"} for n in range(400)]
    hashed: list[Path] = []
    take = recorded_library.hash_checkpoints

    def counting(checkpoints: Sequence[Checkpoint], *others: object) -> list[str]:
        hashed.extend(each.path for each in checkpoints)
        return take(checkpoints, *others)

    monkeypatch.setattr(recorded_library, "hash_checkpoints", counting)
    found = verify(with_metadata(merged, sources=many), [models])
    assert len(hashed) == len(set(hashed)) <= 3
    assert len(found.lacking) == 400 and len(found.says) == 21 and found.says[-1] == "380 more of its sources are not at hand."
    with pytest.raises(Interrupted):
        verify(with_metadata(merged, sources=many), [models], should_stop=lambda: True)
    found = verify(with_metadata(merged, sources=[{**one, "name": f"{k}{one['name']}"} for k in "ab" for one in many]), [models])
    assert found.says == ["it names 800 sources; 512 at most are looked for."]


def test_stop_while_a_source_is_hashed_is_heard(merged: Path, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "another"))  # where no hash is known
    asked = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Interrupted):
        verify(merged, [models], should_stop=should_stop)
    assert len(asked) == 2


SOURCE = {"name": "a", "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": 3},
        {"recipe": "M = ((((", "sources": [SOURCE]},
        {"recipe": "x" * 10_000_000},
        {"recipe": "(" * 100_000},
        {"sources": []},
        {"sources": "a"},
        {"sources": [SOURCE, SOURCE]},
        {"sources": [{**SOURCE, "name": "<script>alert(1)</script>" * 400_000}]},
        {"sources": [{**SOURCE, "name": "../../etc/passwd"}]},
        {"sources": [[[[[]]]]]},
        {"maths": "1"},
        {"maths": True},
    ],
    ids=lambda changes: "-".join(changes) + str(len(str(changes))),
)
def test_hostile_records_end_in_a_sentence(merged: Path, models: Path, changes: dict[str, object]):
    found: Verification = verify(with_metadata(merged, **changes), [models])
    assert found.verdict == "unknown" and found.says
    assert all(len(words) < 1000 for words in found.says)


def test_file_of_others_is_unknown_and_no_file_is_an_error(run: Run, models: Path, tmp_path: Path):
    code, _, error = run("verify", models / "a.safetensors", "--models", models)
    assert code == 2 and "cannot be verified: its header does not say how it was made" in error
    assert run("verify", tmp_path / "none", "--models", models)[0] == 2


def test_folder_is_verified_part_by_part(run: Run, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    from checkpoints import tiny

    folder = tiny(tmp_path_factory, "verify-a", seed=4).parent
    tiny(tmp_path_factory, "verify-b", seed=5)
    recipe = 'X = 0.5 * "verify-a" + 0.5 * "verify-b"'
    assert run("merge", recipe, "--models", folder, "-o", tmp_path / "out", "--format", "diffusers")[0] == 0
    assert verify(tmp_path / "out", [folder]).verdict == "same"
    (tmp_path / "out" / "README.md").write_text("so")
    assert verify(tmp_path / "out", [folder]).verdict == "same"
    strange = ["unet/diffusion_pytorch_model.safetensors.index.json", "vae/diffusion_pytorch_model.fp16.safetensors", "x.py"]
    for name in strange:
        (tmp_path / "out" / name).write_bytes(b"{}")
    (tmp_path / "out" / "elsewhere").symlink_to(folder)
    found = verify(tmp_path / "out", [folder])
    assert (found.verdict, sorted(found.extra)) == ("differs", ["elsewhere", *strange])
    for name in found.extra:
        (tmp_path / "out" / name).unlink()
    part = tmp_path / "out" / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 0x40
    part.write_bytes(content)
    found = verify(tmp_path / "out", [folder])
    assert found.verdict == "differs" and [key.split(":")[0] for key in found.differing] == [
        "vae/diffusion_pytorch_model.safetensors"
    ]
