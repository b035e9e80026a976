"""A row of SuperMerger's mergehistory.csv -> Recipe."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from ..expression import shortened
from .draft import Draft, Imported
from .element_lines import split_lines
from .supermerger import Merge, Weights, write
from .supermerger_adjust import numbers_in

HISTORY = "a row of SuperMerger's history"
# fmt: off
_COLUMNS = (
    "id", "time", "name", "weights_alpha", "weights_beta", "model_a", "model_b", "model_c", "alpha", "beta", "mode", "mbw",
    "custom_name", "save_sets", "ids", "elements", "calcmode", "seed", "adjust", "gamma", "choice", "chosen_blocks",
    "chosen_elements",
)
# fmt: on
_LONGEST_FORMULA = 20_000
_HEADER = re.compile(r"\"?ID\"?\s?[,\t]\s?\"?time\"?\s?[,\t]", re.IGNORECASE)
_ROW = re.compile(r"\d{1,9}[,\t]\"?\d{4}\.\d\d\.\d\d \d\d\.\d\d\.\d\d")
_N = r"-?\d{1,9}(?:\.\d{0,20})?(?:e-?\d{1,3})?"
_BETWEEN = {
    ("Weight", False): ("", rf" x {_N} \+ ", rf" x {_N}\Z"),
    ("Weight", True): ("", r" x \(1-alpha\) \+ ", r" x alpha \("),
    ("Add", False): ("", r" \+ \(", r" -  ", rf"\) x {_N}\Z"),
    ("Add", True): ("", r" \+ \(", r" - ", r"\) x alpha \("),
    ("Triple", False): ("", rf" x {_N} \+ ", rf" x {_N} \+ ", rf" x {_N}\Z"),
    ("Triple", True): ("", r" x \(1-alpha-beta\) \+ ", r" x alpha \+ ", r" x beta \("),
    ("Twice", False): (r"\A\(", rf" x {_N} \+(?! )", rf" x {_N}\) x {_N} \+ ", rf" x {_N}\Z"),
    ("Twice", True): (r"\A\(", r" x \(1-alpha\) \+ ", r" x alpha\)x\(1-beta\)\+  ", r" x beta \("),
}
"""What stands before, between and behind the models' names in the formula that names a merge, by mode and by use of blocks."""


def is_history(text: str) -> bool:
    """Whether a text is a row of the history, with or without the line of headings."""
    start = text.lstrip()[:200]
    return _HEADER.match(start) is not None or _ROW.match(start) is not None


def read(text: str) -> Imported:
    """Read one row, with or without the line of headings above it.

    Raises:
        RecipeError: no row, several, or one that cannot be read.
    """
    draft = Draft(HISTORY)
    row = dict(zip(_COLUMNS, _only_row(text, draft), strict=False))
    mode = row.get("mode", "").split(":")[0]
    word = next((word for word in ("Weight", "Add", "Triple", "Twice") if word in mode), "")
    uses_blocks = row.get("mbw", "").strip() == "True"
    weights: dict[str, Weights] = {}
    for name in ("alpha", "beta"):
        if uses_blocks and row.get(f"weights_{name}", "").strip():
            weights[name] = draft.numbers(row[f"weights_{name}"], f"weights {name}")
        elif row.get(name, "").strip():
            weights[name] = draft.number(row[name], name)
    calcmode = row.get("calcmode", "").strip() or "normal"
    names = _names(row.get("name", "").removesuffix(f"_{calcmode}"), word, uses_blocks, draft)
    choice = row.get("choice", "").strip() or "Off"
    chosen = split_lines(re.sub(r"[\[\]']", "", row.get("chosen_blocks", "")), draft)
    merge = Merge(
        [(name, row.get(f"model_{letter}")) for letter, name in names.items()],
        mode,
        calcmode,
        weights,
        split_lines(row.get("elements", ""), draft),
        choice,
        [*chosen, *split_lines(row.get("chosen_elements", ""), draft)] if choice != "Off" else [],
        is_converted=False,
        adjust=numbers_in(row.get("adjust", ""), draft),
    )
    write(merge, draft)
    _options(row, draft)
    return draft.finish()


def _only_row(text: str, draft: Draft) -> Sequence[str]:
    start = text.lstrip()
    delimiter = "\t" if "\t" in start.partition("\n")[0] else ","
    try:
        rows = [row for row in csv.reader(start.splitlines(keepends=True), delimiter=delimiter) if any(row)]
    except csv.Error:
        raise draft.error("it is no row of comma-separated values.") from None
    rows = rows[1:] if rows and rows[0][0].strip() == "ID" else rows
    if len(rows) != 1:
        raise draft.error(f"here are {len(rows)} rows; paste the one that is meant.")
    if len(rows[0]) < _COLUMNS.index("mbw") + 1:
        raise draft.error(f"the row has {len(rows[0])} columns; 23 are usual, and the first 12 are needed.")
    return rows[0]


def _names(formula: str, word: str, uses_blocks: bool, draft: Draft) -> dict[str, str]:
    """The models' names out of the formula; the row's own columns have only their hashes."""
    parts = _BETWEEN.get((word, uses_blocks), ()) if len(formula) <= _LONGEST_FORMULA else ()
    found: list[str] = []
    end = 0
    for index, part in enumerate(parts):
        match = re.compile(part).search(formula, end)
        if match is None or len(re.findall(part, formula)) != (parts.count(part) if part else len(formula) + 1):
            break
        if index:
            found.append(formula[end : match.start()])
        end = match.end()
    if parts and len(found) == len(parts) - 1:
        return dict(zip("abc", found, strict=False))
    raise draft.error(
        f"the models' names cannot be told apart in '{shortened(formula, 120)}'; the row has only their hashes beside it. "
        "Write the recipe with your models' names."
    )


def _options(row: dict[str, str], draft: Draft) -> None:
    settings = row.get("save_sets", "")
    draft.option("dtype", "fp16" if "fp16" in settings else "source")
    if "Reset CLIP ids" in settings:
        draft.option("position_ids", "rebuild")
    if row.get("custom_name", "").strip():
        draft.option("title", row["custom_name"].strip(), "custom_name")
    draft.note("SuperMerger's history does not say whether a VAE was baked in.")
