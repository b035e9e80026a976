"""The small files of a diffusers folder: a source folder's own, else those that everybody's models of the architecture have."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from .architecture import Architecture
from .diffusers_folder import INDEX, SCHEDULER, TOKENIZER_FILES, TOKENIZERS, read_json
from .diffusers_keys import COMPONENTS
from .header import quoted
from .own_files import is_own

_FACTS = Path(__file__).with_suffix(".json")
_PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon"}
_VOCABULARIES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
"""Any of these makes a tokenizer; the other files only tell how it is used."""
_LARGEST_BYTES = 16 << 20
_MOST_NOTES = 20


def pipeline_of(architecture: str, channels: int = 4) -> str | None:
    """The class of the pipeline whose U-Net has so many input channels; None where no folder can be made of such a model."""
    return _facts().get(architecture, {"pipelines": {}})["pipelines"].get(str(channels))


def known_configs(architecture: str) -> dict[str, dict]:
    """Name below the folder to what stands in it for everybody's models of the architecture."""
    return _facts()[architecture]["files"]


def small_files(
    architecture: Architecture,
    donors: Sequence[Path],
    *,
    schedulers: Collection[Path],
    components: Collection[str],
    channels: int,
    prediction: str,
    has_zero_snr: bool,
) -> tuple[dict[str, bytes], list[str]]:
    """Everything but the weights.

    Args:
        donors: source folders; the first that has a file gives it.
        schedulers: those of them that are sampled as the output is.
        components: folders that have weights.
        channels: input channels of the U-Net; `pipeline_of` knows them.
        prediction: what the output predicts, "v" or "epsilon"; what else it is leaves the scheduler as it was.
        has_zero_snr: whether its noise schedule was trained down to zero signal.

    Returns:
        Name below the folder to content, and sentences on what could not be made or was not taken from the sources.

    Raises:
        CheckpointError: a source's config is no JSON.
    """
    facts = _facts()[architecture.name]
    notes: list[str] = []
    left_out: list[str] = []
    found: dict[str, dict] = {}
    for name, known in facts["files"].items():
        folder = name.partition("/")[0]
        if folder not in COMPONENTS or folder in components:
            givers = {INDEX: (), SCHEDULER: schedulers}.get(name, donors)
            given = next((donor / name for donor in givers if _is_given(donor, name, left_out)), None)
            found[name] = read_json(given) if given else {**known, **facts.get(prediction, {}).get(name, {})}
            if name == SCHEDULER and not given and prediction not in _PREDICTIONS and "v" in facts:
                notes.append(
                    f"nothing says whether the model predicts epsilon or v; '{SCHEDULER}' says epsilon. If that is wrong, pass "
                    "--prediction v."
                )
    found["unet/config.json"]["in_channels"] = channels
    found[SCHEDULER] |= {"prediction_type": _PREDICTIONS[prediction]} if prediction in _PREDICTIONS else {}
    found[SCHEDULER] |= {"rescale_betas_zero_snr": True} if has_zero_snr else {}
    index = found[INDEX]
    index["_class_name"] = pipeline_of(architecture.name, channels)
    index["scheduler"] = ["diffusers", found[SCHEDULER].get("_class_name", index["scheduler"][1])]
    index |= {component: [None, None] for component in COMPONENTS if component in index and component not in components}
    tokenizers = {folder: _tokenizer(folder, donors, left_out) for folder in TOKENIZERS if folder in index}
    missing = [folder for folder, files in tokenizers.items() if not files]
    raw = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in found.items()}
    for files in tokenizers.values():
        raw |= files
    if missing:
        notes.append(f"no source has the files of {', '.join(missing)}: copy them from another {architecture.title} folder.")
    return raw, notes + left_out[:_MOST_NOTES]


def _is_given(donor: Path, name: str, left_out: list[str]) -> bool:
    """Whether a source has the file itself. A link out of its folder would bring any file of this machine into the output."""
    if not (donor / name).is_file():
        return False
    if is_own(donor, donor / name):
        return True
    left_out.append(f"{quoted(name)} of {quoted(donor.name)} is left out: it is a link that leads out of the model's folder.")
    return False


def _tokenizer(folder: str, donors: Sequence[Path], left_out: list[str]) -> dict[str, bytes]:
    """The files of the first donor that has what makes a tokenizer: texts and JSON, nothing large."""
    for donor in donors:
        found = {}
        for name in sorted(f"{folder}/{path.name}" for path in (donor / folder).glob("*")):
            is_known = name.removeprefix(f"{folder}/") in TOKENIZER_FILES
            if is_known and not _is_given(donor, name, left_out):
                continue
            content = _content(donor / name) if is_known else None
            if content is not None:
                found[name] = content
                continue
            why = "no text or no JSON, or too large" if is_known else "no file of a tokenizer"
            left_out.append(f"{quoted(name)} of {quoted(donor.name)} is left out: it is {why}.")
        if any(all(f"{folder}/{name}" in found for name in needed) for needed in _VOCABULARIES):
            return found
        if found:
            left_out.append(
                f"{quoted(folder)} of {quoted(donor.name)} is left out: a tokenizer has vocab.json and merges.txt, or "
                "tokenizer.json."
            )
    return {}


def _content(path: Path) -> bytes | None:
    """A JSON file that is JSON, or a text; None of anything else."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        json.loads(content) if path.suffix == ".json" else content.decode()
    except (OSError, ValueError, RecursionError):
        return None
    return content if len(content) <= _LARGEST_BYTES else None


@functools.cache
def _facts() -> dict:
    return json.loads(_FACTS.read_text("utf-8"))
