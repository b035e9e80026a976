"""What is printed and written has the form that docs/schemas says, and the schemas refuse what has not."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import KEYS, metadata_of, model, write_file, write_models

Run = Callable[..., tuple[int, str, str]]
FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
KNOWN = {
    *("$schema", "title", "description", "type", "enum", "pattern", "minimum", "minItems", "$ref"),
    *("required", "properties", "additionalProperties", "items", "anyOf", "$defs"),
}


def schema(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.schema.json").read_text("utf-8"))


def faults(value: object, form: dict, place: str = "") -> Iterator[str]:
    """Where a value is not as a schema of the few words that ours use has it."""
    assert set(form) <= KNOWN
    if reference := form.get("$ref"):
        file, _, path = reference.partition("#/")
        form = json.loads((FOLDER / file).read_text("utf-8"))
        for part in path.split("/"):
            form = form[part]
    if any_of := form.get("anyOf"):
        yield from min((list(faults(value, each, place)) for each in any_of), key=len)
        return
    if value is not None and isinstance(value, bool) and any(value is each for each in form.get("enum", [])):
        return
    types = form.get("type", list(TYPES))
    allowed = [TYPES[name] for name in ([types] if isinstance(types, str) else types)]
    if isinstance(value, bool) or not any(isinstance(value, kind) for kind in allowed):
        yield f"{place} is {type(value).__name__}"
        return
    if value not in form.get("enum", [value]):
        yield f"{place} is {value!r}"
    if isinstance(value, str) and not re.search(form.get("pattern", ""), value):
        yield f"{place} does not fit"
    if isinstance(value, (int, float)) and value < form.get("minimum", value):
        yield f"{place} is too small"
    if isinstance(value, list):
        if len(value) < form.get("minItems", 0):
            yield f"{place} is too short"
        for number, item in enumerate(value):
            yield from faults(item, form.get("items", {}), f"{place}/{number}")
    if isinstance(value, dict):
        yield from (f"{place}/{name} is missing" for name in form.get("required", []) if name not in value)
        for name, item in value.items():
            other = form.get("properties", {}).get(name, form.get("additionalProperties", True))
            if other is False:
                yield f"{place}/{name} is not known"
            elif other is not True:
                yield from faults(item, other, f"{place}/{name}")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = write_models(tmp_path / "models", b=model(2, "fp32"), c=model(3, without=["VAE"]), d=model(4, channels=9))
    said = {"license": "MIT", "sd_merge_recipe": '{"type": "webui"}', "mecha_recipe": "x" * 100_000}
    write_file(folder / "a.safetensors", model(1), said)
    return folder


RECIPES = [
    "1 * a",
    "M = weighted_sum(a, b, alpha={attn2: 0.3, *: 0.5})\nN = M + 0.5 * (c - d)",
    'N = free_sum(a, b, beta=2)\nsave(dtype=fp32, title="t")',
]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("options", [[], ["--no-source-hashes"]], ids=["hashes", "none"])
def test_what_plan_and_merge_print_and_write_has_its_schema_s_form(
    run: Run, models: Path, tmp_path: Path, recipe: str, options: list[str]
):
    plan = json.loads(run("plan", recipe, "--models", models, "--json")[1])
    merge = json.loads(run("merge", recipe, "--models", models, "-o", tmp_path / "mix.safetensors", "--json", *options)[1])
    record = json.loads(metadata_of(tmp_path / "mix.safetensors")["chillymerge"])
    assert list(faults(plan, schema("plan"))) == []
    assert list(faults(merge, schema("merge"))) == []
    assert list(faults(record, schema("chillymerge"))) == []
    assert record["claims"][0]["cut"] == {"mecha_recipe": 100_000}


def test_what_merge_of_variants_prints_has_its_schema_s_form(run: Run, models: Path, tmp_path: Path):
    recipe, options = "weighted_sum(a, b, alpha={*: R})", ["--seed", "1", "--variants", "2", "--models", models]
    facts = json.loads(run("merge", recipe, *options, "-o", tmp_path / "mix.safetensors", "--json")[1])
    assert list(faults(facts, schema("merge"))) == []
    facts["variants"][1]["seconds"] = "1"
    assert list(faults(facts, schema("merge"))) == ["/variants/1/seconds is str"]


def test_what_inspect_prints_has_its_schema_s_form(run: Run, models: Path, tmp_path: Path):
    run("merge", RECIPES[1], "--models", models, "-o", tmp_path / "mix.safetensors")
    other = write_file(tmp_path / "other.safetensors", {"key": model(1)[KEYS[0]]})
    (tmp_path / "bad.ckpt").write_bytes(b"bad")
    files = [tmp_path / "mix.safetensors", models / "a.safetensors", other]
    for path in files:
        assert list(faults(json.loads(run("inspect", path, "--json")[1]), schema("inspect"))) == []
    facts = json.loads(run("inspect", *files, tmp_path / "bad.ckpt", "--json")[1])
    assert list(faults(facts, schema("inspect"))) == []
    del facts["files"][3]["error"]
    assert "/files/3/error is missing" in list(faults(facts, schema("inspect")))


def test_what_queue_prints_has_its_schema_s_form(run: Run, models: Path, tmp_path: Path):
    (tmp_path / "q").write_text(f"--- 1.safetensors\n{RECIPES[0]}\n--- 2.safetensors\n{RECIPES[1]}\n")
    facts = json.loads(run("queue", tmp_path / "q", "--models", models, "--out", tmp_path, "--json")[1])
    assert list(faults(facts, schema("queue"))) == []
    for fact in facts["merges"]:
        fact.pop("status")
        assert list(faults(fact, schema("merge"))) == []


@pytest.mark.parametrize(
    "options",
    [["b", "--by", "component"], ["b", "c", "--matrix"], ["b", "c", "--by", "key"], ["b", "--as-weights"], ["{models}"]],
    ids=["component", "matrix", "key", "weights", "folder"],
)
def test_what_similarity_prints_has_its_schema_s_form(run: Run, models: Path, options: list[str]):
    given = [models if option == "{models}" else option for option in options]
    facts = json.loads(run("similarity", "a", *given, "--measure", "cosine", "--models", models, "--json")[1])
    assert list(faults(facts, schema("similarity"))) == []
    del facts["rows"][0]["totals"]["input"]
    assert list(faults(facts, schema("similarity"))) == ["/rows/0/totals/input is missing"]


def test_schemas_refuse_what_has_not_their_form(run: Run, models: Path, tmp_path: Path):
    run("merge", RECIPES[1], "--models", models, "-o", tmp_path / "mix.safetensors")
    record = json.loads(metadata_of(tmp_path / "mix.safetensors")["chillymerge"])

    def faults_with(change: Callable[[dict], object]) -> list[str]:
        changed = copy.deepcopy(record)
        change(changed)
        return list(faults(changed, schema("chillymerge")))

    assert faults_with(lambda record: record.pop("maths")) == ["/maths is missing"]
    assert faults_with(lambda record: record.update(date="today")) == ["/date is not known"]
    assert faults_with(lambda record: record["sources"][1].update(sha256="AB")) == ["/sources/1/sha256 does not fit"]
    assert faults_with(lambda record: record.update(sources=[])) == ["/sources is too short"]
    assert faults_with(lambda record: record["claims"][0].update(says="MIT")) == ["/claims/0/says is str"]
    assert faults_with(lambda record: record.update(maths=True)) == ["/maths is bool"]
