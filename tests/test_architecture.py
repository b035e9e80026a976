"""Which model is this key set, and which lane has each key: all keys of the original releases, against rules written by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from checkpoints import merge_in, model, plan_in, stored, tiny, write_models
from reference import read_file

from lib_chilly.architecture import FOLDER, architectures, detect, known_keys, load
from lib_chilly.errors import ArchitectureError, CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

KNOWN = [row.name for row in architectures()]
KEY_LISTS = sorted(path.stem for path in (FOLDER / "keys").glob("*.json"))
EXTRAS = Path(__file__).parent / "data"
OLD = {
    "cond_stage_model.transformer.text_model.embeddings.": "cond_stage_model.transformer.embeddings.",
    "cond_stage_model.transformer.text_model.encoder.": "cond_stage_model.transformer.encoder.",
    "cond_stage_model.transformer.text_model.final_layer_norm.": "cond_stage_model.transformer.final_layer_norm.",
}
"""Today's key prefixes of SD 1.x's text encoder, to those of early releases."""


def extras(name: str) -> Shapes:
    return {key: tuple(shape) for key, (_, shape) in json.loads((EXTRAS / f"{name}-extras.json").read_text("utf-8")).items()}


def full(name: str) -> Shapes:
    return {key: shape for key, (_, shape) in known_keys(name).items()}


# ---- lanes ----

UNET = [
    (r"model\.diffusion_model\.input_blocks\.(\d+)\..*", "IN"),
    (r"model\.diffusion_model\.middle_block\..*", "M00"),
    (r"model\.diffusion_model\.output_blocks\.(\d+)\..*", "OUT"),
    (r"model\.diffusion_model\.time_embed\.[02]\.(weight|bias)", "TIME"),
    (r"model\.diffusion_model\.out\.[02]\.(weight|bias)", "FINAL"),
    (r"first_stage_model\..*", "VAE"),
]
RULES = {
    "sd1": [*UNET, (r"cond_stage_model\..*", "CLIP_L")],
    "sdxl": [
        *UNET,
        (r"model\.diffusion_model\.label_emb\.0\.[02]\.(weight|bias)", "LABEL"),
        (r"conditioner\.embedders\.0\..*", "CLIP_L"),
        (r"conditioner\.embedders\.1\..*", "CLIP_G"),
    ],
}
COUNTS = {
    "sd1": {"TIME": 4, "FINAL": 4, "IN00": 2, "IN03": 2, "VAE": 248, "CLIP_L": 197},
    "sdxl": {"TIME": 4, "LABEL": 4, "FINAL": 4, "IN00": 2, "IN03": 2, "VAE": 248, "CLIP_L": 197, "CLIP_G": 32 * 12 + 6},
}


def lane_by_hand(name: str, key: str) -> str | None:
    found = [lane if not match.groups() or lane in ("TIME", "FINAL", "LABEL") else f"{lane}{int(match[1]):02}"
             for rule, lane in RULES[name] if (match := re.fullmatch(rule, key))]  # fmt: skip
    assert len(found) <= 1, f"{key} has two lanes"
    return found[0] if found else None


@pytest.mark.parametrize("name", RULES)
def test_every_key_has_its_one_lane_or_is_copied_or_dropped(name):
    row = load(name)
    for key in full(name):
        assert row.lane_of(key) == lane_by_hand(name, key) is not None, key
        assert row.is_copied(key) == key.endswith("position_ids"), key
        assert not row.is_dropped(key), key
    for key in extras(name):
        assert row.lane_of(key) is None, key
        assert row.is_dropped(key) == key.startswith("model_ema."), key
        assert row.is_copied(key), key


@pytest.mark.parametrize("name", RULES)
def test_every_lane_is_hit_and_has_the_keys_that_the_release_has(name):
    row = load(name)
    counts = Counter(row.lane_of(key) for key in full(name))
    assert set(counts) == set(row.lanes)
    assert {lane: counts[lane] for lane in COUNTS[name]} == COUNTS[name]


@pytest.mark.parametrize("name", KNOWN)
def test_every_slot_has_a_lane_and_every_lane_a_slot(name):
    row = load(name)
    assert row.slots[0] == "BASE"
    assert set(row.lanes.values()) == set(row.slots)
    assert all(row.lanes[slot] == slot for slot in row.slots[1:]), "a slot that is a lane takes its own number"
    assert [lane for lane in row.lanes if lane in row.slots] == list(row.slots[1:]), "lanes and slots are in one order"


@pytest.mark.parametrize("name", KNOWN)
def test_every_key_of_the_release_lies_in_one_component(name):
    row = load(name)
    for key in full(name):
        assert sum(key.startswith(prefixes) for prefixes in row.components.values()) == 1, key


@pytest.mark.parametrize("name", KNOWN)
def test_first_convolution_is_in_the_release_with_its_channels(name):
    row = load(name)
    if row.conv_in.extended:
        assert full(name)[row.conv_in.key][1] == row.conv_in.channels


def test_block_number_beyond_the_architecture_has_no_lane():
    assert load("sdxl").lane_of("model.diffusion_model.input_blocks.9.0.op.weight") is None
    assert load("sd1").lane_of("model.diffusion_model.output_blocks.12.0.in_layers.0.weight") is None
    assert load("sd1").lane_of("model.diffusion_model.output_blocks.11.0.in_layers.0.weight") == "OUT11"


# ---- detection ----


def tiny_shapes(shapes: Shapes) -> Shapes:
    """The same with narrow tensors: detection must not look at widths."""
    return {key: tuple(min(size, 2) for size in shape) for key, shape in shapes.items()}


def without(prefixes: tuple[str, ...]) -> Callable[[Shapes], Shapes]:
    return lambda shapes: {key: shape for key, shape in shapes.items() if not key.startswith(prefixes)}


TEXT_ENCODERS = ("cond_stage_model.", "conditioner.", "text_encoders.")
VAES = ("first_stage_model.", "vae.")
VARIANTS: Mapping[str, Callable[[Shapes], Shapes]] = {
    "full": dict,
    "tiny": tiny_shapes,
    "without VAE": without(VAES),
    "without text encoder": without(TEXT_ENCODERS),
    "UNet alone": without(VAES + TEXT_ENCODERS),
    "backwards": lambda shapes: dict(reversed(shapes.items())),
    "with strangers": lambda shapes: {"somebody.else": (3,), **shapes, "model_ema.decay": (), "v_pred": (0,)},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", KEY_LISTS)
def test_keys_are_known_as_their_own_architecture_and_no_other(name, variant):
    shapes = VARIANTS[variant](full(name))
    assert [row.name for row in architectures() if row.fits(shapes)] == ([name] if name in KNOWN else [])
    if name in KNOWN:
        assert detect(shapes, "file").name == name
    else:
        with pytest.raises(ArchitectureError, match="is no checkpoint of a known architecture"):
            detect(shapes, "file")


@pytest.mark.parametrize("name", RULES)
def test_keys_are_known_with_all_extras_of_training(name):
    assert [row.name for row in architectures() if row.fits({**full(name), **extras(name)})] == [name]


def renamed(shapes: Shapes) -> Shapes:
    """With the text encoder's keys as early releases have them."""
    return {
        next((key.replace(new, old) for new, old in OLD.items() if key.startswith(new)), key): shape
        for key, shape in shapes.items()
    }


@pytest.mark.parametrize("lacks", [(), VAES], ids=["whole", "without VAE"])
@pytest.mark.parametrize("make", [dict, tiny_shapes], ids=["full", "tiny"])
def test_sd1_with_the_old_spelling_is_sd1_and_reads_as_today(lacks, make):
    shapes = make(without(lacks)(full("sd1"))) if lacks else make(full("sd1"))
    old = renamed(shapes)
    assert sum(key not in shapes for key in old) == 197
    assert [row.name for row in architectures() if row.fits(old)] == ["sd1"]
    assert {load("sd1").canonical_key(key) for key in old} == set(shapes)


@pytest.mark.parametrize("name", RULES)
def test_spelling_of_today_stays_as_it_is(name):
    assert [key for key in (*full(name), *extras(name)) if load(name).canonical_key(key) != key] == []


@pytest.mark.parametrize("channels", [8, 9])
@pytest.mark.parametrize("name", RULES)
def test_inpainting_and_pix2pix_models_are_of_their_architecture(name, channels):
    shapes = dict(full(name))
    key = load(name).conv_in.key
    shapes[key] = (320, channels, 3, 3)
    assert detect(shapes, "file").name == name


def test_sdxl_refiner_is_not_taken_for_sdxl():
    # The refiner has one text encoder, four levels and no attention with ten layers.
    refiner = {key: shape for key, shape in full("sdxl").items() if "transformer_blocks.9." not in key}
    refiner["model.diffusion_model.input_blocks.9.0.op.weight"] = (1536, 1536, 3, 3)
    with pytest.raises(ArchitectureError):
        detect(refiner, "refiner.safetensors")
    with pytest.raises(ArchitectureError):
        detect({**full("sdxl"), "model.diffusion_model.input_blocks.9.0.op.weight": (1536, 1536, 3, 3)}, "refiner.safetensors")


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",),
        ("first_stage_model.decoder.conv_in.weight",),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight",),
        ("down_blocks.0.resnets.0.conv1.weight",),
        ("model.diffusion_model.input_blocks.0.0.weight",),
    ],
    ids=["nothing", "LoRA", "VAE", "text encoder", "diffusers", "one tensor"],
)
def test_what_is_no_checkpoint_is_refused_with_its_name_and_a_key(keys):
    with pytest.raises(
        ArchitectureError, match=r"^'thing.safetensors' is no checkpoint of a known architecture \(SD 1.x"
    ) as caught:
        detect(dict.fromkeys(keys, (1,)), "thing.safetensors")
    assert all(key in str(caught.value) for key in keys)


# ---- files ----


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("lacks", [(), ("vae",)], ids=["whole", "without VAE"])
def test_tiny_checkpoint_is_planned_as_its_architecture_with_a_lane_for_every_key(tmp_path_factory, name, lacks):
    path = tiny(tmp_path_factory, f"{name}-{'-'.join(lacks) or 'whole'}", name, without=lacks)
    plan = plan_in(path.parent, f"M = mean({path.stem})")
    assert plan.architecture.name == name
    assert {job.key: job.lane for job in plan.jobs} == {key: lane_by_hand(name, key) for key in read_file(path)}


def test_models_of_two_architectures_are_refused_together(tmp_path_factory):
    folder = tiny(tmp_path_factory, "sd1").parent
    tiny(tmp_path_factory, "sdxl", "sdxl")
    with pytest.raises(ArchitectureError) as caught:
        plan_in(folder, "M = mean(sd1, sdxl)")
    assert str(caught.value) == "'sd1' is SD 1.x, 'sdxl' is SDXL. A merge needs one architecture; choose other models."


def test_key_in_both_spellings_is_refused(tmp_path: Path):
    new, old = next(iter(OLD.items()))
    twice = {new + "layers.0.x": stored([1.0], "fp16"), old + "layers.0.x": stored([2.0], "fp16")}
    write_models(tmp_path, a=model(1, only=[], extras=twice), b=model(2, only=[]))
    with pytest.raises(CheckpointError, match=r"'a.safetensors' holds '.*' twice, in an old and in today's spelling"):
        merge_in(tmp_path, "M = mean(a, b)", tmp_path / "out.tmp")
