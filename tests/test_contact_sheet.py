"""The demo's contact sheet: which pictures it has, where they stand, and that no half of it is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lib_chilly.contact_sheet import count_pictures, save_sheet
from lib_chilly.demo import CARD, STEPS
from lib_chilly.demo_sheet import PROMPTS, DemoSheet
from lib_chilly.errors import Interrupted, OutputError
from lib_chilly.family import MEMBERS, build_family
from lib_chilly.host.base import GenParams
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.plan import Plan

COLOURS = dict(zip(PROMPTS, ("#c00000", "#e0c000", "#00a000", "#8000c0"), strict=True))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All members."""
    folder = tmp_path_factory.mktemp("family")
    list(build_family(folder))
    return folder


@pytest.fixture
def sheet(models: Path, monkeypatch: pytest.MonkeyPatch) -> DemoSheet:
    """The demo's, painted by a host whose pictures are of one colour for each prompt."""

    def preview(_: StandaloneHost, plan: Plan, params: GenParams) -> SimpleNamespace:
        return SimpleNamespace(image=Image.new("RGB", (64, 64), COLOURS[params.prompt]))

    monkeypatch.setattr(StandaloneHost, "preview", preview)
    return DemoSheet(models, CARD.read_text("utf-8"), STEPS)


def after(count: int) -> Callable[[], bool]:
    """Says stop when it is asked for the last of `count` times."""
    left = iter(range(count - 1))
    return lambda: next(left, None) is None


def test_every_source_that_paints_and_every_step_has_a_row(sheet: DemoSheet):
    sources, steps, *_ = sheet.sections
    assert [name.partition(":")[0] for name, _ in sources.rows] == [member.name for member in MEMBERS if member.paints]
    assert [name for name, _ in steps.rows] == list(STEPS)
    assert sheet.sections is sheet.sections  # planned once


def test_every_row_has_a_picture_for_each_column_and_all_of_them_are_on_the_sheet(sheet: DemoSheet, tmp_path: Path):
    sections = sheet.sections
    assert all(len(cells) == len(section.columns) for section in sections for _, cells in section.rows)
    assert sheet.save(tmp_path / "sheet.png", lambda: False) == count_pictures(sections)
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    colours = [cell.prompt for section in sections for _, cells in section.rows for cell in cells]
    for prompt, colour in COLOURS.items():
        wanted = tuple(bytes.fromhex(colour[1:]))
        assert int((pixels == wanted).all(-1).sum()) == colours.count(prompt) * 128 * 128, prompt


def test_sheet_that_is_stopped_leaves_the_one_that_was_there(sheet: DemoSheet, tmp_path: Path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"of the last run")
    with pytest.raises(Interrupted):
        sheet.save(path, after(3))
    assert [(other.name, other.read_bytes()) for other in tmp_path.iterdir()] == [("sheet.png", b"of the last run")]


def test_sheet_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    with pytest.raises(OutputError, match=r"sheet\.png' cannot be written: No such file or directory\.$"):
        save_sheet(Image.new("RGB", (4, 4)), tmp_path / "missing" / "sheet.png")
