"""`bench --all`: a report of what each part prints, and bars as long as what they stand for."""

from __future__ import annotations

import pytest

from bench import everything
from bench.everything import peers_picture
from bench.peers import OURS
from lib_chilly.canvas import Box
from lib_chilly.errors import RecipeError


def test_report_has_what_each_part_prints_and_why_one_was_not_measured(run, tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        print("## begun")
        raise RecipeError("there is no room.")

    monkeypatch.setattr(everything, "run_plans", lambda rounds, as_json: print(f"## plans\n\n| {rounds} |"))
    monkeypatch.setattr(everything, "run_memory", refused)
    code, out, _ = run("bench", "--all", "--only", "memory", "--only", "plans", "--rounds", "2", "--dir", tmp_path / "new")
    assert code == 0 and out == f"wrote '{tmp_path / 'new' / 'report.md'}'.\n"
    lines = (tmp_path / "new" / "report.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# Measured", "## memory", "### begun", "## plans", "### plans"]
    assert "Not measured: there is no room." in lines and "| 2 |" in lines
    assert "`./chilly bench --all --only memory --rounds 2`" in lines


def test_part_that_is_not_there_is_one_sentence(run, tmp_path):
    code, _, err = run("bench", "--all", "--only", "plan", "--dir", tmp_path / "new")
    assert code == 2 and err.startswith("chilly: there is no part 'plan'. Parts: plans, memory, ")
    assert not (tmp_path / "new").exists()


def test_bars_are_as_long_as_the_medians_and_ours_stands_out():
    runs = {
        "floor 2": [{"wall": 1.0, "cpu": 2.0}],
        OURS: [{"wall": wall, "cpu": 1.0, "rss_above_torch": 7 << 20} for wall in (1, 2, 9)],
    }
    runs["other"] = [{"wall": 8.0, "cpu": 4.0, "rss_above_torch": 700 << 20}]
    bars = [shape for shape in peers_picture(runs).shapes if isinstance(shape, Box)]
    longest = bars[2].width
    assert [bar.width / longest for bar in bars] == pytest.approx([1 / 8, 2 / 8, 1, 2 / 4, 1 / 4, 1, 0.01, 1])
    assert [bar.fill == bars[1].fill for bar in bars] == [False, True, False] * 2 + [True, False]
