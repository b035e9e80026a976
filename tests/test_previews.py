"""Pictures without a webui: of the merge in memory as of the saved file, of our modules as of diffusers' own."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import merge_in, tiny
from pictures import SMALL, family_pair, picture, plan_on, shown

from bench.picturable import picturable
from bench.plans import write_sparse
from lib_chilly.errors import ArchitectureError, CheckpointError, Interrupted, MergeError, RecipeError
from lib_chilly.host import timing
from lib_chilly.host.base import GenParams, Progress
from lib_chilly.host.parts import shapes_of
from lib_chilly.host.schedulers import make_scheduler
from lib_chilly.host.standalone import StandaloneHost

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

ROOT = Path(__file__).parents[1]
MIX = "weighted_sum(a, b, alpha={IN*: 0.3, M00: 0.8, OUT05: 1, CLIP_L: 0.5, *: 0.4})"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family_pair(tmp_path_factory)


@pytest.fixture(scope="module")
def host(folder: Path) -> StandaloneHost:
    return StandaloneHost([folder], threads=2)


# ---- the merge in memory and the file ----


@pytest.mark.parametrize("options", [{}, {"dtype": "bf16"}, {"dtype": "fp32"}, {"dtype": "fp8_scaled"}, {"dtype": "fp8_e4m3fn"}])
def test_picture_of_the_merge_in_memory_is_that_of_the_saved_file(host, folder, tmp_path, options):
    merge_in(folder, MIX, tmp_path / "saved.safetensors", options=options)
    expected = picture(StandaloneHost([tmp_path]), "saved")
    picture(host, "a")
    assert np.array_equal(picture(host, MIX, **options), expected)
    assert expected.std() > 10


@pytest.mark.parametrize("architecture", ["sd2", "sdxl"])
def test_pictures_of_other_architectures_too(tmp_path_factory, tmp_path, architecture):
    folder = family_pair(tmp_path_factory, architecture)
    recipe = "weighted_sum(a, b, alpha={IN*: 0.3, *: 0.6})"
    merge_in(folder, recipe, tmp_path / "saved.safetensors")
    host = StandaloneHost([folder])
    before = picture(host, "a")
    after = picture(host, recipe)
    assert np.array_equal(after, picture(StandaloneHost([tmp_path]), "saved"))
    assert not np.array_equal(after, before) and after.std() > 10


@pytest.mark.parametrize(("alpha", "name"), [("0", "a"), ("1", "b")])
def test_alpha_0_and_1_give_the_operand_s_picture(host, alpha, name):
    assert np.array_equal(picture(host, f"weighted_sum(a, b, alpha={alpha})"), picture(host, name))


@pytest.mark.parametrize("lane", ["IN03", "M00", "OUT08", "TIME", "FINAL", "CLIP_L"])
def test_changed_block_changes_the_picture_and_taken_back_it_is_as_before(host, lane):
    before = picture(host, "weighted_sum(a, b, alpha=0.2)")
    assert not np.array_equal(picture(host, f"weighted_sum(a, b, alpha={{{lane}: 0.9, *: 0.2}})"), before)
    assert np.array_equal(picture(host, "weighted_sum(a, b, alpha=0.2)"), before)


def test_changed_vae_changes_the_picture(tmp_path):
    for seed, name in enumerate("ab"):
        picturable(tmp_path / f"{name}.safetensors", "sd1", seed)
    other = StandaloneHost([tmp_path])
    before = picture(other, "weighted_sum(a, b, alpha=0.2)")
    assert not np.array_equal(picture(other, "weighted_sum(a, b, alpha={VAE: 0.9, *: 0.2})"), before)


def test_parameters_stay_where_they_are_and_only_changed_ones_are_written(host):
    picture(host, "weighted_sum(a, b, alpha=0.2)")
    unet = host._parts.modules["unet"]
    before = {name: (value.data_ptr(), value.clone()) for name, value in unet.named_parameters()}
    picture(host, "weighted_sum(a, b, alpha={M00: 0.9, *: 0.2})")
    assert host._parts.modules["unet"] is unet
    assert {name: value.data_ptr() for name, value in unet.named_parameters()} == {name: old[0] for name, old in before.items()}
    changed = {name for name, value in unet.named_parameters() if not torch.equal(value, before[name][1])}
    assert changed == {name for name in before if name.startswith("mid_block.")}


# ---- diffusers' own way ----


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_modules_are_those_that_diffusers_makes_of_the_file(tmp_path_factory, tmp_path, architecture):
    import diffusers

    folder = family_pair(tmp_path_factory, architecture)
    host = StandaloneHost([folder])
    picture(host, "a")
    for name, kind in (("unet", diffusers.UNet2DConditionModel), ("vae", diffusers.AutoencoderKL)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(host._parts.configs[name]))
        theirs = kind.from_single_file(
            str(folder / "a.safetensors"), config=str(tmp_path), subfolder=name, local_files_only=True, torch_dtype=torch.float32
        ).state_dict()
        ours = host._parts.modules[name].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def tokenizer(size: int = 514):
    """transformers' tokenizer, with a vocabulary written down here once more."""
    import gzip
    from importlib.util import find_spec

    from transformers import CLIPTokenizer

    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = list(map(chr, plain)) + [chr(256 + number) for number in range(256 - len(plain))]
    merges = []
    if size > 514:
        path = Path(find_spec("clip").submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
        merges = [tuple(line.split()) for line in gzip.decompress(path.read_bytes()).decode().split("\n")[1:48895]]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    assert len(tokens) == size
    return CLIPTokenizer({token: number for number, token in enumerate(tokens)}, merges, model_max_length=77)


@pytest.mark.parametrize(
    ("given", "theirs"),
    [
        ({"sampler": "DDIM", "negative_prompt": "noise"}, {}),
        ({"clip_skip": 2, "cfg": 1.0}, {"clip_skip": 1}),
        ({"cfg": 1.0, "width": 72}, {}),
    ],
)
def test_picture_is_that_of_diffusers_pipeline_with_these_modules(host, given, theirs):
    from diffusers import StableDiffusionPipeline

    ours = picture(host, "a", seed=7, **given)
    parts = host._parts.modules
    parts["text_encoder"].__dict__["text_model"] = parts["text_encoder"]  # where diffusers still looks for the last norm
    scheduler = make_scheduler(given.get("sampler", SMALL["sampler"]), False, False)
    pipeline = StableDiffusionPipeline(
        parts["vae"], parts["text_encoder"], tokenizer(), parts["unet"], scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a red circle on blue",
        height=64,
        width=given.get("width", 64),
        num_inference_steps=2,
        guidance_scale=given.get("cfg", SMALL["cfg"]),
        negative_prompt=given.get("negative_prompt", ""),
        generator=torch.Generator().manual_seed(7),
        **theirs,
    ).images[0]
    assert np.abs(ours.astype(int) - np.asarray(expected)).max() <= 1


def test_picture_of_sdxl_is_that_of_diffusers_pipeline(tmp_path_factory):
    from diffusers import StableDiffusionXLPipeline

    host = StandaloneHost([family_pair(tmp_path_factory, "sdxl")])
    ours = picture(host, "a", seed=7)
    parts = host._parts.modules
    second = tokenizer()
    second.pad_token = "!"
    encoders = parts["text_encoder"], parts["text_encoder_2"], tokenizer(), second
    scheduler = make_scheduler("Euler", False, False)
    pipeline = StableDiffusionXLPipeline(parts["vae"], *encoders, parts["unet"], scheduler, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a red circle on blue",
        height=64,
        width=64,
        num_inference_steps=2,
        guidance_scale=SMALL["cfg"],
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    assert np.abs(ours.astype(int) - np.asarray(expected)).max() <= 1


# ---- parameters ----


def test_same_seed_gives_the_same_picture_and_another_seed_another(host):
    first = picture(host, "a", seed=5)
    assert np.array_equal(picture(host, "a", seed=5), first)
    assert not np.array_equal(picture(host, "a", seed=6), first)


def test_every_sampler_gives_a_picture_and_each_another(host):
    seen = {name: picture(host, "a", sampler=name, steps=4).tobytes() for name in host.samplers()}
    assert len(set(seen.values())) == len(seen) >= 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": 65}, "the width is 65"),
        ({"height": 4096}, "the height is 4096"),
        ({"steps": 0}, "0 steps"),
        ({"cfg": float("nan")}, "cfg scale is nan"),
        ({"seed": -1}, "the seed is -1"),
        ({"clip_skip": 0}, "clip skip is 0"),
        ({"sampler": "Magic"}, "no sampler 'Magic'"),
    ],
)
def test_parameter_out_of_range_is_said_in_a_sentence(host, given, said):
    with pytest.raises(RecipeError, match=said):
        picture(host, "a", **given)


def test_prompt_that_is_too_long_is_cut_and_that_is_said(host):
    notes = shown(host, "a", "x" * 76).notes
    assert notes == ("the prompt is 1 token too long; its end was left out.",)
    assert shown(host, "a", "x" * 75).notes == ()
    assert np.array_equal(picture(host, "a", "x" * 75 + " blue"), picture(host, "a", "x" * 75 + " red"))


def test_infotext_says_how_the_picture_was_made(host):
    result = shown(host, "a", "a star", negative_prompt="blur", seed=3, clip_skip=2)
    lines = "a star\nNegative prompt: blur\nSteps: 2, Sampler: Euler, CFG scale: 3, Seed: 3, Size: 64x64, Clip skip: 2"
    assert result.infotext == lines
    assert 0 < result.merge_seconds < result.seconds


def test_picture_says_how_many_blocks_were_merged_again(host):
    picture(host, "weighted_sum(a, b, alpha=0.2)")
    assert shown(host, "weighted_sum(a, b, alpha={M00: 0.9, IN04-IN05: 0.1, *: 0.2})").blocks == 3
    assert shown(host, "weighted_sum(a, b, alpha={M00: 0.9, IN04-IN05: 0.1, *: 0.2})", seed=9).blocks == 0


def test_model_that_predicts_v_is_sampled_so(host):
    assert not np.array_equal(picture(host, "a", prediction="v"), picture(host, "a"))
    assert make_scheduler("Euler", True, True).config.rescale_betas_zero_snr
    assert make_scheduler("DPM++ 2M Karras", True, False).config.prediction_type == "v_prediction"


# ---- models that have no picture, or a strange one ----

VAE, CLIP = "first_stage_model.", "cond_stage_model.transformer.text_model."


def _cut(tensors: dict[str, torch.Tensor]) -> None:
    tensors[CLIP + "embeddings.token_embedding.weight"] = tensors[CLIP + "embeddings.token_embedding.weight"][:500].contiguous()


def _without_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"]


def _faulty(tensors: dict[str, torch.Tensor]) -> None:
    tensors[CLIP + "embeddings.position_ids"][0, 5] = 4


def _out_of_range(tensors: dict[str, torch.Tensor]) -> None:
    tensors[CLIP + "embeddings.position_ids"][0, 5] = 77


def _widened(channels: int):
    def change(tensors: dict[str, torch.Tensor]) -> None:
        weight = tensors["model.diffusion_model.input_blocks.0.0.weight"]
        extra = torch.ones(weight.shape[0], channels - 4, 3, 3).half() / 50
        tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.cat([weight, extra], dim=1)

    return change


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"without": VAE}, "needs a VAE, which the result lacks.*vae="),
        ({"without": "cond_stage_model."}, "needs a text encoder"),
        ({"change": _cut}, "has 500 tokens"),
        ({"change": _without_one}, r"1 tensor of the unet cannot be used .*mid_block.resnets.0.conv1.weight' is missing"),
        ({"change": _out_of_range}, "position_ids .* out of range"),
        ({"change": _widened(8)}, "8 input channels"),
    ],
)
def test_model_without_what_a_picture_needs_is_refused_in_a_sentence(tmp_path, given, said):
    picturable(tmp_path / "odd.safetensors", **given)
    with pytest.raises(CheckpointError, match=said):
        picture(StandaloneHost([tmp_path]), "odd")


def test_made_up_widths_and_other_architectures_are_refused(tmp_path_factory):
    tiny(tmp_path_factory, "widths")
    tiny(tmp_path_factory, "flux", "flux")
    host = StandaloneHost([tmp_path_factory.getbasetemp() / "tiny-models"])
    with pytest.raises(CheckpointError, match="multiples of 32"):
        picture(host, "widths")
    with pytest.raises(ArchitectureError, match="pictures of Flux"):
        picture(host, "flux")


def test_picture_after_a_refused_one_is_right(host, folder, tmp_path):
    picturable(tmp_path / "odd.safetensors", change=_out_of_range)
    expected = picture(host, "a")
    other = StandaloneHost([folder, tmp_path])
    picture(other, "a")
    with pytest.raises(CheckpointError):
        picture(other, "odd")
    assert np.array_equal(picture(other, "a"), expected)


def test_inpainting_model_paints_all_of_the_picture(tmp_path):
    picturable(tmp_path / "inpainting.safetensors", change=_widened(9))
    host = StandaloneHost([tmp_path])
    found = picture(host, "inpainting")
    assert found.shape == (64, 64, 3) and found.std() > 10
    picturable(tmp_path / "plain.safetensors")
    assert not np.array_equal(picture(StandaloneHost([tmp_path]), "plain"), found)


def test_faulty_position_ids_are_seen_in_the_picture_and_rebuilt_ones_are_not(tmp_path):
    picturable(tmp_path / "faulty.safetensors", change=_faulty)
    picturable(tmp_path / "sound.safetensors")
    host = StandaloneHost([tmp_path])
    assert not np.array_equal(picture(host, "faulty"), picture(host, "sound"))
    assert np.array_equal(picture(host, "faulty", position_ids="rebuild"), picture(host, "sound"))


# ---- progress, cancel, the lock ----


@pytest.mark.parametrize("when", ["merging 29 blocks", "step 1 of 2"])
def test_cancelled_picture_is_interrupted_and_the_next_is_right(host, when):
    expected = picture(host, "weighted_sum(a, b, alpha=0.7)")
    picture(host, "a")
    progress = Progress()

    def stop(progress: Progress) -> None:
        progress.cancelled = progress.text == when

    progress.on_change = stop
    with pytest.raises(Interrupted):
        picture(host, "weighted_sum(a, b, alpha=0.7)", progress=progress)
    assert np.array_equal(picture(host, "weighted_sum(a, b, alpha=0.7)"), expected)


def test_progress_goes_from_nothing_to_done(host):
    seen = []
    picture(host, "b", progress=Progress(on_change=lambda progress: seen.append((progress.share, progress.text))))
    assert [text for _, text in seen] == [
        "getting ready",
        "merging 29 blocks",
        next(text for _, text in seen if text.startswith("the picture takes about")),
        "step 1 of 2",
        "step 2 of 2",
        "done",
    ]
    assert [share for share, _ in seen] == sorted(share for share, _ in seen)
    assert (seen[0][0], seen[-1][0]) == (0.0, 1.0)


def test_pictures_of_two_threads_wait_for_each_other(host):
    expected = {name: picture(host, name) for name in "ab"}
    found = {}

    def make(name: str) -> None:
        found[name] = picture(host, name)

    threads = [threading.Thread(target=make, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(np.array_equal(found[name], expected[name]) for name in "ab")


# ---- the time beforehand ----


def test_time_of_a_full_size_model_is_said_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_multiplications_a_second", lambda: 5e10)
    for name, architecture in (("one", "sd1"), ("xl", "sdxl")):
        write_sparse(tmp_path / f"{name}.safetensors", architecture)
    host = StandaloneHost([tmp_path])
    seconds = {}
    for size in (256, 512):
        for name in ("one", "xl"):
            seconds[name, size], words = host.estimate(plan_on(host, name), GenParams("x", width=size, height=size))
            assert "on this processor: 20 steps of" in words
    assert 3 < seconds["one", 512] / seconds["one", 256] < 8
    assert 200 < seconds["one", 512] < 600  # 400 thousand million multiplications a pass, two passes a step
    assert seconds["xl", 512] > seconds["one", 512]
    assert host._parts is None


def test_what_a_step_took_corrects_the_next_estimate(host):
    shapes, params = shapes_of(plan_on(host, "a")), GenParams("x", **SMALL)
    clock = timing.Clock()
    step, rest = clock.estimate(shapes, params)
    clock.learn(shapes, params, 3 * step)
    assert clock.estimate(shapes, params) == pytest.approx((3 * step, 3 * rest))


# ---- the host ----


def test_host_lists_checkpoints(folder, tmp_path):
    host = StandaloneHost([folder], output=tmp_path)
    assert [(reference.name, reference.path) for reference in host.checkpoints()] == [
        (name, folder / f"{name}.safetensors") for name in "ab"
    ]
    assert host.output_folder() == tmp_path


def test_saved_result_is_listed(folder, tmp_path):
    host = StandaloneHost([tmp_path])
    assert host.checkpoints() == []
    report = merge_in(folder, "a", tmp_path / "new.safetensors")
    host.register_saved(tmp_path / "new.safetensors", report.sha256)
    (saved,) = host.checkpoints()
    assert saved.name == "new"


def test_settings_are_kept_and_a_spoilt_file_is_no_setting(host, tmp_path, monkeypatch):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    assert host.option("steps", 20) == 20
    host.set_option("steps", 12)
    host.set_option("sampler", "DDIM")
    assert (StandaloneHost([]).option("steps", 20), host.option("sampler", "")) == (12, "DDIM")
    (tmp_path / "home" / "options.json").write_text("[")
    assert host.option("steps", 20) == 20
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "file"))
    with pytest.raises(MergeError, match="cannot be kept"):
        host.set_option("steps", 12)


def test_snippet_of_the_docs_runs(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(folder)
    text = (ROOT / "docs" / "previews.md").read_text("utf-8")
    exec(compile(text.partition("```python\n")[2].partition("```")[0], "docs/previews.md", "exec"), {})
    assert capsys.readouterr().out.startswith("about ")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


OWN = ("", "127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost")


def elsewhere(sockets: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """What of it was about another machine: the name or the address that is asked for, or connected to, stands first."""
    about = [(event, given[0] if given else "") for event, *given in sockets if event != "socket.__new__"]
    hosts = [(event, place[0] if isinstance(place, tuple) else place) for event, place in about]
    return [(event, host) for event, host in hosts if host not in OWN and not str(host).startswith("/")]


def test_no_socket_is_opened(folder, sockets):
    """Nor has anything that was imported until now, such as diffusers, asked another machine."""
    before = len(sockets)
    assert picture(StandaloneHost([folder]), "a").std() > 10
    assert sockets[before:] == []
    assert elsewhere(sockets) == []


def test_socket_that_is_opened_and_another_machine_that_is_asked_are_seen(sockets):
    before = len(sockets)
    socket.socket().close()
    socket.getaddrinfo("192.0.2.1", 80)
    socket.getaddrinfo("127.0.0.1", 80)
    seen = sockets[before:]
    del sockets[before:]
    assert [event for event, *_ in seen] == ["socket.__new__", "socket.getaddrinfo", "socket.getaddrinfo"]
    assert elsewhere(seen) == [("socket.getaddrinfo", "192.0.2.1")]
