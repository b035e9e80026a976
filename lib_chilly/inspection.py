"""What a checkpoint is: architecture, components, dtypes, flags, hashes, metadata, recipe.

Reads the header, and the file once to hash it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .architecture import Architecture, detect
from .checkpoint import open_checkpoint
from .errors import ArchitectureError, CheckpointError, MergeError
from .fileio import SourceFile
from .hashes import hash_file, hash_folder
from .header import Checkpoint, counted, quoted
from .lora_file import open_lora
from .prediction import prediction_of
from .provenance import TYPE, read_record
from .verdicts import WORDS, against_words

if TYPE_CHECKING:
    from .health import Health

_CHUNK_BYTES = 1 << 18


def inspect_file(
    path: Path, examine: Callable[[Path], Health] | None = None, on_bytes: Callable[[int], None] = lambda count: None
) -> dict[str, object]:
    """The facts of one file under the names of `inspect --json`.

    Args:
        examine: reads its tensors and says how healthy it is; None leaves that out.
        on_bytes: told how many more bytes were read for hashes; what it raises stops the work.

    Raises:
        CheckpointError: it cannot be read as a checkpoint. A file of no known architecture is described all the same.
    """
    checkpoint = open_checkpoint(path)
    try:
        architecture = detect({key: info.shape for key, info in checkpoint.tensors.items()}, path.name)
    except ArchitectureError:
        architecture = None
    return {
        "file": str(path),
        "format": checkpoint.format,
        "bytes": checkpoint.size_bytes,
        "keys": len(checkpoint.tensors),
        "architecture": architecture.name if architecture else None,
        "title": architecture.title if architecture else None,
        "prediction": prediction_of(checkpoint, architecture) if architecture else None,
        "lora": None if architecture else _lora(path),
        "components": _components(checkpoint, architecture),
        "missing": _missing(checkpoint, architecture),
        "dtypes": _dtypes(checkpoint),
        "flags": _flags(checkpoint, architecture),
        "unknown_keys": [k for k in checkpoint.tensors if architecture and _is_unknown(architecture, k)],
        "hashes": _hashes(checkpoint, on_bytes),
        "metadata": checkpoint.metadata,
        "recipe": _provenance(checkpoint.metadata).get("recipe"),
        "sources": _provenance(checkpoint.metadata).get("sources", []),
        "claims": _provenance(checkpoint.metadata).get("claims", []),
        **({"health": examine(path).facts() if architecture else None} if examine else {}),
    }


def describe(facts: Mapping[str, object]) -> list[str]:
    """The facts in lines."""
    lora: Mapping[str, Any] | None = facts["lora"]  # type: ignore[assignment]
    title = f"LoRA for {lora['title']}" if lora else facts["title"] or "no known architecture"
    lines = [f"{facts['file']}: {title}, {facts['format']}, {facts['bytes']:,} bytes, {counted(facts['keys'], 'key')}"]
    lines += [f"  prediction: {facts['prediction']}"] if facts["prediction"] else []
    lines += _lora_lines(lora) if lora else []
    for name in ("components", "dtypes"):
        counts: Mapping[str, int] = facts[name]  # type: ignore[assignment]
        lines.append(f"  {name}: " + ", ".join(f"{key} {count}" for key, count in counts.items()))
    for name in ("missing", "flags"):
        words: list[str] = facts[name]  # type: ignore[assignment]
        lines += [f"  {name}: {', '.join(words)}"] if words else []
    unknown: list[str] = facts["unknown_keys"]  # type: ignore[assignment]
    lines += [f"  unknown keys: {len(unknown)}, such as {unknown[0]!r}"] if unknown else []
    lines += _health_lines(facts) if "health" in facts else []
    lines += [f"  {name}: {value}" for name, value in facts["hashes"].items()]  # type: ignore[attr-defined]
    metadata: Mapping[str, str] = facts["metadata"]  # type: ignore[assignment]
    lines += [f"  metadata {name!r}: {_short(value)!r}" for name, value in metadata.items() if name != TYPE]
    lines += [f"  metadata {TYPE!r}, which is damaged: {_short(metadata[TYPE])!r}"] if _is_damaged(metadata) else []
    if facts["recipe"]:
        lines += ["  recipe:", *(f"    {line!s}" for line in str(facts["recipe"]).splitlines())]
    lines += [f"  made from: {json.dumps(source, ensure_ascii=False)}" for source in facts["sources"]]  # type: ignore[attr-defined]
    claims: list[object] = facts["claims"]  # type: ignore[assignment]
    lines += [f"  claimed by a source, not checked: {_short(json.dumps(claim, ensure_ascii=False))}" for claim in claims]
    return lines


def _lora(path: Path) -> dict[str, object] | None:
    """What a file adds to a checkpoint; None where it is no LoRA that is read."""
    try:
        found = open_lora(path)
    except MergeError:
        return None
    modules = [module for there in found.modules.values() for module in there]
    return {
        "architecture": found.architecture.name,
        "title": found.architecture.title,
        "weights": len(found.modules),
        "kinds": dict(Counter(module.kind for module in modules)),
        "ranks": sorted({module.rank for module in modules if module.rank}),
        "needs_model": any(module.needs_base for module in modules),
        "unmatched": dict(found.unmatched),
    }


def _lora_lines(lora: Mapping[str, Any]) -> list[str]:
    kinds = ", ".join(f"{kind} {count}" for kind, count in lora["kinds"].items())
    ranks = f", rank {', '.join(map(str, lora['ranks']))}" if lora["ranks"] else ""
    lines = [f"  changes {counted(lora['weights'], 'weight')}: {kinds}{ranks}"]
    lines += ["  what it adds depends on the model: lora_on(NAME, MODEL)"] if lora["needs_model"] else []
    for key, reason in list(lora["unmatched"].items())[:1]:
        lines.append(f"  of no use: {counted(len(lora['unmatched']), 'tensor')}, such as {quoted(key)}: {reason}")
    return lines


def _health_lines(facts: Mapping[str, object]) -> list[str]:
    health: Mapping[str, Any] | None = facts["health"]  # type: ignore[assignment]
    if health is None:
        return ["  health: unknown, as the architecture is"]
    verdict = f"  health: {WORDS[health['verdict']]}{against_words(health['base'], health['known_good'])}"
    return [verdict, *(f"    {words}" for words in health["says"]), *(f"    note: {words}" for words in health["notes"])]


def _components(checkpoint: Checkpoint, architecture: Architecture | None) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in checkpoint.tensors:
        canonical = architecture.canonical_key(key) if architecture else key
        is_ema = architecture is not None and architecture.is_dropped(canonical)
        component = "ema" if is_ema else architecture and architecture.component_of(canonical)
        counts[component or "other"] = counts.get(component or "other", 0) + 1
    return counts


def _missing(checkpoint: Checkpoint, architecture: Architecture | None) -> list[str]:
    if architecture is None:
        return []
    return [component for component in architecture.components if component not in _components(checkpoint, architecture)]


def _dtypes(checkpoint: Checkpoint) -> dict[str, int]:
    counts: dict[str, int] = {}
    for info in checkpoint.tensors.values():
        counts[info.dtype.name] = counts.get(info.dtype.name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _flags(checkpoint: Checkpoint, architecture: Architecture | None) -> list[str]:
    if architecture is None:
        return []
    flags = [words for key, words in architecture.markers.items() if key in checkpoint.tensors]
    tensors = {architecture.canonical_key(key): info for key, info in checkpoint.tensors.items()}
    conv_in = tensors.get(architecture.conv_in.key)
    if conv_in and len(conv_in.shape) == 4 and conv_in.shape[1] in architecture.conv_in.extended:
        flags.append(architecture.conv_in.extended[conv_in.shape[1]])
    if any(architecture.is_dropped(key) for key in checkpoint.tensors):
        flags.append("EMA copies")
    if bare := architecture.bare_prefix(checkpoint.tensors):
        flags.append(f"keys without '{bare}'")
    elif tensors.keys() != checkpoint.tensors.keys():
        flags.append("old spelling of keys")
    if checkpoint.consumed:
        flags.append("scaled fp8")
    return flags


def _is_unknown(architecture: Architecture, key: str) -> bool:
    canonical = architecture.canonical_key(key)
    known = architecture.lane_of(canonical) or architecture.is_dropped(canonical) or architecture.copied.fullmatch(canonical)
    return not known


def _hashes(checkpoint: Checkpoint, on_bytes: Callable[[int], None]) -> dict[str, str]:
    """sha256 of the file and its short form (AutoV2); of a safetensors file's data section too (AutoV3 is its start).

    A folder has the sha256 that is described in docs/diffusers.md.
    """
    if checkpoint.parts:
        return {
            "sha256": hash_folder(checkpoint.path, {part.path: hash_file(part.path, 0, on_bytes) for part in checkpoint.parts})
        }
    whole, data = hashlib.sha256(), hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with SourceFile(checkpoint.path) as file:
        start = 8 + int.from_bytes(file.read(0, 8), "little") if checkpoint.format == "safetensors" else 0
        whole.update(file.read(0, start))
        for offset in range(start, checkpoint.size_bytes, len(buffer)):
            part = buffer[: min(len(buffer), checkpoint.size_bytes - offset)]
            file.read_into(part, offset)
            whole.update(part)
            if start:
                data.update(part)
            on_bytes(len(part))
    hashes = {"sha256": whole.hexdigest(), "AutoV2": whole.hexdigest()[:10]}
    return hashes | ({"data_sha256": data.hexdigest(), "AutoV3": data.hexdigest()[:12]} if start else {})


def _provenance(metadata: Mapping[str, str]) -> dict:
    """What our own header says of recipe and sources, as far as it has the right form; nothing in other files, and in lies."""
    try:
        said = json.loads(metadata[TYPE])
    except (KeyError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    forms = {"recipe": str, "sources": list, "claims": list}
    return {name: said[name] for name, form in forms.items() if isinstance(said.get(name), form)}


def _is_damaged(metadata: Mapping[str, str]) -> bool:
    """Whether our own record is there, but not in its form; whoever wrote or copied it."""
    try:
        read_record({TYPE: metadata[TYPE]} if TYPE in metadata else {}, "")
    except CheckpointError:
        return True
    return False


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + f"... ({len(text):,} characters)"
