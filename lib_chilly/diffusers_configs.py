"""The small files of a diffusers folder: a source folder's own, else those that everybody's models of the architecture have."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from .diffusers_folder import INDEX, SCHEDULER, read_json
from .diffusers_keys import COMPONENTS

_FACTS = Path(__file__).with_suffix(".json")
_TOKENIZERS = ("tokenizer", "tokenizer_2")
_PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon"}
_LARGEST_BYTES = 16 << 20
_MOST_FILES = 20


def can_be_written(architecture: str) -> bool:
    """Whether a folder of this architecture can be made."""
    return architecture in _facts()


def small_files(
    architecture: str, donors: Sequence[Path], components: Collection[str], channels: int, prediction: str, has_zero_snr: bool
) -> tuple[dict[str, bytes], list[str]]:
    """Everything but the weights.

    Args:
        donors: source folders; the first that has a file gives it.
        components: folders that have weights.
        channels: input channels of the U-Net.
        prediction: what the output predicts, "v" or "epsilon"; what else it is leaves the scheduler as it was.
        has_zero_snr: whether its noise schedule was trained down to zero signal.

    Returns:
        Name below the folder to content, and sentences on what could not be made.

    Raises:
        CheckpointError: a source's config is no JSON.
    """
    facts = _facts()[architecture]
    found: dict[str, dict] = {}
    for name, known in facts["files"].items():
        folder = name.partition("/")[0]
        if folder not in COMPONENTS or folder in components:
            given = next((donor / name for donor in donors if name != INDEX and (donor / name).is_file()), None)
            found[name] = read_json(given) if given else dict(known)
    found["unet/config.json"]["in_channels"] = channels
    found[SCHEDULER] |= {"prediction_type": _PREDICTIONS[prediction]} if prediction in _PREDICTIONS else {}
    found[SCHEDULER] |= {"rescale_betas_zero_snr": True} if has_zero_snr else {}
    index = found[INDEX]
    index["_class_name"] = facts["pipelines"].get(str(channels), facts["pipelines"]["4"])
    index["scheduler"] = ["diffusers", found[SCHEDULER].get("_class_name", index["scheduler"][1])]
    index |= {component: [None, None] for component in COMPONENTS if component in index and component not in components}
    tokenizers = {folder: _tokenizer(folder, donors) for folder in _TOKENIZERS if folder in index}
    missing = [folder for folder, files in tokenizers.items() if not files]
    raw = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in found.items()}
    for files in tokenizers.values():
        raw |= files
    notes = [f"no source has the files of {', '.join(missing)}: copy them from another {architecture} folder."] if missing else []
    return raw, notes


def _tokenizer(folder: str, donors: Sequence[Path]) -> dict[str, bytes]:
    """The files of the first donor that has any: texts and JSON, nothing large."""
    for donor in donors:
        paths = [path for path in sorted((donor / folder).glob("*")) if path.suffix in (".json", ".txt") and path.is_file()]
        found = {
            f"{folder}/{path.name}": path.read_bytes() for path in paths[:_MOST_FILES] if path.stat().st_size <= _LARGEST_BYTES
        }
        if found:
            return found
    return {}


@functools.cache
def _facts() -> dict:
    return json.loads(_FACTS.read_text("utf-8"))
