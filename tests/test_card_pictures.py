"""Example pictures of a card: from the history and from beside the file, checked, bounded, their captions text."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from checkpoints import model, write_file

from lib_chilly.card import make_card
from lib_chilly.card_pages import html_page
from lib_chilly.card_pictures import image_kind
from lib_chilly.history import Entry, History

Run = Callable[..., tuple[int, str, str]]
NASTY = '"><script>alert(1)</script>](javascript:alert(1))'


def picture(kind: str = "PNG", colour: str = "red") -> bytes:
    target = io.BytesIO()
    PIL.Image.new("RGB", (16, 12), colour).save(target, kind)
    return target.getvalue()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, in a home that has no history yet."""
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    return write_file(tmp_path / "mix.v1.safetensors", model(1))


def shown(page: str) -> list[bytes]:
    """The pictures that are inside an HTML page; it must have no others."""
    addresses = re.findall(r'<img src="([^"]*)"', page)
    assert len(addresses) == page.count("<img") and all(each.startswith("data:image/") for each in addresses)
    return [base64.b64decode(each.partition(",")[2], validate=True) for each in addresses]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_kind_of_a_picture_is_read_from_its_bytes_and_damage_is_none(kind: str):
    content = picture(kind)
    assert image_kind(content) == kind.lower()
    for size in (0, 4, 11, 12, 20, 24):
        assert image_kind(content[:size]) is None
    assert image_kind(b"<svg xmlns='http://www.w3.org/2000/svg'/>") is None and image_kind(b"x" + content) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"progressive": True, "lossless": True}])
def test_pictures_of_other_makers_are_known(kind: str, options: dict[str, bool]):
    target = io.BytesIO()
    PIL.Image.new("RGBA" if kind != "JPEG" else "L", (3, 5)).save(target, kind, exif=b"Exif\0\0" + bytes(300), **options)
    assert image_kind(target.getvalue()) == kind.lower()


def test_pictures_beside_a_file_are_its_examples(run: Run, file: Path, tmp_path: Path):
    (tmp_path / "mix.v1.png").write_bytes(picture())
    (tmp_path / "mix.v1.preview.jpg").write_bytes(picture("JPEG"))
    (tmp_path / "mix.png").write_bytes(picture(colour="blue"))
    (tmp_path / "mix.v1.webp").write_bytes(b"RIFF but no picture")
    (tmp_path / "mix.v1.preview.png").write_bytes(picture() + bytes(5 << 20))
    code, page, error = run("card", file, "--html")
    assert (code, error) == (0, "") and shown(page) == [picture(), picture("JPEG")]
    assert "&#x27;mix.v1.webp&#x27; is left out: it is no PNG" in page and "it has more than 4 MiB" in page
    assert "<figcaption>mix.v1.preview.jpg, which lies beside the file</figcaption>" in page


def test_link_beside_a_file_that_leads_elsewhere_is_not_shown(run: Run, tmp_path: Path):
    (tmp_path / "private.png").write_bytes(picture())
    (tmp_path / "models").mkdir()
    path = write_file(tmp_path / "models" / "x.safetensors", model(1))
    (path.parent / "x.png").symlink_to(tmp_path / "private.png")
    assert "Example pictures" not in run("card", path, "--html")[1]


def test_pictures_of_the_history_are_those_of_the_file_and_of_its_recipe(run: Run, tmp_path: Path, file: Path):
    models = tmp_path
    write_file(models / "b.safetensors", model(2))
    output = tmp_path / "out.safetensors"
    assert run("merge", "M = 0.5 * mix.v1 + 0.5 * b", "--models", models, "-o", output)[0] == 0
    assert "Example pictures" not in run("card", output)[1] and not (tmp_path / "home" / "history.sqlite").exists()
    sha256, kept = hashlib.sha256(output.read_bytes()).hexdigest(), History()
    told = {"params": {"seed": 7, "steps": 12, "cfg": 4.0, "sampler": "DDIM"}, "sources": ("mix.v1", "b")}
    colours = iter(("red", "green", "blue", "white", "black"))

    def keep(recipe: str, of: str | None, **more: object) -> None:
        named = {"name": "M", "bytes": 1, "sha256": of} if of else None
        content = picture("WEBP", next(colours))
        kept.add(Entry("file" if of else "picture", "title", recipe, file=named, thumbnail=content, **{**told, **more}))

    keep("M = 0.5 * mix.v1 + 0.5 * b\nsave(dtype=bf16)\n", None, prompt="the same recipe")
    keep("M = 0.4 * mix.v1 + 0.6 * b\n", None)
    keep("M = 0.5 * mix.v1 + 0.5 * b\n", "0" * 64)
    keep("M = b\n", sha256, prompt=NASTY, params={"seed": NASTY})
    kept.add(Entry("file", "no picture", "M = b\n", file={"sha256": sha256}, thumbnail=b"<svg/>"))
    page = run("card", output, "--html")[1]
    assert shown(page) == [picture("WEBP", "white"), picture("WEBP", "red")]
    assert "<figcaption>the same recipe; seed 7, steps 12, CFG 4.0, DDIM</figcaption>" in page and "<script" not in page
    assert "&quot;&gt;&lt;script&gt;" in page


def test_markdown_names_the_files_that_its_pictures_were_written_to(run: Run, file: Path, tmp_path: Path):
    (tmp_path / "mix.v1.png").write_bytes(picture())
    out = run("card", file)[1]
    assert "](" not in out and "- mix.v1.png, which lies beside the file\n" in out and "--pictures DIR" in out
    folder = tmp_path / "of the card"
    for _ in range(2):  # the same again is no mistake
        code, out, error = run("card", file, "--pictures", folder)
        assert (code, error) == (0, "") and "mix.v1-1.png)" in out and "of%20the%20card/" in out
    assert (folder / "mix.v1-1.png").read_bytes() == picture()
    (folder / "mix.v1-1.png").write_bytes(b"mine")
    code, out, error = run("card", file, "--pictures", folder)
    assert (code, out) == (2, "") and "'mix.v1-1.png' is in the folder already" in error
    assert (folder / "mix.v1-1.png").read_bytes() == b"mine"
    assert run("card", file, "--pictures", folder, "--html")[0] == 2


def test_link_that_leads_nowhere_is_no_way_out_of_the_folder_of_pictures(run: Run, file: Path, tmp_path: Path):
    (tmp_path / "mix.v1.png").write_bytes(picture())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "mix.v1-1.png").symlink_to(tmp_path / "outside")
    code, _, error = run("card", file, "--pictures", tmp_path / "pictures")
    assert code == 2 and "pictures cannot be written" in error and not (tmp_path / "outside").exists()


def test_card_of_a_file_with_many_pictures_stays_small(file: Path):
    sha256, kept = hashlib.sha256(file.read_bytes()).hexdigest(), History()
    for number in range(20):
        kept.add(Entry("file", "x", "M = a\n", file={"sha256": sha256}, thumbnail=picture(colour=f"#0000{number:02x}")))
    title, sections = make_card(file)
    (section,) = [each for each in sections if each.title == "Example pictures"]
    assert len(section.pictures) == 8 and section.lines == ["and 12 more"] and len(shown(html_page(title, sections))) == 8
