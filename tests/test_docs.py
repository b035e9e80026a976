"""What the documentation shows is true: its snippets run, its table is the registry's, its example recipes read."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from lib_chilly import registry
from lib_chilly.methods_page import methods_page
from lib_chilly.notations import read_recipe
from lib_chilly.recipe_text import parse_recipe

ROOT = Path(__file__).parents[1]


def test_snippets_of_add_a_method_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all_methods()
    monkeypatch.setattr(registry, "_METHODS", dict(registry.all_methods()))
    text = (ROOT / "docs" / "add-a-method.md").read_text("utf-8")
    snippets = [re.sub(r"^ {3}", "", snippet, flags=re.M) for snippet in re.findall(r"```python\n(.*?)```", text, re.S)]
    assert len(snippets) == 3
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/add-a-method.md", "exec"), names)


def test_page_on_methods_is_what_the_registry_says() -> None:
    assert (ROOT / "docs" / "methods.md").read_text("utf-8") == methods_page()


@pytest.mark.parametrize("method", registry.all_methods().values(), ids=lambda method: method.name)
def test_method_says_what_it_is_and_what_it_does(method: registry.MergeMethod) -> None:
    assert method.title and method.formula and method.source
    what, _, more = (inspect.getdoc(method.function) or "").partition("\n\n")
    assert what.endswith(".") and len(what.splitlines()) == 1
    assert method.is_sum or more


def test_recipe_in_the_readme_reads() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    block = next(part for part in re.findall(r"(?:^ {4}.*\n)+", text, re.M) if "weighted_sum(MERGE2" in part)
    assert parse_recipe(block).result == "RESULT"


def test_recipe_in_the_recipes_page_is_its_own_canonical_recipe() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    recipe = parse_recipe(re.findall(r"(?:^ {4}.*\n)+", text, re.M)[0])
    assert parse_recipe(recipe.canonical()) == recipe


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").iterdir()), ids=lambda path: path.name)
def test_example_recipe_reads_and_round_trips(path: Path) -> None:
    recipe = read_recipe(path.read_text("utf-8"))
    assert read_recipe(recipe.canonical()) == recipe


def test_commands_named_in_the_readme_exist() -> None:
    from lib_chilly.cli import COMMANDS

    named = set(re.findall(r"^\| `\./chilly ([\w-]+)", (ROOT / "README.md").read_text("utf-8"), re.M))
    assert named == set(COMMANDS) | {"test"}


def test_no_link_in_the_docs_is_broken() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_file_of_the_extension_stands_in_its_table_and_no_other() -> None:
    text = (ROOT / "docs" / "webui-internals.md").read_text("utf-8")
    table = re.findall(r"^    host/(\w+\.py) ", text, re.MULTILINE)
    assert sorted(table) == sorted(path.name for path in (ROOT / "lib_chilly" / "host").glob("webui*.py"))
