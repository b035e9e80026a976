"""Memory stays flat over many pictures and cells, also where some fail; nothing of the user's is changed by them."""

from __future__ import annotations

import pytest
from house import House
from samples import MIX, of_users

pytestmark = pytest.mark.timeout(1200)

REASONS = {
    **dict.fromkeys(("interrupt", "skip", "cancel"), "stopped"),
    "out of memory": "too little memory",
    "shape": "the webui made no picture: RuntimeError",
    "no number": "NaN",
}


def merges(webui: House, count: int) -> float:
    """MiB of so many merges of A and B."""
    return count * (webui.models / "A.safetensors").stat().st_size / (1 << 20)


def test_memory_is_flat_over_many_pictures_of_which_some_fail_each_with_its_reason(webui: House):
    before, count = webui.call("state"), 60  # `./chilly bench --webui` prints it over 200
    many = webui.call("measuring.many_previews", count, 50, 10)
    assert [way for way, _ in many["failed"][:6]] == ["skip", "cancel", "out of memory", "shape", "no number", "interrupt"]
    assert len(many["failed"]) == count // 10 and all(REASONS[way] in said for way, said in many["failed"])
    assert many["wrong"] == [] and of_users(many) == of_users(before)
    assert len(many["held"]) == 1
    first, *_, last = many["memory"]
    assert last - first < merges(webui, count - 10) / 4


def test_memory_is_flat_over_many_cells(webui: House):
    merged, alpha = 15, "[ChillyMerge] alpha"
    webui.call("grid", [alpha, f"0-1 [{merged // 5}]"], recipe=MIX, steps=1)
    before = webui.call("own_memory")
    grid = webui.call("grid", [alpha, f"0-1 [{merged}]"], ["Seed", "1,2"], recipe=MIX, steps=1)
    assert grid["built"] == merged and len(set(grid["pictures"])) == 2 * merged
    assert webui.call("own_memory") - before < merges(webui, merged) / 4
