"""What model is this key set, and which lane does each key have; all facts stand in architectures/*.json.

Detection looks at key names, and at numbers of dimensions where names do not decide, never at widths: reduced
models pass.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ArchitectureError
from .header import counted

FOLDER = Path(__file__).parent / "architectures"
VAE_ALONE = "vae"
"""The architecture of a file that holds a VAE and nothing else."""
NO_LANE = "OTHER"
"""Under this name reports count keys that have no lane: schedule buffers, markers and keys that no rule knows."""


@dataclass(frozen=True)
class ConvIn:
    """The first convolution, the one tensor whose input channels differ between relatives.

    Attributes:
        key: its weight, (out, channels, 3, 3).
        channels: of an ordinary model.
        extended: channels of a relative, to what that relative is called.
    """

    key: str
    channels: int
    extended: Mapping[int, str]


Rules = tuple[tuple[re.Pattern[str], str], ...]
"""(compiled prefix, name with {i}, {j}, {k} for the numbers in it); the first match wins."""


@dataclass(frozen=True)
class NumberList:
    """Another list of numbers that people paste for an architecture, finer or in another order than its slots.

    Attributes:
        title: whose list it is.
        slots: names of its numbers, in order.
        rules: which number a key takes.
    """

    title: str
    slots: tuple[str, ...]
    rules: Rules

    def slot_of(self, key: str) -> str | None:
        """The name of the number that a canonical key takes; None where the list has none for it."""
        name = _first_match(self.rules, key)
        return name if name in self.slots else None


@dataclass(frozen=True)
class Architecture:
    """One row of the table of architectures.

    Attributes:
        latents: which kind of latents its VAE makes; VAEs of two kinds may have the same shapes. "" where files do not say.
        latent_size: side of the latents of a square picture of the size that it was made for; None where there is no U-Net.
        slots: names of the numbers in a pasted list, in order; BASE first.
        lanes: lane to the slot whose number it takes from a pasted list, in display order.
        lists: other lists of numbers, each of a length of its own.
        components, aliases: component to its key prefixes; old key prefixes to today's.
        bare: a component's prefix to how its keys start in files that hold it alone, without the prefix.
        rules: which lane a key has.
        copied, dropped: globs of keys that are never merged, and of those that no output has.
        classes: name of a key class to its globs.
        markers: keys whose presence says how a model is sampled, to words for it.
        predictions, prediction: keys that say what a model predicts, to that; what every model predicts, None where they differ.
    """

    name: str
    title: str
    latents: str
    latent_size: int | None
    slots: tuple[str, ...]
    lanes: Mapping[str, str]
    lists: tuple[NumberList, ...]
    components: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str]
    bare: Mapping[str, tuple[str, ...]]
    rules: Rules
    copied: re.Pattern[str]
    dropped: re.Pattern[str]
    classes: Mapping[str, re.Pattern[str]]
    conv_in: ConvIn
    markers: Mapping[str, str]
    predictions: Mapping[str, str]
    prediction: str | None
    detect: tuple[dict, ...]

    def canonical_key(self, key: str) -> str:
        """`key` in today's spelling, with its component's prefix."""
        if not key.startswith(self._old_starts):
            return key
        for prefix, starts in self.bare.items():
            if key.startswith(starts):
                return prefix + key
        for old, new in self.aliases.items():
            if key.startswith(old):
                return new + key[len(old) :]
        return key

    @functools.cached_property
    def _old_starts(self) -> tuple[str, ...]:
        """How keys start that have another spelling today."""
        return (*self.aliases, *(start for starts in self.bare.values() for start in starts))

    def bare_prefix(self, keys: Iterable[str]) -> str:
        """The prefix that all keys of a file lack which holds one component by itself; "" for other files."""
        prefixes = set()
        for key in keys:
            canonical = self.canonical_key(key)
            if self.component_of(canonical) and not self.is_dropped(canonical):
                prefixes.add(canonical.removesuffix(key))
        return prefixes.pop() if len(prefixes) == 1 and prefixes <= set(self.bare) else ""

    def lane_of(self, key: str) -> str | None:
        """The one lane of a canonical key; None for keys that no rule knows."""
        name = _first_match(self.rules, key)
        return name if name in self.lanes else None

    def component_of(self, key: str) -> str | None:
        for component, prefixes in self.components.items():
            if key.startswith(prefixes):
                return component
        return None

    def is_copied(self, key: str) -> bool:
        """Whether this key is copied from one source whatever its dtype."""
        return self.copied.fullmatch(key) is not None or self.lane_of(key) is None

    def is_dropped(self, key: str) -> bool:
        return self.dropped.fullmatch(key) is not None

    def lanes_of_slot(self, slot: str) -> tuple[str, ...]:
        """The lanes that take this slot's number from a pasted list."""
        return tuple(lane for lane, follows in self.lanes.items() if follows == slot)

    def fits(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether these keys (canonical or not) are those of this architecture."""
        keys = {self.canonical_key(key): shape for key, shape in shapes.items()}
        return any(_condition_holds(condition, keys) for condition in self.detect)


def architectures() -> tuple[Architecture, ...]:
    """Every known architecture, in the order of their file names."""
    return tuple(load(name) for name in architecture_names())


@functools.cache
def architecture_names() -> tuple[str, ...]:
    """Their names, in that order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@functools.cache
def load(name: str) -> Architecture:
    """The architecture whose facts stand in `architectures/NAME.json`."""
    row = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    conv_in = row["conv_in"]
    return Architecture(
        name=row["name"],
        title=row["title"],
        latents=row["latents"],
        latent_size=row.get("latent_size"),
        slots=tuple(row["slots"]),
        lanes=row["lanes"],
        lists=tuple(NumberList(each["title"], tuple(each["slots"]), _compile_rules(each["rules"])) for each in row["lists"]),
        components={component: tuple(prefixes) for component, prefixes in row["components"].items()},
        aliases=row["aliases"],
        bare={prefix: tuple(starts) for prefix, starts in row["bare"].items()},
        rules=_compile_rules(row["rules"]),
        copied=_compile_globs(row["copied"]),
        dropped=_compile_globs(row["dropped"]),
        classes={name: _compile_globs(globs) for name, globs in row["classes"].items()},
        conv_in=ConvIn(conv_in["key"], conv_in["channels"], {int(n): title for n, title in conv_in["extended"].items()}),
        markers=row["markers"],
        predictions=row["predictions"],
        prediction=row.get("prediction"),
        detect=tuple(row["detect"]),
    )


@functools.cache
def known_keys(name: str) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Every key of the original release to its torch dtype's name and its full shape."""
    rows = json.loads((FOLDER / "keys" / f"{name}.json").read_text("utf-8"))
    return {key: (dtype, tuple(shape)) for key, (dtype, shape) in rows.items()}


def detect(shapes: Mapping[str, tuple[int, ...]], file_name: str) -> Architecture:
    """The architecture of a key set.

    Args:
        shapes: key to shape, as a header says them.
        file_name: for the error's text.

    Raises:
        ArchitectureError: no known architecture has these keys.
    """
    if found := next((architecture for architecture in architectures() if architecture.fits(shapes)), None):
        return found
    known = ", ".join(architecture.title for architecture in architectures())
    example = f", such as '{min(shapes)}'" if shapes else ""
    raise ArchitectureError(
        f"'{file_name}' is no checkpoint of a known architecture ({known}): none of them fits its "
        f"{counted(len(shapes), 'key')}{example}. "
        "Use a whole checkpoint, or a U-Net or VAE by itself; a LoRA, a text encoder or a diffusers part is not one."
    )


def _condition_holds(condition: dict, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    prefix = condition.get("prefix", "")
    return (
        all(key in shapes for key in condition["has"])
        and not any(key in shapes for key in condition["lacks"])
        and all(len(shapes.get(key, ())) == count for key, count in condition.get("dimensions", {}).items())
        and any(key.startswith(prefix) for key in shapes)
        and not any(key.startswith(tuple(condition.get("without", ()))) for key in shapes)
    )


def _compile_rules(rows: Iterable[tuple[str, str]]) -> Rules:
    return tuple(
        (re.compile(re.sub(r"\\\{([ijk])\\\}", r"(?P<\1>[0-9]{1,3})", re.escape(prefix))), name) for prefix, name in rows
    )


def _first_match(rules: Rules, key: str) -> str | None:
    for pattern, name in rules:
        if match := pattern.match(key):
            return name.format(**{letter: int(number) for letter, number in match.groupdict().items()})
    return None


def _compile_globs(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(glob).replace(r"\*", ".*") for glob in globs))
