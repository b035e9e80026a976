"""What is pasted or dropped: each notation is known, comes to our own, and nothing hostile takes time, memory or effect."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import time
import zlib
from pathlib import Path

import pytest
from checkpoints import merge_in, metadata_of, model, plan_in, stored, write_file, write_models
from hypothesis import given
from hypothesis import strategies as st

from lib_chilly.engine import merge
from lib_chilly.errors import MergeError
from lib_chilly.host.base import GenParams
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.notations import read_recipe
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.infotext import read_infotext
from lib_chilly.ui.paste import paste
from lib_chilly.ui.pasted import CHUNK, LARGEST_HEAD, Pasted, Reader
from lib_chilly.ui.png_text import MOST_TEXT, SIGNATURE, png_texts
from lib_chilly.ui.questions import Page, Room

RECIPES = Path(__file__).parents[1] / "recipes"
SAMPLERS = ("Euler a", "Euler", "DPM++ 2M", "DPM++ 2M Karras")
START = GenParams("what stands there", seed=7)
BELOW = (
    "a cat, (best:1.2)\nin a hat\nNegative prompt: bad, ugly\n"
    "Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 123, Size: 512x768, Model: foo, Clip skip: 2, "
    'Lora hashes: "a: b, Steps: 9", Version: v1.9'
)
MIXER = (
    "ModelMixer model a: A.safetensors, ModelMixer use model b: True, ModelMixer model b: B.safetensors, "
    "ModelMixer merge mode b: Sum, ModelMixer alpha b: 0.25"
)
TWENTY_SIX = ",".join(["1"] * 14 + ["0"] * 12)
SUPERMERGER = {
    "sd_merge_recipe": json.dumps(
        {
            "type": "sd-webui-supermerger",
            **{f"weights_{name}": None for name in ("alpha", "beta", "alpha_orig", "beta_orig")},
            **{"model_a": "a" * 64, "model_b": "b" * 64, "model_c": "a" * 64, "base_alpha": 0.3, "base_beta": 0.25},
            **{"mode": "Weight sum", "mbw": False, "elemental_merge": "", "calcmode": "normal", "Off": [""]},
        }
    ),
    "sd_merge_models": json.dumps({"a" * 64: {"name": "A"}, "b" * 64: {"name": "B"}}),
}
WEBUI = {
    "sd_merge_recipe": json.dumps(
        {
            **{"type": "webui", "primary_model_hash": "a" * 64, "secondary_model_hash": "b" * 64, "tertiary_model_hash": None},
            **{
                "interp_method": "Weighted sum",
                "multiplier": 0.3,
                "save_as_half": True,
                "custom_name": "",
                "bake_in_vae": "None",
            },
        }
    ),
    "sd_merge_models": SUPERMERGER["sd_merge_models"],
}
MECHA = 'version 0.1.0\nmodel "A.safetensors"\nmodel "B.safetensors"\nmerge "weighted_sum" &0 &1 alpha=0.3\n'


@pytest.fixture
def reader() -> Reader:
    return Reader(SAMPLERS, START)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of one pixel with more chunks before its pixels."""
    pixels = [(b"IDAT", zlib.compress(b"\0\0\0\0")), (b"IEND", b"")]
    every = [(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\2\0\0\0"), *chunks, *pixels]
    return SIGNATURE + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in every
    )


def head_of(path: Path) -> bytes:
    return path.read_bytes()[:LARGEST_HEAD]


def said(found: Pasted) -> str:
    assert found.text is not None
    return parse_recipe(found.text).canonical()


# ---- texts ----


def test_own_recipe_stays_as_it_was_typed(reader: Reader):
    text = "# my mix\nMIX =  mean( A,B )  # half\nsave(dtype=bf16)"
    assert reader.text(text) == Pasted("recipe", "a recipe", text)


def test_model_card_comes_in_our_notation(reader: Reader):
    card = (RECIPES / "chillymix-card.txt").read_text("utf-8")
    found = reader.text(card)
    assert found.kind == "model card" and found.notes
    assert said(found) == read_recipe(card).canonical()


@pytest.mark.parametrize(
    ("text", "kind", "alpha"),
    [
        (json.dumps(SUPERMERGER), "SuperMerger", "0.3"),
        (json.dumps(WEBUI), "webui", "0.3"),
        (MECHA, "mecha", "0.3"),
        (MIXER, "model-mixer", "0.25"),
    ],
)
def test_other_mergers_texts_come_in_our_notation(text: str, kind: str, alpha: str, reader: Reader):
    found = reader.text(text)
    assert found.kind == kind and found.notes
    assert f"alpha={alpha})" in said(found)
    assert reader.file("x.json", b"\xef\xbb\xbf" + text.encode()).text == found.text


def test_recipe_with_a_mistake_is_taken_with_it(reader: Reader):
    text = "MIX = weighted_sum(A, B, alpha=0.3"
    assert reader.text(text).text == text
    assert "mistake" in reader.text(text).title


@pytest.mark.parametrize("count", [26, 25, 20, 19, 110, 58])
@pytest.mark.parametrize("form", ["{}", "[{}]", " {},\n", "MINE:{}", "MINE\t{}"])
def test_numbers_alone_are_block_weights(count: int, form: str, reader: Reader):
    numbers = tuple(str(index / 200) for index in range(count))
    assert reader.text(form.format(",".join(numbers))).numbers == numbers
    assert reader.text(form.format(" ".join(numbers))).numbers == numbers


def test_text_that_is_nothing_is_refused_in_a_sentence(reader: Reader):
    for text in (
        "",
        " \n",
        "hello world",
        '{"a": 1}',
        "1, 2, 3",
        "x" * 5_000_000,
        "[" * 100_000,
        '{"a":' * 100_000,
        "=" * 60_000,
    ):
        with pytest.raises(MergeError) as caught:
            reader.text(text)
        assert len(str(caught.value)) < 600


# ---- infotexts ----


def test_infotext_gives_the_parameters_of_a_picture(reader: Reader):
    found = reader.text(BELOW)
    assert found.kind == "infotext" and found.text is None
    assert found.params == GenParams(
        "a cat, (best:1.2)\nin a hat", "bad, ugly", 123, 25, 6.5, 512, 768, "DPM++ 2M Karras", clip_skip=2
    )
    assert found.notes == ("the picture was made with 'foo'.",)


def test_infotext_of_model_mixer_gives_recipe_and_parameters(reader: Reader):
    found = reader.text(f"{BELOW}, {MIXER}")
    assert found.kind == "model-mixer" and "alpha=0.25" in said(found)
    assert found.params is not None and found.params.steps == 25


def test_recipe_in_an_infotext_of_ours_comes_back(reader: Reader):
    text = 'MIX = weighted_sum("a, \\"b\\"", B, alpha=0.3) # x\nN = mean(MIX, B)\n'
    assert reader.text(f"{BELOW}, ChillyMerge recipe: {json.dumps(text)}").text == text


def test_parameters_out_of_range_are_bounded_and_said(reader: Reader):
    text = "x\nSteps: 99999, Sampler: Restart, CFG scale: nan, Seed: -1, Size: 1001x99999, Clip skip: 40"
    found = reader.text(text)
    assert found.params == GenParams("x", "", 0, 1000, START.cfg, 1000, 2048, "Euler a", clip_skip=12)
    assert len(found.notes) == 7
    assert all(any(word in note for note in found.notes) for word in ("Restart", "nan", "1001", "99999"))


@given(st.text(max_size=200), st.text(alphabet='ab,:" \\x19', max_size=200))
def test_no_infotext_gives_parameters_that_cannot_be_sampled(prompt: str, rest: str):
    found = read_infotext(f"{prompt}\nSteps: 20, {rest}", SAMPLERS, START).params
    assert 1 <= found.steps <= 1000 and found.width % 8 == found.height % 8 == 0 and found.sampler in SAMPLERS
    json.dumps(dataclasses.asdict(found), allow_nan=False)


# ---- files ----


def test_file_that_was_made_here_gives_its_recipe_and_sources(reader: Reader, tmp_path: Path):
    folder = write_models(tmp_path / "models", A=model(1), B=model(2))
    text = "MIX = weighted_sum(A, B, alpha=0.3)\n"
    merge(plan_in(folder, text), tmp_path / "out.safetensors", threads=1)
    found = reader.file("out.safetensors", head_of(tmp_path / "out.safetensors"))
    assert found.kind == "checkpoint" and said(found) == read_recipe(f"{text}save(dtype=fp16)").canonical()
    assert [(source.name, source.size_bytes, len(source.sha256 or "")) for source in found.sources] == [
        (name, (folder / f"{name}.safetensors").stat().st_size, 64) for name in "AB"
    ]


@pytest.mark.parametrize(
    ("metadata", "kind"), [(SUPERMERGER, "SuperMerger"), (WEBUI, "webui"), ({"mecha_recipe": MECHA}, "mecha")]
)
def test_checkpoint_of_another_merger_gives_its_recipe(metadata: dict[str, str], kind: str, reader: Reader, tmp_path: Path):
    path = write_file(tmp_path / "x.safetensors", model(1), metadata)
    found = reader.file(path.name, head_of(path))
    assert found.kind == kind and "x.safetensors" in found.title and "alpha=0.3)" in said(found)


def test_header_is_enough_however_large_the_file_is(reader: Reader, tmp_path: Path):
    path = write_file(tmp_path / "x.safetensors", {"a": stored([0.0] * 5_000_000, "fp32")}, WEBUI)
    assert path.stat().st_size > LARGEST_HEAD
    assert reader.file(path.name, head_of(path)).kind == "webui"


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"parameters\0" + BELOW.encode("latin-1")),
        (b"zTXt", b"parameters\0\0" + zlib.compress(BELOW.encode("latin-1"))),
        (b"iTXt", b"parameters\0\0\0\0\0" + BELOW.encode()),
        (b"iTXt", b"parameters\0\1\0en\0x\0" + zlib.compress(BELOW.encode())),
    ],
)
def test_picture_gives_the_parameters_in_its_chunks(chunk: tuple[bytes, bytes], reader: Reader):
    found = reader.file("x.png", png((b"tEXt", b"Software\0y"), chunk))
    assert found.params == reader.text(BELOW).params and "x.png" in found.title


def test_picture_of_ours_gives_its_recipe_and_parameters(reader: Reader):
    text = "MIX = weighted_sum(A, Ä, alpha=0.3)\n"
    chunks = (b"iTXt", CHUNK.encode() + b"\0\0\0\0\0" + text.encode()), (b"tEXt", b"parameters\0" + BELOW.encode())
    found = reader.file("x.png", png(*chunks))
    assert (found.kind, found.text, found.params) == ("picture", text, reader.text(BELOW).params)


# ---- hostile files ----


def test_damaged_and_foreign_files_are_refused_in_a_sentence(reader: Reader, tmp_path: Path):
    whole = png((b"tEXt", b"parameters\0" + BELOW.encode()))
    endless = (1 << 40).to_bytes(8, "little") + b"{" + b" " * 100
    huge = (50_000_000).to_bytes(8, "little") + b"{" + b" " * 1000
    deep = b'{"a":' * 100_000
    files = {
        "a.png": whole[:40],
        "b.png": whole.replace(b"cat", b"dog"),
        "c.jpg": b"\xff\xd8\xff\xe0" + b"\0" * 100,
        "d.ckpt": b"PK\x03\x04" + b"\0" * 100,
        "e.bin": bytes(range(256)),
        "f.safetensors": endless,
        "g.safetensors": huge,
        "h.safetensors": len(deep).to_bytes(8, "little") + deep,
        "i.safetensors": (9).to_bytes(8, "little") + b'{"a":1}  ',
        "j.txt": b"",
        "../../<script>alert(1)</script>\n\x1b.png": whole[:40],
    }
    for name, content in files.items():
        with pytest.raises(MergeError) as caught:
            reader.file(name, content)
        assert "\n" not in str(caught.value).partition("\n  ")[0] and "\x1b" not in str(caught.value)


def test_packed_bomb_in_a_picture_is_not_unpacked(reader: Reader):
    bomb = zlib.compress(b"\0" * (200 << 20), 9)
    started = time.perf_counter()
    for chunk in ((b"zTXt", b"parameters\0\0" + bomb), (b"iTXt", b"parameters\0\1\0\0\0" + bomb)):
        with pytest.raises(MergeError, match="more than 1 MiB"):
            reader.file("x.png", png(chunk))
    assert time.perf_counter() - started < 2


def test_ten_megabytes_of_one_text_are_refused(reader: Reader):
    with pytest.raises(MergeError, match="more than 1 MiB"):
        reader.file("x.png", png((b"tEXt", b"parameters\0" + b"x" * (MOST_TEXT + 1))))


def test_thousands_of_chunks_are_passed_over_quickly():
    many = png(*[(b"tEXt", b"k%d\0v" % number) for number in range(50_000)])
    started = time.perf_counter()
    assert len(png_texts(many, "x.png")) == 64
    assert time.perf_counter() - started < 5


@given(st.binary(max_size=400), st.integers(0, 60), st.binary(max_size=8))
def test_no_bytes_break_the_reading_of_a_file(content: bytes, place: int, put: bytes):
    reader = Reader(SAMPLERS, START)
    whole = png((b"zTXt", b"parameters\0\0" + zlib.compress(BELOW.encode())))
    header = b'{"__metadata__":{"mecha_recipe":"version 0.1.0"}}'
    for tried in (
        content,
        whole[:place] + put + whole[place + len(put) :],
        len(header).to_bytes(8, "little") + header[:place] + put + header[place + len(put) :],
    ):
        with contextlib.suppress(MergeError):
            assert reader.file("x", tried).kind


def test_lies_in_a_header_of_ours_are_refused(reader: Reader, tmp_path: Path):
    folder = write_models(tmp_path / "models", A=model(1), B=model(2))
    merge_in(folder, "M = mean(A, B)", tmp_path / "out.safetensors")
    record = json.loads(metadata_of(tmp_path / "out.safetensors")["chillymerge"])
    for name, lie in (("recipe", 3), ("recipe", "x" * 70_000), ("sources", []), ("maths", "1")):
        path = write_file(tmp_path / "lie.safetensors", model(1), {"chillymerge": json.dumps({**record, name: lie})})
        with pytest.raises(MergeError):
            reader.file(path.name, head_of(path))


# ---- the page's question ----


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    write_models(tmp_path / "models", A=model(1), B=model(2))
    return Page("k3v9x0", Room(StandaloneHost([tmp_path / "models"], tmp_path)))


def dropped(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "head": base64.b64encode(content).decode()}


def test_review_shows_what_was_pasted_as_a_recipe(page: Page):
    found = paste(page, text="- MIX = A x 0.5 + B x 0.5")
    assert (found["kind"], found["title"], found["text"]) == ("model card", "A model card", "MIX = A * 0.5 + B * 0.5\n")
    assert found["view"]["ok"] and [step["name"] for step in found["view"]["steps"]] == ["MIX"]
    assert found["params"] is None and found["sources"] == []
    json.dumps(found, allow_nan=False)


def test_names_in_notes_and_titles_stay_as_they_are(page: Page):
    found = paste(page, text="- pyAB = A + B\n- mIX = pyAB x 0.5 + B x 0.5")
    assert any(note.startswith("pyAB: ") for note in found["notes"])


def test_review_of_a_recipe_with_a_mistake_offers_its_fixes(page: Page):
    found = paste(page, text="MIX = weighted_sum(A, B, alpha=0.3")
    (error,) = found["view"]["errors"]
    assert [fix["text"] for fix in error["fixes"]] == ["MIX = weighted_sum(A, B, alpha=0.3)"]


def test_review_of_parameters_alone_leaves_the_recipe_as_it_is(page: Page):
    here = "M = mean(A, B)  # mine"
    found = paste(page, file=dropped("x.png", png((b"tEXt", b"parameters\0" + BELOW.encode()))), into={"text": here, "step": "M"})
    assert found["text"] == here and found["params"]["seed"] == 123 and found["view"]["steps"]


def test_review_of_a_checkpoint_names_its_sources(page: Page, tmp_path: Path):
    merge(plan_in(tmp_path / "models", "M = mean(A, B)"), tmp_path / "out.safetensors", threads=1)
    found = paste(page, file=dropped("out.safetensors", head_of(tmp_path / "out.safetensors")))
    assert found["kind"] == "checkpoint" and [source["name"] for source in found["sources"]] == ["A", "B"]
    assert found["view"]["ok"]


def test_numbers_without_an_open_step_are_refused(page: Page):
    with pytest.raises(MergeError, match="Open the step"):
        paste(page, text=TWENTY_SIX)


def test_what_is_no_file_is_refused_in_a_sentence(page: Page):
    for file in ({}, {"name": 3, "head": ""}, {"name": "x", "head": "?"}, {"name": "x", "head": "A" * (12 << 20)}):
        with pytest.raises(MergeError) as caught:
            paste(page, file=file)
        assert str(caught.value).endswith(".")
    with pytest.raises(MergeError):
        paste(page)


@pytest.mark.parametrize("count", [26, 25])
def test_numbers_go_into_the_open_step(count: int, page: Page):
    numbers = ["0.25"] * (count - 1) + ["1"]
    here = "K = mean(A, B)  # first\nM = 0.5 * K + 0.5 * B\n"
    found = paste(page, text=" ".join(numbers), into={"text": here, "step": "M"})
    assert found["kind"] == "numbers" and found["view"]["step"] == "M" and found["view"]["ok"]
    assert found["text"].startswith("K = mean(A, B)  # first\n") and found["view"]["mixer"]["values"]["OUT11"] == 1
    assert found["view"]["mixer"]["values"]["IN03"] == 0.25


def test_numbers_of_another_count_are_refused_with_the_counts_that_go(page: Page):
    with pytest.raises(MergeError, match="26"):
        paste(page, text=",".join(["1"] * 17), into={"text": "M = weighted_sum(A, B)", "step": "M"})
