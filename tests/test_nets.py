"""How the mixer draws each architecture: every lane once, skip pairs, resolutions and attention as in the release's keys."""

from __future__ import annotations

import pytest

from lib_chilly.architecture import architecture_names, known_keys, load
from lib_chilly.blocks import BlockWeights, Preset, resolve
from lib_chilly.number_lists import presets
from lib_chilly.ui.nets import net_of
from lib_chilly.ui.problem import FieldError
from lib_chilly.ui.questions import all_questions

SD1_ATTENTION = [
    f"{arm}{number:02}" for arm, numbers in (("IN", (1, 2, 4, 5, 7, 8)), ("OUT", range(3, 12))) for number in numbers
]
SD1_ATTENTION.insert(6, "M00")


@pytest.mark.parametrize("name", architecture_names())
def test_net_draws_every_slot_once_and_names_what_each_other_lane_follows(name):
    net, architecture = net_of(name), load(name)
    if net["kind"] == "u":
        drawn = [block for pair in net["rows"] for block in pair] + ["M00"]
    else:
        drawn = [block for rail in net["rails"] for block in rail]
    assert sorted(["BASE", *drawn]) == sorted(net["slots"])
    assert {lane["name"]: lane["slot"] for lane in net["lanes"]} == dict(architecture.lanes)
    assert net["follows"] == {lane: slot for lane, slot in architecture.lanes.items() if lane != slot}
    assert all(lane["says"] for lane in net["lanes"])


@pytest.mark.parametrize("name", [name for name in architecture_names() if name != "vae"])
def test_groups_hold_blocks_in_the_order_of_the_data_and_never_base(name):
    net = net_of(name)
    order = net["slots"]
    for blocks in net["groups"].values():
        assert blocks and "BASE" not in blocks
        assert blocks == sorted(blocks, key=order.index)


@pytest.mark.parametrize("name", architecture_names())
def test_presets_are_the_numbers_that_the_engine_gives_to_the_slots(name):
    net, architecture = net_of(name), load(name)
    assert set(net["presets"]) == set(presets())
    for preset in ("GRAD_V", "COSINE", "SMOOTHSTEP*3"):
        lanes = resolve(BlockWeights(Preset(preset)), architecture, 0).lanes
        expected = [float(lanes[architecture.lanes_of_slot(slot)[0]]) for slot in architecture.slots]
        assert net["presets"][preset] == pytest.approx(expected, abs=1e-10)


def test_sd1_is_a_u_of_twelve_skip_pairs_and_four_resolutions():
    net = net_of("sd1")
    assert net["rows"][0] == ["IN00", "OUT11"] and net["rows"][-1] == ["IN11", "OUT00"] and len(net["rows"]) == 12
    assert [(level["after"], level["text"]) for level in net["resolutions"]] == [
        (0, "64 × 64"),
        (3, "32 × 32"),
        (6, "16 × 16"),
        (9, "8 × 8"),
    ]
    assert net["groups"]["Attention"] == SD1_ATTENTION
    assert net["follows"] == {"CLIP_L": "BASE", "TIME": "IN00", "FINAL": "OUT11", "VAE": "BASE"}
    says = {lane["name"]: lane["says"] for lane in net["lanes"]}
    assert (says["IN00"], says["IN04"], says["OUT00"]) == (
        "resolution 64, no attention",
        "resolution 32, attention",
        "resolution 8, no attention",
    )


def test_sdxl_has_nine_pairs_three_resolutions_and_label_follows_in00():
    net = net_of("sdxl")
    assert [level["text"] for level in net["resolutions"]] == ["128 × 128", "64 × 64", "32 × 32"]
    assert net["rows"][-1] == ["IN08", "OUT00"]
    assert net["follows"]["LABEL"] == "IN00" and net["follows"]["FINAL"] == "OUT08"


def test_networks_without_skips_are_rails():
    assert net_of("sd3")["rails"] == [[f"J{number:02}" for number in range(24)]]
    assert [len(rail) for rail in net_of("flux")["rails"]] == [19, 38]
    assert list(net_of("flux")["groups"]) == ["Double", "Single"]


def test_attention_is_said_of_blocks_whose_keys_have_it():
    for name in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        architecture = load(name)
        held = {architecture.lane_of(key) for key in known_keys(name) if ".attn1." in key}
        assert {lane["name"] for lane in net_of(name)["lanes"] if lane["attention"]} == held & set(architecture.slots)


def test_unknown_architecture_is_refused_at_its_field():
    with pytest.raises(FieldError, match=r"there is no architecture '\.\./keys/sd1'") as caught:
        all_questions()["net"](None, "../keys/sd1")
    assert caught.value.field == "architecture"


def test_blocks_of_several_transformer_layers_name_these_in_the_order_of_the_data():
    layers = net_of("sdxl")["layers"]
    assert {block: len(names) for block, names in layers.items()} == {
        **dict.fromkeys(("IN04", "IN05", "OUT03", "OUT04", "OUT05"), 2),
        **dict.fromkeys(("IN07", "IN08", "M00", "OUT00", "OUT01", "OUT02"), 10),
    }
    assert layers["IN07"] == [f"IN07.{number}" for number in range(10)]
    assert net_of("sd1")["layers"] == net_of("sd2")["layers"] == {}, "one layer is the block itself"
