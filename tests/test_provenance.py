"""What an output says of itself and of its sources, whatever these say of themselves."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from checkpoints import metadata_of, model, plan_in, stored, tiny, write_file, write_models
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib_chilly.claims import CLAIMED, LARGEST_BYTES, parsed
from lib_chilly.errors import CheckpointError
from lib_chilly.provenance import read_record

Run = Callable[..., tuple[int, str, str]]
RECIPE = "MIX = 0.3 * a + 0.7 * b"


def merged(run: Run, models: Path, output: Path, recipe: str = RECIPE, *more: object) -> dict[str, str]:
    """The metadata of what a recipe makes."""
    code, _, error = run("merge", recipe, "-o", output, "--models", models, "--overwrite", *more)
    assert (code, error) == (0, "")
    return metadata_of(output)


def pair(folder: Path, said: Mapping[str, str]) -> Path:
    """Models a and b; a's metadata says what is given."""
    folder.mkdir()
    write_file(folder / "a.safetensors", model(1), said)
    write_file(folder / "b.safetensors", model(2))
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_value_is_text_and_no_value_that_starts_as_json_is_none(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    found = merged(run, models, tmp_path / "mix.safetensors", f'{RECIPE}\nsave(title="{{x")')
    assert all(isinstance(value, str) for value in found.values())
    braced = {name: value for name, value in found.items() if value.startswith("{")}
    assert set(braced) == {
        "sd_merge_recipe",
        "sd_merge_models",
    }  # which the webui's merger writes anew; it copies no other object
    assert all(isinstance(json.loads(value), dict) for value in braced.values())


def test_nothing_is_dated_and_no_hash_of_the_file_itself_is_claimed(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    found = merged(run, models, tmp_path / "mix.safetensors")
    assert not {"modelspec.date", "modelspec.hash_sha256", "modelspec.implementation_version"} & set(found)
    assert set(re.findall(r"[0-9a-f]{64}", json.dumps(found))) == {sha256(path) for path in models.iterdir()}


# ---- the webui's two keys ----


def test_webui_s_keys_name_our_type_and_every_source_by_its_hash(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    found = merged(run, models, tmp_path / "mix.safetensors")
    assert json.loads(found["sd_merge_recipe"]) == {"type": "chillymerge", "recipe": f"{RECIPE}\nsave(dtype=fp16)\n", "maths": 1}
    assert json.loads(found["sd_merge_models"]) == {
        sha256(models / f"{name}.safetensors"): {"name": name, "legacy_hash": None, "sd_merge_recipe": None} for name in "ab"
    }


def test_webui_s_keys_carry_the_recipe_of_a_source_and_its_ancestors(run: Run, tmp_path: Path):
    webui = {"type": "webui", "interp_method": "Weighted sum", "multiplier": 0.3}
    ancestor = {"name": "old.ckpt", "legacy_hash": "e3b0c442", "sd_merge_recipe": None}
    tables = {"1" * 64: ancestor, "2" * 64: {"name": "older", "legacy_hash": None, "sd_merge_recipe": webui}}
    said = {"sd_merge_recipe": json.dumps(webui), "sd_merge_models": json.dumps(tables)}
    models = pair(tmp_path / "models", said)
    table = json.loads(merged(run, models, tmp_path / "mix.safetensors")["sd_merge_models"])
    assert table.pop(sha256(models / "a.safetensors")) == {"name": "a", "legacy_hash": None, "sd_merge_recipe": webui}
    assert table.pop(sha256(models / "b.safetensors"))["name"] == "b"
    assert table == tables


def test_source_cannot_speak_for_another_source(run: Run, tmp_path: Path):
    write_file(tmp_path / "b", model(2))
    lie = {sha256(tmp_path / "b"): {"name": "stolen", "legacy_hash": "00000000", "sd_merge_recipe": {"type": "lie"}}}
    models = pair(tmp_path / "models", {"sd_merge_models": json.dumps(lie)})
    table = json.loads(merged(run, models, tmp_path / "mix.safetensors")["sd_merge_models"])
    assert table[sha256(models / "b.safetensors")] == {"name": "b", "legacy_hash": None, "sd_merge_recipe": None}


def test_without_source_hashes_no_hash_and_no_table_of_models_stands_anywhere(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    found = merged(run, models, tmp_path / "mix.safetensors", RECIPE, "--no-source-hashes")
    assert "sd_merge_models" not in found and "sd_merge_recipe" in found
    assert not re.search(r"[0-9a-f]{64}", json.dumps(found))


# ---- ModelSpec ----


def test_modelspec_says_what_is_known(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    found = merged(run, models, tmp_path / "mix.safetensors", f'{RECIPE}\nsave(title="My mix")')
    assert {name: value for name, value in found.items() if name.startswith("modelspec.")} == {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1",
        "modelspec.implementation": "sgm",
        "modelspec.title": "My mix",
        "modelspec.resolution": "512x512",
        "modelspec.merged_from": "a, b",
    }
    assert merged(run, models, tmp_path / "mix.safetensors")["modelspec.title"] == "MIX"


def test_modelspec_knows_inpainting_and_sdxl(run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    models = write_models(tmp_path / "models", a=model(1, channels=9), b=model(2))
    assert metadata_of(models / "a.safetensors") == {}
    assert merged(run, models, tmp_path / "mix.safetensors")["modelspec.architecture"] == "stable-diffusion-v1-inpainting"
    path = tiny(tmp_path_factory, "xl", "sdxl")
    found = merged(run, path.parent, tmp_path / "xl.safetensors", "0.5 * xl + 0.5 * xl")
    assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-base" and found["modelspec.resolution"] == "1024x1024"


@pytest.mark.parametrize(
    ("architecture", "saved", "name", "resolution"),
    [
        ("sd2", "", "stable-diffusion-v2", None),
        ("sd2", "save(prediction=v)", "stable-diffusion-v2-768-v", "768x768"),
        ("sd2", "save(prediction=epsilon)", "stable-diffusion-v2-512", "512x512"),
        ("sdxl-refiner", "", "stable-diffusion-xl-v1-refiner", "1024x1024"),
        ("sd3", "", "stable-diffusion-v3-medium", "1024x1024"),
        ("flux", "", "flux", None),
    ],
)
def test_modelspec_knows_the_other_architectures_as_far_as_they_are_known(
    tmp_path_factory: pytest.TempPathFactory, architecture: str, saved: str, name: str, resolution: str | None
):
    path = tiny(tmp_path_factory, f"spec-{architecture}", architecture)
    found = header_metadata(path.parent, f"M = 1 * {path.stem}\n{saved}")
    assert (found["modelspec.architecture"], found.get("modelspec.resolution")) == (name, resolution)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (("epsilon", "epsilon"), "epsilon"),
        (("v", "v"), "v"),
        (("epsilon", None), None),
        (("magic", "magic"), None),
    ],
)
def test_prediction_type_stands_where_all_sources_claim_the_same(
    tmp_path: Path, claims: tuple[str | None, str | None], said: str | None
):
    for name, claim in zip("ab", claims, strict=True):
        write_file(tmp_path / f"{name}.safetensors", model(1), {"modelspec.prediction_type": claim} if claim else None)
    assert header_metadata(tmp_path, RECIPE).get("modelspec.prediction_type") == said


def test_marker_of_v_prediction_wins_over_claims(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    marker = {"v_pred": stored([], "fp16")}
    write_file(tmp_path / "a.safetensors", model(1, extras=marker), {"modelspec.prediction_type": "epsilon"})
    assert header_metadata(tmp_path, "1 * a").get("modelspec.prediction_type") == "v"


def header_metadata(folder: Path, recipe: str) -> dict[str, str]:
    """The metadata that a recipe's output would have, without hashes."""
    header = plan_in(folder, recipe).header({})
    return json.loads(header[8:])["__metadata__"]


# ---- claims ----


def claims_in(found: Mapping[str, str]) -> list[dict]:
    return json.loads(found["chillymerge"]).get("claims", [])


def test_what_a_source_says_is_carried_as_its_claim_and_nowhere_as_a_fact(tmp_path: Path):
    said = {"modelspec.license": "MIT", "modelspec.author": "me", "sd_merge_recipe": '{"type": "webui"}', "mecha_recipe": "1"}
    pair(tmp_path / "models", said | {"ss_tag_frequency": "none of our business"})
    found = header_metadata(tmp_path / "models", RECIPE)
    assert claims_in(found) == [{"model": "a", "says": said | {"sd_merge_recipe": {"type": "webui"}}}]
    assert "modelspec.license" not in found and "modelspec.author" not in found


def test_own_record_of_a_source_is_carried_with_its_own_claims(run: Run, tmp_path: Path):
    models = pair(tmp_path / "models", {"license": "CC0"})
    first = merged(run, models, models / "first.safetensors")
    second = merged(run, models, tmp_path / "second.safetensors", "0.5 * first + 0.5 * b")
    (claims,) = claims_in(second)
    assert claims["model"] == "first" and claims["says"]["chillymerge"] == json.loads(first["chillymerge"])
    assert claims["says"]["chillymerge"]["claims"] == [{"model": "a", "says": {"license": "CC0"}}]
    assert [entry["name"] for entry in json.loads(second["sd_merge_models"]).values()] == ["first", "b", "a"]


def test_claims_that_are_too_long_are_cut_whole_and_said_with_their_size(tmp_path: Path):
    long = "é" * LARGEST_BYTES
    pair(tmp_path / "models", {"license": "MIT", "sd_merge_recipe": long, "mecha_recipe": "short"})
    found = header_metadata(tmp_path / "models", RECIPE)
    says = {"license": "MIT", "mecha_recipe": "short"}
    assert claims_in(found) == [{"model": "a", "says": says, "cut": {"sd_merge_recipe": 2 * LARGEST_BYTES}}]


def test_record_that_is_too_long_loses_its_own_claims_first(tmp_path: Path):
    record = {"recipe": "M = 1 * x\n", "sources": [], "maths": 1}
    claims = [{"model": "x", "says": {"license": "y" * LARGEST_BYTES}}]
    pair(tmp_path / "models", {"chillymerge": json.dumps(record | {"claims": claims})})
    (found,) = claims_in(header_metadata(tmp_path / "models", RECIPE))
    assert found["says"] == {"chillymerge": record}
    assert list(found["cut"]) == ["chillymerge.claims"] and found["cut"]["chillymerge.claims"] > LARGEST_BYTES


@pytest.mark.parametrize("key", CLAIMED)
@pytest.mark.parametrize(
    "value",
    [
        "{" * 20_000,
        '{"a":' * 6_000 + "1" + "}" * 6_000,
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"a": ' + "9" * 6_000 + "}",
        '{"a": 1} and more',
        "[1, 2]",
        "null",
        "\x00\x1b[31m\u202e",
        '"{\\"a\\": 1}"',
        '{"recipe": 5, "sources": {"a": 1}, "claims": "no list"}',
        '{"' + "1" * 64 + '": "no object", "x": {}, "' + "2" * 64 + '": {"name": 7, "legacy_hash": [], "sd_merge_recipe": 1}}',
        "x" * 10_000_000,
        '{"x": "' + "y" * 10_000_000 + '"}',
    ],
    ids=range(15),
)
def test_no_metadata_of_a_source_breaks_the_output(tmp_path: Path, key: str, value: str):
    pair(tmp_path / "models", {key: value})
    header = plan_in(tmp_path / "models", RECIPE).header({0: "a" * 64, 1: "b" * 64})
    assert len(header) < 200_000
    found = json.loads(header[8:], parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))["__metadata__"]
    (claims,) = claims_in(found)
    if len(value) > LARGEST_BYTES:
        assert claims["cut"] == {key: len(value)}
    else:
        assert claims["says"][key] in (value, parsed(value))
    table = json.loads(found["sd_merge_models"])
    assert all(re.fullmatch("[0-9a-f]{64}", sha) for sha in table)
    assert all(set(entry) == {"name", "legacy_hash", "sd_merge_recipe"} for entry in table.values())


def test_metadata_that_are_no_texts_are_carried_as_json(tmp_path: Path):
    models = pair(tmp_path / "models", {})
    content = write_file(models / "a.safetensors", model(1), {"license": "@"}).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].replace(b'"@"', b'{"name":["MIT",2]}')
    (models / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    assert claims_in(header_metadata(models, RECIPE)) == [{"model": "a", "says": {"license": {"name": ["MIT", 2]}}}]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4) | JSON | st.text())
@example({"deep": functools.reduce(lambda inner, _: [inner], range(60), 1)})
@example({"long": "x" * LARGEST_BYTES})
@example('{"lone": "\\ud800"}')
@example('{"a": Infinity}')
@example('{"a": 1, "a": 2}')
@settings(max_examples=100, deadline=None)
def test_parsed_json_can_always_be_written_again(value: object):
    text = value if isinstance(value, str) else json.dumps(value)
    found = parsed(text)
    if isinstance(found, str):
        assert found == text
    else:
        again = json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
        assert json.loads(again) == json.loads(text)


def test_generations_of_merges_do_not_grow_beyond_bounds(run: Run, tmp_path: Path):
    models = pair(tmp_path / "models", {"license": "l" * 9_000})
    sizes = []
    for _ in range(8):
        merged(run, models, models / "a.safetensors", RECIPE)
        content = (models / "a.safetensors").read_bytes()
        sizes.append(int.from_bytes(content[:8], "little"))
    assert max(sizes) < 200_000


def test_inspect_shows_claims_as_claims(run: Run, tmp_path: Path):
    merged(run, pair(tmp_path / "models", {"license": "MIT\x1b[31m"}), tmp_path / "mix.safetensors")
    facts = json.loads(run("inspect", tmp_path / "mix.safetensors", "--json")[1])
    assert facts["claims"] == [{"model": "a", "says": {"license": "MIT\x1b[31m"}}]
    said = run("inspect", tmp_path / "mix.safetensors")[1]
    assert '  claimed by a source, not checked: {"model": "a", "says": {"license": "MIT' in said and "\x1b" not in said


# ---- reading it back ----


def test_record_reads_back_as_it_was_written(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    record = read_record(merged(run, models, tmp_path / "mix.safetensors"), "mix")
    assert record is not None and record.recipe == f"{RECIPE}\nsave(dtype=fp16)\n" and record.maths == 1
    assert [(source.name, source.sha256) for source in record.sources] == [
        (name, sha256(models / f"{name}.safetensors")) for name in "ab"
    ]


@pytest.mark.parametrize(
    "lie",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"recipe": "M = 1 * a"}',
        '{"recipe": 5, "sources": [{"name": "a", "size": 1}], "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": [], "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": ["a"], "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": {"name": "a"}, "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": [{"name": "a", "size": "1"}], "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": [{"name": "a", "size": true}], "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": [{"name": "a", "size": 1, "sha256": "../../x"}], "maths": 1}',
        '{"recipe": "M = 1 * a", "sources": [{"name": "a", "size": 1}], "maths": "1"}',
    ],
)
def test_record_that_is_not_in_its_form_is_refused_in_a_sentence(lie: str):
    with pytest.raises(CheckpointError, match=r"'x\.safetensors': its 'chillymerge' metadata is damaged"):
        read_record({"chillymerge": lie}, "x.safetensors")


def test_record_that_another_merger_copied_is_not_taken_for_the_file_s_own():
    record = '{"recipe": "M = 1 * a", "sources": [{"name": "a", "size": 1}], "maths": 1}'
    assert read_record({"chillymerge": record}, "x") is not None
    assert read_record({"chillymerge": record, "sd_merge_recipe": '{"type": "chillymerge"}'}, "x") is not None
    assert read_record({"chillymerge": record, "sd_merge_recipe": '{"type": "webui"}'}, "x") is None
    assert read_record({"sd_merge_recipe": '{"type": "webui"}'}, "x") is None
