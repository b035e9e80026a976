"""Which model is this key set, and which lane has each key: all keys of the original releases, against rules written by hand."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import pytest
from checkpoints import merge_in, model, plan_in, stored, tiny, write_file, write_models
from reference import Stored, read_file, weighted

from bench.plans import write_sparse
from lib_chilly.architecture import FOLDER, architecture_names, architectures, detect, known_keys, load
from lib_chilly.errors import ArchitectureError, CheckpointError
from lib_chilly.memory import peak_memory_bytes

Shapes = Mapping[str, tuple[int, ...]]

KNOWN = list(architecture_names())
EXTRAS = Path(__file__).parent / "data"
WITH_EXTRAS = ("sd1", "sdxl")
"""Architectures whose EMA copies, schedules and markers are listed."""
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

VAE = [(r"first_stage_model\..*", "VAE")]
UNET = [
    (r"model\.diffusion_model\.input_blocks\.(\d+)\..*", "IN"),
    (r"model\.diffusion_model\.middle_block\..*", "M00"),
    (r"model\.diffusion_model\.output_blocks\.(\d+)\..*", "OUT"),
    (r"model\.diffusion_model\.time_embed\.[02]\.(?:weight|bias)", "TIME"),
    (r"model\.diffusion_model\.out\.[02]\.(?:weight|bias)", "FINAL"),
    *VAE,
]
LABEL = (r"model\.diffusion_model\.label_emb\.0\.[02]\.(?:weight|bias)", "LABEL")
RULES = {
    "sd1": [*UNET, (r"cond_stage_model\..*", "CLIP_L")],
    "sd2": [*UNET, (r"cond_stage_model\.model\..*", "CLIP_L")],
    "sdxl": [*UNET, LABEL, (r"conditioner\.embedders\.0\..*", "CLIP_L"), (r"conditioner\.embedders\.1\..*", "CLIP_G")],
    "sdxl-refiner": [*UNET, LABEL, (r"conditioner\.embedders\.0\.model\..*", "CLIP_G")],
    "sd3": [
        *VAE,
        (r"model\.diffusion_model\.joint_blocks\.(\d+)\..*", "J"),
        (r"model\.diffusion_model\.(?:[xty]_embedder\..*|context_embedder\..*|pos_embed)", "EMBED"),
        (r"model\.diffusion_model\.final_layer\..*", "FINAL"),
        (r"text_encoders\.clip_l\..*", "CLIP_L"),
        (r"text_encoders\.clip_g\..*", "CLIP_G"),
        (r"text_encoders\.t5xxl\..*", "T5"),
    ],
    "flux": [
        (r"vae\..*", "VAE"),
        (r"model\.diffusion_model\.double_blocks\.(\d+)\..*", "D"),
        (r"model\.diffusion_model\.single_blocks\.(\d+)\..*", "S"),
        (r"model\.diffusion_model\.(?:img|txt|time|vector|guidance)_in\..*", "EMBED"),
        (r"model\.diffusion_model\.final_layer\..*", "FINAL"),
        (r"text_encoders\.clip_l\..*", "CLIP_L"),
        (r"text_encoders\.t5xxl\..*", "T5"),
    ],
    "vae": VAE,
}
"""Architecture to (keys, lane); where keys have a number in a group, it ends the lane's name."""
COPIED = {"sd3": {"model.model_sampling.sigmas"}}
"""Keys of a release that have no lane."""
COUNTS = {
    "sd1": {"TIME": 4, "FINAL": 4, "IN00": 2, "IN03": 2, "VAE": 248, "CLIP_L": 197},
    "sd2": {"TIME": 4, "FINAL": 4, "IN00": 2, "IN03": 2, "VAE": 248, "CLIP_L": 294},
    "sdxl": {"TIME": 4, "LABEL": 4, "FINAL": 4, "IN00": 2, "IN03": 2, "VAE": 248, "CLIP_L": 197, "CLIP_G": 32 * 12 + 6},
    "sdxl-refiner": {"TIME": 4, "LABEL": 4, "FINAL": 4, "IN00": 2, "IN09": 2, "VAE": 248, "CLIP_G": 32 * 12 + 6},
    "sd3": {"EMBED": 13, "FINAL": 4, "J00": 20, "J23": 14, "VAE": 244, "CLIP_L": 198, "CLIP_G": 518, "T5": 220},
    "flux": {"EMBED": 16, "FINAL": 4, "D00": 24, "S37": 8, "VAE": 244, "CLIP_L": 196, "T5": 219},
    "vae": {"VAE": 248},
}


def lane_by_hand(name: str, key: str) -> str | None:
    found = [f"{lane}{int(match[1]):02}" if match.groups() else lane
             for rule, lane in RULES[name] if (match := re.fullmatch(rule, key))]  # fmt: skip
    assert len(found) <= 1, f"{key} has two lanes"
    return found[0] if found else None


@pytest.mark.parametrize("name", RULES)
def test_every_key_has_its_one_lane_or_is_copied_or_dropped(name):
    row = load(name)
    for key in full(name):
        assert row.lane_of(key) == lane_by_hand(name, key), key
        assert (row.lane_of(key) is None) == (key in COPIED.get(name, ())), key
        assert row.is_copied(key) == (key.endswith("position_ids") or key in COPIED.get(name, ())), key
        assert not row.is_dropped(key), key
    for key in extras(name) if name in WITH_EXTRAS else ():
        assert row.lane_of(key) is None, key
        assert row.is_dropped(key) == key.startswith("model_ema."), key
        assert row.is_copied(key), key


@pytest.mark.parametrize("name", RULES)
def test_every_lane_is_hit_and_has_the_keys_that_the_release_has(name):
    row = load(name)
    counts = Counter(row.lane_of(key) for key in full(name))
    assert set(counts) - {None} == set(row.lanes)
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
        assert sum(key.startswith(prefixes) for prefixes in row.components.values()) == (key not in COPIED.get(name, ())), key


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


def test_every_architecture_has_its_list_of_keys_and_no_list_stands_alone():
    assert sorted(path.stem for path in (FOLDER / "keys").glob("*.json")) == sorted(KNOWN) == sorted(RULES)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [name for name in KNOWN if name != "vae"])
def test_keys_are_known_as_their_own_architecture_and_no_other(name, variant):
    shapes = VARIANTS[variant](full(name))
    assert [row.name for row in architectures() if row.fits(shapes)] == [name]
    assert detect(shapes, "file").name == name


@pytest.mark.parametrize("make", [dict, tiny_shapes], ids=["full", "tiny"])
@pytest.mark.parametrize("name", [name for name in KNOWN if name != "vae"])
def test_unet_by_itself_without_its_prefix_is_known_and_reads_with_it(name, make):
    whole = {key: shape for key, shape in make(full(name)).items() if key.startswith("model.diffusion_model.")}
    bare = {key.removeprefix("model.diffusion_model."): shape for key, shape in whole.items()}
    assert [row.name for row in architectures() if row.fits(bare)] == [name]
    assert [load(name).canonical_key(key) for key in bare] == list(whole)
    assert load(name).bare_prefix(bare) == "model.diffusion_model."
    assert load(name).bare_prefix(whole) == load(name).bare_prefix(full(name)) == ""


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize("make", [dict, tiny_shapes], ids=["full", "tiny"])
@pytest.mark.parametrize("name", KNOWN)
def test_vae_by_itself_is_known_however_it_is_spelled_and_reads_as_its_checkpoints(name, make, prefix):
    (own,) = load(name).components["vae"]
    whole = {key: shape for key, shape in make(full(name)).items() if key.startswith(own)}
    alone = {prefix + key.removeprefix(own): shape for key, shape in whole.items()}
    assert [row.name for row in architectures() if row.fits(alone)] == ["vae"]
    assert load("vae").bare_prefix(alone) == ("" if prefix else "first_stage_model.")
    assert [load(name).canonical_key(key) for key in alone] == list(whole)


@pytest.mark.parametrize("name", WITH_EXTRAS)
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
    assert [
        key for key in (*full(name), *(extras(name) if name in WITH_EXTRAS else ())) if load(name).canonical_key(key) != key
    ] == []


@pytest.mark.parametrize("channels", [8, 9])
@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_inpainting_and_pix2pix_models_are_of_their_architecture(name, channels):
    shapes = dict(full(name))
    key = load(name).conv_in.key
    shapes[key] = (320, channels, 3, 3)
    assert detect(shapes, "file").name == name


def test_sizes_of_the_refiner_are_those_of_its_release():
    # sd_xl_refiner_1.0.safetensors is fp16 and has 6,075,981,930 bytes, a header of about 300,000 among them.
    values = sum(math.prod(shape) for shape in full("sdxl-refiner").values())
    assert 0 < 6_075_981_930 - 2 * values < 400_000


OTHERS = {
    "SDXL with a fourth level": ("sdxl", {"model.diffusion_model.input_blocks.9.0.op.weight": (1, 1, 3, 3)}, ()),
    "SD 2.1 unclip": ("sd2", {"model.diffusion_model.label_emb.0.0.weight": (1, 1)}, ()),
    "SD 2 upscaler": ("sd2", {"model.diffusion_model.label_emb.weight": (1, 1)}, ()),
    "SD 3.5 large": ("sd3", {"model.diffusion_model.joint_blocks.24.x_block.attn.qkv.weight": (1, 1)}, ()),
    "Flux with fewer blocks": ("flux", {}, ("model.diffusion_model.double_blocks.18.",)),
    "Flux with more blocks": ("flux", {"model.diffusion_model.single_blocks.38.linear1.weight": (1, 1)}, ()),
    "Chroma": ("flux", {}, tuple(f"model.diffusion_model.double_blocks.{i}.img_mod." for i in range(19))),
}


@pytest.mark.parametrize("other", OTHERS)
def test_relative_with_other_blocks_is_refused_rather_than_half_merged(other):
    name, more, fewer = OTHERS[other]
    with pytest.raises(ArchitectureError):
        detect({**without(fewer)(full(name)), **more} if fewer else {**full(name), **more}, "relative.safetensors")


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",),
        ("first_stage_model.decoder.conv_in.weight",),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight",),
        ("down_blocks.0.resnets.0.conv1.weight",),
        ("decoder.conv_in.weight", "decoder.mid_block.resnets.0.norm1.weight"),
        ("model.diffusion_model.input_blocks.0.0.weight",),
    ],
    ids=["nothing", "LoRA", "one of a VAE", "text encoder", "diffusers U-Net", "diffusers VAE", "one tensor"],
)
def test_what_is_no_checkpoint_is_refused_with_its_name_and_a_key(keys):
    with pytest.raises(
        ArchitectureError, match=r"^'thing.safetensors' is no checkpoint of a known architecture \(Flux.1, SD 1.x"
    ) as caught:
        detect(dict.fromkeys(keys, (1,)), "thing.safetensors")
    assert not keys or min(keys) in str(caught.value)


# ---- files ----


@pytest.mark.parametrize(
    ("name", "lacks"), [*((name, ()) for name in RULES), *((name, ("vae",)) for name in RULES if name != "vae")]
)
def test_tiny_checkpoint_is_planned_as_its_architecture_with_a_lane_for_every_key(tmp_path_factory, name, lacks):
    path = tiny(tmp_path_factory, f"{name}-{'-'.join(lacks) or 'whole'}", name, without=lacks)
    plan = plan_in(path.parent, f"M = mean({path.stem})")
    assert plan.architecture.name == name
    assert {job.key: job.lane for job in plan.jobs} == {key: lane_by_hand(name, key) or "OTHER" for key in read_file(path)}


def numbered(name: str) -> tuple[str, dict[str, Fraction]]:
    """A list of different numbers for an architecture's slots, and what it gives each lane."""
    row = load(name)
    numbers = {slot: Fraction(index, 64) for index, slot in enumerate(row.slots, start=1)}
    return f"[{', '.join(f'{index}/64' for index in range(1, len(row.slots) + 1))}]", {
        lane: numbers[slot] for lane, slot in row.lanes.items()
    }


@pytest.mark.parametrize("inpainting", [False, True], ids=["", "inpainting"])
@pytest.mark.parametrize("name", RULES)
def test_merge_of_tiny_checkpoints_equals_the_reference_on_every_element(tmp_path_factory, tmp_path, name, inpainting):
    if inpainting and "inpainting" not in load(name).conv_in.extended.values():
        with pytest.raises(ArchitectureError, match="no inpainting models"):
            tiny(tmp_path_factory, f"{name}-painting", name, inpainting=True)
        return
    kind = "-painting" if inpainting else ""
    a, b = (tiny(tmp_path_factory, f"{name}{kind}-{seed}", name, seed=seed, inpainting=inpainting) for seed in range(2))
    merged = merged_by_numbers(name, a, b, tmp_path)
    assert set(merged) == set(known_keys(name))
    assert not inpainting or merged[load(name).conv_in.key].shape[1] == 9


UNET_PREFIX = "model.diffusion_model."
PARTS = {
    **{f"{name} U-Net": (name, UNET_PREFIX) for name in RULES if name != "vae"},
    **{f"{name} VAE": (name, prefix) for name, prefix in (("sd1", "first_stage_model."), ("sdxl", "first_stage_model."))},
    **{f"{name} VAE": (name, load(name).components["vae"][0]) for name in ("sd3", "flux")},
}
"""What lies in a file by itself to (architecture of the release, prefix of its keys there)."""


@pytest.mark.parametrize("strip", [True, False], ids=["without prefix", "with prefix"])
@pytest.mark.parametrize("part", PARTS)
def test_merge_of_one_component_by_itself_equals_the_reference_on_every_element(tmp_path_factory, tmp_path, part, strip):
    name, prefix = PARTS[part]
    wholes = (tiny(tmp_path_factory, f"{name}-{seed}", name, seed=seed) for seed in range(2))
    a, b = (part_of(whole, prefix, tmp_path / f"{x}.safetensors", strip) for x, whole in zip("ab", wholes, strict=True))
    is_vae = prefix != UNET_PREFIX
    own = "first_stage_model." if is_vae else prefix
    merged = merged_by_numbers("vae" if is_vae else name, a, b, tmp_path, own if strip else "", prefix if is_vae else "")
    assert len(merged) == sum(key.startswith(prefix) for key in known_keys(name))


def merged_by_numbers(name: str, a: Path, b: Path, folder: Path, lacks: str = "", spelled: str = "") -> dict[str, Stored]:
    """Merge two files with a number of its own for each slot; each key is what numpy makes of it.

    Args:
        lacks: prefix that the files' keys lack.
        spelled: prefix that a VAE's keys have in the place of SD's.
    """
    text, alphas = numbered(name)
    merge_in(a.parent, f"M = weighted_sum({a.stem}, {b.stem}, alpha={text})", folder / "out.tmp")
    first, second, merged = read_file(a), read_file(b), read_file(folder / "out.tmp")
    if spelled and not lacks:
        first, second = (
            {f"first_stage_model.{key.removeprefix(spelled)}": value for key, value in one.items()} for one in (first, second)
        )
    assert set(merged) == set(first)
    for key, tensor in merged.items():
        lane = lane_by_hand(name, lacks + key)
        if lane is None or key.endswith("position_ids"):
            assert tensor.data == first[key].data, key
        else:
            terms = [(1 - alphas[lane], first[key].values), (alphas[lane], second[key].values)]
            assert tensor.data == weighted(terms, "fp16"), key
    return merged


# ---- full size, without the bytes ----


@pytest.mark.parametrize("name", RULES)
def test_full_size_files_of_holes_are_detected_and_planned(tmp_path: Path, name):
    for letter in "ab":
        write_sparse(tmp_path / f"{letter}.safetensors", name)
    plan = plan_in(tmp_path, "M = weighted_sum(a, b, alpha=0.3)")
    assert plan.architecture.name == name
    assert {job.key: job.shape for job in plan.jobs} == full(name)
    assert plan.data_bytes == sum(
        math.prod(shape) * (8 if key.endswith("position_ids") else 2) for key, shape in full(name).items()
    )


@pytest.mark.parametrize("part", PARTS)
def test_full_size_component_of_holes_by_itself_is_detected_and_planned(tmp_path: Path, part):
    name, prefix = PARTS[part]
    for letter in "ab":
        write_sparse(tmp_path / f"{letter}.safetensors", name, prefix)
    plan = plan_in(tmp_path, "M = weighted_sum(a, b, alpha=0.3)")
    is_vae = prefix != UNET_PREFIX
    assert plan.architecture.name == ("vae" if is_vae else name)
    own = "first_stage_model." if is_vae else prefix
    assert {job.key: job.shape for job in plan.jobs} == {
        own + key.removeprefix(prefix): shape for key, shape in full(name).items() if key.startswith(prefix)
    }


def test_memory_of_twelve_sources_is_that_of_two(tmp_path: Path):
    names = [f"x{number}" for number in range(12)]
    for name in names:
        write_sparse(tmp_path / f"{name}.safetensors", "sdxl")
    two, twelve = (plan_in(tmp_path, f"M = mean({', '.join(names[:count])})") for count in (2, 12))
    assert peak_memory_bytes(two, 2) == peak_memory_bytes(twelve, 2)
    assert twelve.reads_bytes > 5 * two.reads_bytes


# ---- one component by itself ----


def part_of(path: Path, prefix: str, output: Path, strip: bool) -> Path:
    tensors = {key: tensor for key, tensor in read_file(path).items() if key.startswith(prefix)}
    return write_file(output, {key.removeprefix(prefix) if strip else key: tensor for key, tensor in tensors.items()})


@pytest.mark.parametrize("part", ["flux U-Net", "flux VAE", "sd1 VAE"])
def test_files_of_one_component_without_prefix_give_another_such_file(tmp_path_factory, tmp_path, part):
    name, prefix = PARTS[part]
    for letter, seed in (("a", 0), ("b", 1)):
        whole = tiny(tmp_path_factory, f"{name}-{letter}", name, seed=seed)
        part_of(whole, prefix, tmp_path / f"{letter}.safetensors", strip=True)
        part_of(whole, prefix, tmp_path / f"{letter}-prefixed.safetensors", strip=False)
    for end in ("", "-prefixed"):
        merge_in(tmp_path, f"M = mean(a{end}, b{end})", tmp_path / f"out{end}.tmp")
    bare, prefixed = read_file(tmp_path / "out.tmp"), read_file(tmp_path / "out-prefixed.tmp")
    assert set(bare) == set(read_file(tmp_path / "a.safetensors"))
    own = prefix if name != "flux" or prefix != "vae." else "first_stage_model."
    assert {own + key: tensor for key, tensor in bare.items()} == prefixed
    again = plan_in(tmp_path, "M = mean(a, a-prefixed)")
    assert {job.key for job in again.jobs} == set(prefixed)


def test_bare_unet_and_whole_checkpoint_settle_absent_keys_and_write_the_whole_ones(tmp_path_factory, tmp_path):
    for letter, seed in (("a", 0), ("b", 1)):
        whole = tiny(tmp_path_factory, f"flux-{letter}", "flux", seed=seed)
        (tmp_path / f"{letter}.safetensors").write_bytes(whole.read_bytes())
    part_of(tmp_path / "a.safetensors", "model.diffusion_model.", tmp_path / "unet.safetensors", strip=True)
    merge_in(tmp_path, "M = weighted_sum(unet, b, alpha=0.25)", tmp_path / "out.tmp")
    a, b, merged = (read_file(tmp_path / name) for name in ("a.safetensors", "b.safetensors", "out.tmp"))
    assert set(merged) == set(b)
    for key, tensor in merged.items():
        terms = [(Fraction(3, 4), a[key].values), (Fraction(1, 4), b[key].values)]
        expected = weighted(terms, "fp16") if key.startswith("model.diffusion_model.") else b[key].data
        assert tensor.data == expected, key


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "flux"])
def test_vae_by_itself_counts_as_that_of_the_models_beside_it(tmp_path_factory, tmp_path, name, prefix):
    (own,) = load(name).components["vae"]
    whole, other = tiny(tmp_path_factory, f"{name}-a", name), tiny(tmp_path_factory, f"{name}-b", name, seed=1)
    (tmp_path / "whole.safetensors").write_bytes(whole.read_bytes())
    vae = {prefix + key.removeprefix(own): tensor for key, tensor in read_file(other).items() if key.startswith(own)}
    write_file(tmp_path / "vae.safetensors", vae)
    for recipe in ("weighted_sum(whole, vae, alpha={VAE: 1})", "weighted_sum(vae, whole, alpha={VAE: 0, *: 1})"):
        merge_in(tmp_path, f"M = {recipe}", tmp_path / "out.tmp")
        expected = read_file(whole) | {own + key.removeprefix(prefix): tensor for key, tensor in vae.items()}
        assert {key: tensor.data for key, tensor in read_file(tmp_path / "out.tmp").items()} == {
            key: tensor.data for key, tensor in expected.items()
        }


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


@pytest.mark.parametrize(
    ("recipe", "untold"),
    [
        ("M = mean(one, two)", "'one', 'two'"),
        ("M = weighted_sum(whole, one, alpha={VAE: 0.5})", "'one'"),
        ("M = mean(one, one)", ""),
        ("M = mean(whole, whole)", ""),
    ],
)
def test_vae_by_itself_among_others_is_warned_of_since_nothing_tells_what_it_was_made_for(
    tmp_path_factory, tmp_path, recipe, untold
):
    whole = tiny(tmp_path_factory, "sd1-0", "sd1", seed=0)
    (tmp_path / "whole.safetensors").write_bytes(whole.read_bytes())
    for name, strip in (("one", True), ("two", False)):
        part_of(whole, "first_stage_model.", tmp_path / f"{name}.safetensors", strip)
    warnings = [text for text in plan_in(tmp_path, recipe).warnings if "the VAE was made" in text]
    assert [text.partition(" tells")[0] for text in warnings] == ([f"nothing in {untold}"] if untold else [])
