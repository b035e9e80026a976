"""Whatever is pasted or dropped -> what it says: a recipe in our notation, parameters of a picture, or numbers for a step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import CheckpointError, RecipeError, UnseenText
from ..header import quoted
from ..host.base import GenParams
from ..notations import Imported, looks_like_card, read_merger, read_recipe, recipe_from_metadata
from ..notations.draft import WEIGHT
from ..notations.model_mixer import is_infotext as is_model_mixer
from ..provenance import RecordedSource, read_record
from ..recipe import Recipe
from ..recipe_text import parse_recipe
from ..safetensors_header import metadata_of_head
from .infotext import Infotext, is_infotext, read_infotext
from .png_text import SIGNATURE, png_texts

LARGEST_HEAD = 8 << 20
LONGEST_TEXT = 1 << 22
"""Of what is pasted; what is read of it is bounded further by each notation."""
_LEAST_NUMBERS = 12
_BETWEEN = re.compile(r"[\s,;]+")
_PRESET_NAME = re.compile(r"\s*[^\n\t:,]{1,60}[\t:](?=[\s\d.,;-]+\Z)")
CHUNK = "chillymerge_recipe"
"""Keyword of the chunk in which a picture that was made here has its recipe."""


@dataclass(frozen=True)
class Pasted:
    """What was found.

    Attributes:
        kind: one or two words: "recipe", "model card", "SuperMerger", "model-mixer", "webui", "mecha", "numbers", "infotext",
            "checkpoint" (of ours) or "picture" (of ours).
        title: a line above the review.
        text: the recipe; None where there is none. With mistakes in it where it was ours to begin with.
        notes: sentences on how it was read.
        params: of an infotext.
        numbers: for the open step.
        sources: as a file that was made here names them.
    """

    kind: str
    title: str
    text: str | None = None
    notes: tuple[str, ...] = ()
    params: GenParams | None = None
    numbers: tuple[str, ...] = ()
    sources: tuple[RecordedSource, ...] = ()


class Reader:
    """Reads with what is known here.

    Args:
        samplers, schedulers: that there are.
        params: what holds where an infotext says nothing.
    """

    def __init__(self, samplers: Sequence[str], params: GenParams, schedulers: Sequence[str] = ()):
        self.samplers, self.params, self.schedulers = samplers, params, schedulers

    def text(self, text: str, name: str = "") -> Pasted:
        """What a text says.

        Args:
            name: of the file that it comes from, where it is one.

        Raises:
            MergeError: it is nothing that is known, in the sentence of the notation that it looks like.
        """
        if len(text) > LONGEST_TEXT:
            raise RecipeError(
                f"this is a text of {len(text):,} characters; {LONGEST_TEXT:,} are the most. Paste the recipe alone."
            )
        if not text.strip(" \t\r\n\ufeff"):
            raise RecipeError("there is nothing in it. Paste a recipe, a model card, an infotext or block weights.")
        place = f" in {quoted(name)}" if name else ""
        if numbers := numbers_in(text):
            return Pasted("numbers", f"{len(numbers)} block weights{place}", numbers=numbers)
        if is_infotext(text):
            return self._infotext(text, place)
        if imported := read_merger(text):
            return _imported(imported, place)
        return _own(text, place)

    def file(self, name: str, head: bytes) -> Pasted:
        """What a file says, by its beginning and not by its name.

        Args:
            head: the whole file, or its first LARGEST_HEAD bytes.

        Raises:
            MergeError: it is nothing that is known.
        """
        head = head[:LARGEST_HEAD]
        if head.startswith(SIGNATURE):
            return self._picture(name, head)
        if head[8:9] == b"{" and head[6:8] == b"\0\0":
            return _checkpoint(name, metadata_of_head(head, name))
        if head.startswith((b"\xff\xd8\xff", b"RIFF", b"GIF8")):
            raise CheckpointError(f"{quoted(name)} is a picture, but no PNG: only PNGs are read. Paste its parameters as text.")
        if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03")):
            raise CheckpointError(f"{quoted(name)} is a .ckpt, which does not say how it was made. Drop a .safetensors file.")
        try:
            text = head.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{quoted(name)} is neither a text nor a PNG nor a safetensors file, so nothing can be read from it."
            ) from None
        return self.text(text, name)

    def _picture(self, name: str, head: bytes) -> Pasted:
        texts = png_texts(head, name)
        below = texts.get("parameters", "")
        params = self._read(below) if is_infotext(below) else None
        if recipe := texts.get(CHUNK) or (params.recipe if params else ""):
            found = _own(recipe, "")
            notes = (*found.notes, *(params.notes if params else ()))
            title = f"a picture of ours, {quoted(name)}"
            return replace(found, kind="picture", title=title, notes=notes, params=params.params if params else None)
        if params is None:
            raise CheckpointError(
                f"{quoted(name)} has no parameters in it: what made it, or a site that it went through, left them out."
            )
        return self._infotext(below, f" in {quoted(name)}")

    def _infotext(self, text: str, place: str) -> Pasted:
        """Parameters, with the recipe of the model that made the picture where it is said."""
        found = self._read(text)
        here = Pasted("infotext", f"parameters of a picture{place}", None, found.notes, found.params)
        if found.recipe:
            recipe = _own(found.recipe, place)
            return replace(here, text=recipe.text, notes=(*recipe.notes, *found.notes))
        if is_model_mixer(text) and (imported := read_merger(text)):
            mixed = _imported(imported, place)
            return replace(mixed, notes=(*mixed.notes, *found.notes), params=found.params)
        made = (f"the picture was made with {quoted(found.model)}.",) if found.model else ()
        return replace(here, notes=(*made, *found.notes))

    def _read(self, text: str) -> Infotext:
        return read_infotext(text, self.samplers, self.params, self.schedulers)


def numbers_in(text: str) -> tuple[str, ...]:
    """The numbers of a text that holds nothing else but brackets and a preset's name; none where it is anything else."""
    if len(text) > 10_000:
        return ()
    plain = _PRESET_NAME.sub("", text.strip(), count=1).strip().strip("[]{}()").strip(" ,;\n")
    words = tuple(_BETWEEN.split(plain))
    return words if len(words) >= _LEAST_NUMBERS and all(map(WEIGHT.fullmatch, words)) else ()


def _checkpoint(name: str, metadata: Mapping[str, str]) -> Pasted:
    """How a checkpoint says that it was made."""
    record = read_record(metadata, name)
    if record is not None:
        found = _own(record.recipe, "")
        sizes = ", ".join(f"{quoted(source.name)}" for source in record.sources)
        said = f"it was made here of {sizes}; their sizes and hashes are below. './chilly merge --from' checks them."
        return replace(found, kind="checkpoint", title=f"the recipe of {quoted(name)}", notes=(said,), sources=record.sources)
    imported = recipe_from_metadata(metadata)
    if imported is None:
        raise CheckpointError(f"{quoted(name)} does not say how it was made: no recipe that is known is in its header.")
    return _imported(imported, f" in {quoted(name)}")


_KINDS = {"SuperMerger": "SuperMerger", "model-mixer": "model-mixer", "sd-mecha": "mecha", "webui": "webui"}


def _imported(imported: Imported, place: str) -> Pasted:
    kind = next((kind for word, kind in _KINDS.items() if word in imported.notation), "recipe")
    return Pasted(kind, f"{imported.notation}{place}", imported.recipe.canonical(), imported.notes)


def _own(text: str, place: str) -> Pasted:
    """A recipe in our own notation as it stands, or a model card in our notation.

    A mistake in our notation is shown at its place, with its fixes, so the text is taken with it.
    """
    try:
        recipe = read_recipe(text)
    except RecipeError as error:
        # In this order: a text that is too long for a recipe has no place, and is not looked at closely.
        if error.text is None or error.position is None or isinstance(error.text, UnseenText):
            raise
        if looks_like_card(text) or not _is_likely(text):
            raise
        return Pasted("recipe", f"a recipe with a mistake{place}", error.text)
    if _is_ours(text, recipe):
        return Pasted("recipe", f"a recipe{place}", recipe.text, recipe.notes)
    return Pasted("model card", f"a model card{place}", recipe.canonical(), recipe.notes)


def _is_ours(text: str, recipe: Recipe) -> bool:
    """Whether a recipe stands in our own notation, so that its text can stay with comments and spaces."""
    try:
        return parse_recipe(text) == recipe
    except RecipeError:
        return False


def _is_likely(text: str) -> bool:
    """Whether a text that cannot be read has a line that is meant as a step."""
    return re.search(r"^[^\n#=]{1,200}=[^\n]*[*+(-]", text, re.MULTILINE) is not None
