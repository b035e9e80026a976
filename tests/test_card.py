"""A card says what made a file, of what, how whole and how free it is, and a stranger's text in it stays text."""

from __future__ import annotations

import hashlib
import html
import json
import re
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from checkpoints import metadata_of, model, tiny, write_file
from reference import read_file

from lib_chilly import card as card_module
from lib_chilly import models as models_module
from lib_chilly.card import make_card
from lib_chilly.card_hashes import site_hashes
from lib_chilly.card_origin import in_card_notation
from lib_chilly.card_pages import Section, html_page, markdown
from lib_chilly.errors import ArchitectureError, Interrupted
from lib_chilly.recipe_text import parse_recipe

Run = Callable[..., tuple[int, str, str]]
RECIPE = "AB = 0.85 * a + 0.15 * b\nN = AB + 1 * (c - a)"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to models that have all their layers."""
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate("abc"):
        (folder / f"{name}.safetensors").symlink_to(tiny(tmp_path_factory, f"card-{name}", seed=number))
    return folder


@pytest.fixture
def merged(run: Run, models: Path, tmp_path: Path) -> Path:
    output = tmp_path / "merged.safetensors"
    assert run("merge", RECIPE, "--models", models, "-o", output)[0] == 0
    return output


@pytest.mark.parametrize(
    ("step", "card"),
    [
        ("0.85 * a + 0.15 * b", "a x 0.85 + b x 0.15 = N"),
        ("a + 1 * (b - c)", "a + (b - c) x 1 = N"),
        ("(1 - 0.3) * a + 0.3 * b", "a x (1 - 0.3) + b x 0.3 = N"),
        ("a - (b - c)", "a - (b - c) = N"),
        ("weighted_sum(a, b)", "a x (1 - alpha) + b x alpha = N, alpha = 0.5"),
        ("weighted_sum(a, b, alpha=0.6)", "a x (1 - alpha) + b x alpha = N, alpha = 0.6"),
        ("weighted_sum(a + (b - c), b, alpha=0.6)", "(a + b - c) x (1 - alpha) + b x alpha = N, alpha = 0.6"),
        ("mean(a, b)", "mean(a, b) = N"),
    ],
)
def test_steps_are_written_as_model_cards_write_them(step: str, card: str):
    (line,) = parse_recipe(f"N = {step}").lines
    assert in_card_notation(line.name, line.expression) == card


@pytest.mark.parametrize("size", [9, 0x100000, 0x100000 + 70_000])
def test_hashes_are_those_that_sites_show(tmp_path: Path, size: int):
    content = (4).to_bytes(8, "little") + bytes(index * 7 % 251 for index in range(size))
    (tmp_path / "x").write_bytes(content)
    found = site_hashes(tmp_path / "x", is_safetensors=True)
    assert found["sha256"] == hashlib.sha256(content).hexdigest() and found["AutoV2"] == found["sha256"][:10]
    assert found["AutoV1"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert found["AutoV3"] == hashlib.sha256(content[12:]).hexdigest()[:12]
    assert found["CRC32"] == f"{zlib.crc32(content):08X}"
    try:
        import blake3
    except ImportError:
        assert "BLAKE3" not in found
    else:
        assert found["BLAKE3"] == blake3.blake3(content).hexdigest()
    assert "AutoV3" not in site_hashes(tmp_path / "x", is_safetensors=False)


def test_card_has_recipe_sources_similarity_health_and_permissions(run: Run, merged: Path, models: Path):
    run("ledger", merged, "--licence", "mine", "--allow", "no_credit")
    code, out, error = run("card", merged, "--base", models / "a.safetensors")
    assert (code, error) == (0, "")
    shown = re.sub(r"\\(.)", r"\1", out)
    assert "- a x 0.85 + b x 0.15 = AB\n- AB + (c - a) x 1 = N\n" in shown
    assert "AB = 0.85 * a + 0.15 * b\nN = AB + 1 * (c - a)\n" in out
    content = (models / "b.safetensors").read_bytes()
    assert f"| b | {len(content):,} | {hashlib.sha256(content).hexdigest()} |" in shown
    for words in ("## Similarity to a.safetensors (asim, percent)", "| total all 16 |", "## Health", "## Permissions"):
        assert words in shown
    assert "| licence | mine |" in shown and "| use without credit | yes |" in shown and "| sharing merges | unknown |" in shown
    page = run("card", merged, "--html")[1]
    assert page.startswith("<!doctype html>") and "<td>use without credit</td><td>yes</td>" in page


def test_merge_s_card_names_what_its_sources_forbid_and_who_does_not_say(run: Run, models: Path, tmp_path: Path):
    run("ledger", models / "a.safetensors", "--licence", "<X>", "--allow", "all", "--forbid", "sell_merges")
    run("merge", "M = 0.5 * a + 0.5 * b", "--models", models, "-o", tmp_path / "m.safetensors")
    shown = re.sub(r"\\(.)", r"\1", run("card", tmp_path / "m.safetensors")[1])
    assert "| licence of a | " in shown and "- not all is known of b\n" in shown
    assert "| selling the model or merges | no |" in shown and "| sharing merges | unknown |" in shown
    run("ledger", models / "b.safetensors", "--forbid", "share_merges")
    shown = run("card", tmp_path / "m.safetensors")[1]
    assert "| sharing merges | no |" in shown and "sharing merges is forbidden by b\n" in shown
    assert "<X>" not in run("card", tmp_path / "m.safetensors", "--html")[1]


def test_vae_is_compared_by_the_cosine_and_a_broken_model_has_a_card_all_the_same(run: Run, models: Path, tmp_path: Path):
    tensors = read_file(models / "a.safetensors")
    vae = write_file(tmp_path / "vae.safetensors", {key: each for key, each in tensors.items() if key.startswith("first_stage")})
    out = run("card", vae, "--base", vae)[1]
    assert "## Similarity to vae.safetensors \\(cosine, percent\\)" in out and "| total all 1 | 100.0000 |" in out
    key = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    nan = tensors[key]._replace(data=b"\xff" * len(tensors[key].data))
    path = write_file(tmp_path / "nan.safetensors", {**tensors, key: nan})
    code, out, error = run("card", path, "--base", models / "b.safetensors")
    assert (code, error) == (0, "") and "holds NaN" in out and "likely broken" in out


def test_whatever_else_lies_beside_a_model_is_not_looked_for(run: Run, models: Path, tmp_path: Path):
    folder = tmp_path / "one"
    (folder / "locked").mkdir(parents=True)
    for name in ("a [deadbeef].safetensors", "a.ckpt"):
        (folder / name).symlink_to((models / "a.safetensors").resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models_module, "_walk", lambda folder: pytest.fail("walked"))
        code, out, error = run("card", folder / "a [deadbeef].safetensors", "--base", models / "b.safetensors")
    assert (code, error) == (0, "") and "total all" in out


def test_title_is_the_whole_name_of_a_folder(run: Run, models: Path, tmp_path: Path):
    options = ["--models", models, "--format", "diffusers"]
    assert run("merge", "X = 1 * a", *options, "-o", tmp_path / "mix-v1.5")[0] == 0
    for part in (tmp_path / "mix-v1.5").rglob("*.safetensors"):  # what a stranger's would be
        write_file(part, read_file(part))
    assert make_card(tmp_path / "mix-v1.5")[0] == "mix-v1.5"
    (tmp_path / "mix-v1.5.safetensors").symlink_to((models / "a.safetensors").resolve())
    assert make_card(tmp_path / "mix-v1.5.safetensors")[0] == "mix-v1.5"


def test_card_can_be_stopped_while_hashes_are_taken(models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(card_module, "health_of", lambda *given, **named: pytest.fail("all hashes were taken"))
    with pytest.raises(Interrupted):
        make_card(models / "a.safetensors", None, 1, lambda: True)


def test_base_of_another_kind_is_refused_before_anything_is_read(
    models: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(card_module, "site_hashes", lambda *given: pytest.fail("hashed"))
    with pytest.raises(ArchitectureError, match=r"is a model of SDXL\. Name a model of SD 1\.x as the base"):
        make_card(models / "a.safetensors", tiny(tmp_path_factory, "card-xl", "sdxl", seed=3))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


OURS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "ul", "li", "table", "tr", "th", "td", "pre"}
OURS |= {"figure", "img", "figcaption"}
NASTY = "</pre></title><script>alert(1)</script>[x](javascript:alert(1))|`**\x1b[31m\n# y ![z](http://evil)"


def test_texts_of_strangers_are_no_markup():
    sections = [Section(NASTY, [NASTY], [["a", NASTY], [NASTY, "b"]], NASTY + "\n```\n````")]
    tags = Tags()
    tags.feed(html_page(NASTY, sections))
    assert tags.found <= OURS
    text = markdown(NASTY, sections)
    outside = text.partition("`````")[0]
    assert "<" not in outside and "](" not in outside and "\x1b" not in text and "://" not in outside
    assert len([line for line in outside.splitlines() if line.startswith("#")]) == 2
    assert len(markdown("x" * 10_000_000, [])) < 1000


@pytest.mark.parametrize(
    "text",
    ["www.evil.com", "me@evil.com", "@somebody", "---", "- x", "+ x", "1. x", "2) x", "=", "    code", "WWW.x.y", "x\n---"],
)
def test_text_is_neither_an_address_nor_a_list_nor_a_line(text: str):
    shown = markdown("t", [Section("s", [text])]).splitlines()[-1]
    assert shown.startswith("- ") and not re.match(r"[-+=\s]|\d+[.)]", shown[2:])
    assert "@" not in shown and "www." not in shown.lower()
    assert html.unescape(re.sub(r"\\(.)", r"\1", shown[2:])).replace("\u2060", "") == text.replace("\n", " ").strip()


@pytest.mark.parametrize("cell", ["97.3049", "1.5 of it", "1)x"])
def test_numbers_that_begin_no_list_are_written_as_they_are(cell: str):
    assert html.unescape(markdown("t", [Section("s", [], [["a"], [cell]])])).endswith(f"| {cell} |\n".replace(")", "\\)"))
    assert "&#" not in markdown("t", [Section("s", [cell], [["a"], [cell]])])


SHA = "a" * 64
LIES = [
    {"chillymerge": "{"},
    {"chillymerge": json.dumps({"recipe": "((((", "sources": [{"name": NASTY, "size": 1}], "maths": 1})},
    {"chillymerge": json.dumps({"recipe": "x" * 10_000_000, "sources": [{"name": "x" * 10_000_000, "size": 1}], "maths": 1})},
    {"chillymerge": json.dumps({"recipe": "(" * 100_000, "sources": [{"name": "a", "size": 1}] * 5_000, "maths": 1})},
    {"sd_merge_models": json.dumps({SHA: {"name": NASTY, "sd_merge_recipe": {"primary_model_hash": SHA}}, "b": 3, "c" * 64: []})},
    {"sd_merge_models": "[" * 100_000, "modelspec.title": NASTY, "license": NASTY},
    {"modelspec.title": "y" * 10_000_000},
]


@pytest.mark.parametrize("lies", LIES, ids=range(len(LIES)))
def test_hostile_metadata_neither_breaks_a_card_nor_gets_into_its_markup(tmp_path: Path, lies: dict[str, str], run: Run):
    path = write_file(tmp_path / "x.safetensors", model(1), lies)
    title, sections = make_card(path)
    page, tags = html_page(title, sections), Tags()
    tags.feed(page)
    assert tags.found <= OURS and len(page) < 1_000_000 and len(markdown(title, sections)) < 1_000_000


@pytest.mark.parametrize(("said", "shown"), [(" \n\u200b ", "x"), ("y" * 9_000_000, "y" * 200), ("mine", "mine")], ids=range(3))
def test_title_is_neither_empty_nor_long(tmp_path: Path, said: str, shown: str):
    assert make_card(write_file(tmp_path / "x.safetensors", model(1), {"modelspec.title": said}))[0] == shown


def test_file_that_names_itself_among_its_ancestors_is_listed_once(merged: Path):
    own = hashlib.sha256(merged.read_bytes()).hexdigest()
    said = {own: {"name": "me", "sd_merge_recipe": {"primary_model_hash": own}}, SHA: {"name": "other"}}
    write_file(merged, read_file(merged), {**metadata_of(merged), "sd_merge_models": json.dumps(said)})
    own_now = hashlib.sha256(merged.read_bytes()).hexdigest()
    title, sections = make_card(merged)
    (ancestors,) = [section for section in sections if section.title.startswith("Ancestors")]
    assert [row[1] for row in ancestors.rows[1:]] == [own, SHA]
    assert markdown(title, sections).count(own_now) == 1  # its own, among its hashes
