"""The family tree of a card: what merges carry of their parents, and what is left of it where somebody lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import model, tiny, write_file

from lib_chilly.card import make_card
from lib_chilly.card_pages import Branch, Section, html_page, markdown
from lib_chilly.descent import Ancestor, family_tree
from lib_chilly.hashes import hash_file

Run = Callable[..., tuple[int, str, str]]
OWN, A, B, C = (letter * 64 for letter in "0abc")


def in_texts(metadata: dict[str, object]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}


def tree(metadata: dict[str, object]) -> tuple[Ancestor, list[str]]:
    """The tree of a file with these metadata, objects in them as JSON."""
    return family_tree(in_texts(metadata), "me", OWN)


def every(node: Ancestor, depth: int = 0) -> Iterator[tuple[int, Ancestor]]:
    yield depth, node
    for parent in node.parents:
        yield from every(parent, depth + 1)


def drawn(node: Ancestor) -> list[str]:
    return [f"{'.' * depth}{each.name}" for depth, each in every(node)]


def test_grandchild_s_card_shows_the_grandparents_of_three_generations_of_merges(
    run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    models = tmp_path / "models"
    models.mkdir()
    for number, name in enumerate("abcd"):
        (models / f"{name}.safetensors").symlink_to(tiny(tmp_path_factory, f"card-{name}", seed=number))
    for name, recipe in (
        ("child", "0.5 * a + 0.5 * b"),
        ("grandchild", "weighted_sum(child, c)"),
        ("last", "mean(grandchild, d)"),
    ):
        assert run("merge", f"{name} = {recipe}", "--models", models, "-o", models / f"{name}.safetensors")[0] == 0
    short = {name: hash_file(models / f"{name}.safetensors")[:10] for name in ("a", "b", "c", "d", "child", "grandchild", "last")}
    lines = [
        f"last  {short['last']}  (ChillyMerge, mean)",
        f"├─ grandchild  {short['grandchild']}  (ChillyMerge, weighted_sum)",
        f"│  ├─ child  {short['child']}  (ChillyMerge, a sum)",
        f"│  │  ├─ a  {short['a']}",
        f"│  │  └─ b  {short['b']}",
        f"│  └─ c  {short['c']}",
        f"└─ d  {short['d']}",
    ]
    out = run("card", models / "last.safetensors")[1]
    assert "\n".join(["## Family tree, as the header claims", "", "```", *lines, "```"]) in out
    page = run("card", models / "last.safetensors", "--html")[1]
    assert (
        f"<li>child  {short['child']}  (ChillyMerge, a sum)<ul><li>a  {short['a']}</li><li>b  {short['b']}</li></ul></li>" in page
    )
    assert "without a place in the tree" not in out


def test_tree_is_the_same_where_claims_are_cut_and_a_table_of_models_is_left():
    recipe = {"type": "chillymerge", "recipe": "M = 0.5 * a + 0.5 * b\n", "maths": 1}
    record = {"recipe": "X = mean(M, c)\n", "sources": [{"name": "M", "sha256": A}, {"name": "c", "sha256": None}], "maths": 1}
    known = {A: {"name": "M", "sd_merge_recipe": recipe}, B: {"name": "a"}, C: {"name": "b"}}
    root, notes = tree({"chillymerge": record, "sd_merge_models": known})
    assert drawn(root) == ["me", ".M", "..a", "..b", ".c"] and notes == []
    assert [each.sha256 for _, each in every(root)] == [OWN, A, B, C, None]


def test_other_mergers_trees_and_bare_names_are_shown():
    recipe = {"type": "webui", "primary_model_hash": A, "secondary_model_hash": B, "interp_method": "Weighted sum"}
    own = {"type": "sd-webui-supermerger", "model_a": C, "mode": "Weight sum", "calcmode": "normal"}
    known = {A: {"name": "a"}, B: {"name": "b", "sd_merge_recipe": own}, C: {"name": "c"}}
    root, _ = tree({"sd_merge_recipe": recipe, "sd_merge_models": known})
    assert drawn(root) == ["me", ".a", ".b", "..c"]
    assert (root.made, root.parents[1].made) == ("webui, Weighted sum", "sd-webui-supermerger, Weight sum, normal")
    assert drawn(tree({"modelspec.merged_from": "x, y"})[0]) == ["me", ".x", ".y"]


def test_record_that_another_merger_copied_from_a_parent_is_not_the_file_s():
    record = {"recipe": "M = mean(x, y)\n", "sources": [{"name": "x"}, {"name": "y"}], "maths": 1}
    recipe = {"type": "webui", "primary_model_hash": A, "interp_method": "No interpolation"}
    root, _ = tree({"chillymerge": record, "sd_merge_recipe": recipe, "sd_merge_models": {A: {"name": "a"}}})
    assert drawn(root) == ["me", ".a"]


def of(*hashes: str) -> dict[str, object]:
    return {"name": "n", "sd_merge_recipe": {"type": "webui", **{str(number): each for number, each in enumerate(hashes)}}}


def webui(*hashes: str) -> dict[str, object]:
    return {"sd_merge_recipe": of(*hashes)["sd_merge_recipe"]}


def test_loops_and_models_that_are_their_own_ancestors_are_shown_once_and_said():
    for known in ({A: of(A)}, {A: of(B), B: of(A)}, {A: of(OWN)}, {A: of(B), B: of(C), C: of(OWN, A, B, C)}):
        root, notes = tree({**webui(A), "sd_merge_models": known})
        assert "their own ancestors" in notes[0] or "its own ancestors" in notes[0]
        found = [each for _, each in every(root)]
        assert len(found) < 10 and any(each.remark.startswith("itself") and not each.parents for each in found)
    twice, notes = tree({**webui(A, B), "sd_merge_models": {A: of(C), B: of(C), C: of("d" * 64)}})
    assert notes == [] and [each.remark for _, each in every(twice)].count("see elsewhere in this tree") == 1


def chain(count: int) -> dict[str, object]:
    return {f"{number:064x}": of(f"{number + 1:064x}") for number in range(count)}


NESTED = '{"claims":[{"model":"a","says":{"chillymerge":' * 20_000
LIES: list[tuple[dict[str, object], str]] = [
    ({**webui("0" * 63 + "1"), "sd_merge_models": chain(4_000)}, "There is more"),
    ({**webui(*(f"{n:064x}" for n in range(3_000)))}, "There is more"),
    ({**webui(A), "sd_merge_models": {f"{n:064x}": {"name": "x"} for n in range(9_000)}}, "There is more"),
    ({"chillymerge": {"recipe": "x", "sources": [{"name": "x" * 10_000_000}], "maths": 1}}, "'chillymerge' in its metadata"),
    ({"chillymerge": {"recipe": "((", "sources": [{"name": "x" * 3_000_000}, 1, {"name": {}}], "claims": [[]]}}, "3 claims"),
    ({"chillymerge": {"sources": {"a": 1}, "claims": "all"}, "sd_merge_models": [1], "sd_merge_recipe": 7}, "'sd_merge_recipe'"),
    ({"chillymerge": NESTED, "sd_merge_recipe": "[" * 100_000, "sd_merge_models": '{"a":' * 50_000}, "'sd_merge_models'"),
    ({"modelspec.merged_from": "x, " * 3_000_000}, "There is more"),
    ({"sd_merge_recipe": {"type": "chillymerge", "recipe": "(" * 100_000}, "mecha_recipe": "x"}, "1 recipe in it"),
    ({**webui(A), "sd_merge_models": {A: {"name": "\ud800<b>`\n" * 50}, "b": 1}}, "1 claim of"),
]


@pytest.mark.parametrize(("said", "note"), LIES, ids=range(len(LIES)))
def test_whatever_metadata_claim_the_tree_is_small_and_what_is_wrong_is_said(said: dict[str, object], note: str):
    root, notes = tree(said)
    assert any(sentence.startswith(note) for sentence in notes)
    assert len(list(every(root))) <= 121 and max(depth for depth, _ in every(root)) <= 12
    assert all(len(each.name) < 100 and each.name.isprintable() for _, each in every(root))


@pytest.mark.parametrize("recipe", ["m = ((((", "m = nobody_s_method(a, b)", "m = a + " + "b + " * 40_000 + "c"])
def test_recipe_that_cannot_be_read_is_said(recipe: str):
    root, notes = tree({"sd_merge_recipe": {"type": "chillymerge", "recipe": recipe}})
    assert root.parents == [] and notes == ["1 recipe in it cannot be read, or too much is in them."]


@pytest.mark.parametrize("number", [0, 4, 9])
def test_lies_in_a_header_give_a_card_all_the_same(tmp_path: Path, number: int):
    title, sections = make_card(write_file(tmp_path / "x.safetensors", model(1), in_texts(LIES[number][0])))
    page = html_page(title, sections).encode()
    assert len(markdown(title, sections).encode()) < 200_000 and len(page) < 200_000 and b"<b>" not in page
    (grown,) = [section.tree for section in sections if section.title.startswith("Family tree")]
    assert isinstance(grown, Branch) and grown.below


def test_fence_around_a_tree_is_not_closed_by_a_name():
    said = {"chillymerge": {"recipe": "x", "sources": [{"name": "```\n# y"}], "maths": 1}}
    root, _ = tree(said)
    assert root.parents[0].name == "``` # y"
    lines = markdown("t", [Section("s", tree=Branch("me", [Branch("```` x")]))]).splitlines()
    assert lines[-4:] == ["`````", "me", "└─ ```` x", "`````"]
