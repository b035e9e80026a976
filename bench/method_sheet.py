"""What every merge method does to a picture, as one sheet: `python -m bench.method_sheet demo/models docs/images/methods.webp`.

All pictures are of one prompt and one seed; the models are three of the tiny family, as `./chilly demo` builds it.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from lib_chilly.contact_sheet import Cell, Section, draw_sheet, paint_sections
from lib_chilly.host.base import GenParams
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.registry import MergeMethod, all_methods

A, B, BASE, LORA = "chilloutmix", "analogDiffusion_10", "v1-5-pruned-emaonly", "polka-dots"
PROMPT = "a green square on white"
PARAMS = GenParams("", seed=0, steps=10, cfg=4.0, width=64, height=64, sampler="DDIM")
_SHARES = ("0.25", "0.5", "1")
STEPS = {
    "IN": ("-6", "3", "6"),
    "alignment": _SHARES,
    "alpha": _SHARES,
    "density": ("0.1", "0.5", "1"),
    "distance": ("0.001", "0.01", "0.1"),
    "scale": _SHARES,
}
"""Values of the first of these parameters that a method has."""


def calls(method: MergeMethod) -> list[tuple[str, str]]:
    """(what is set, a recipe) from little to all; one where there is nothing to set."""
    if method.takes_files:
        operands = [f'lora("{LORA}"' if method.name == "lora" else f'lora_on("{LORA}", "{BASE}"']
        text = f'"{BASE}" + {operands[0]}'
    else:
        models = [A, B] if method.takes_any_number else [A, B, BASE][: len(method.operands)]
        operands = [f'"{name}"' for name in models] + [f'{name}="{BASE}"' for name in method.named]
        text = f"{method.name}({', '.join(operands)}"
    name = next((name for name in STEPS if name in method.parameters), None)
    if name is None:
        return [("", f"{text})")]
    return [(value if number else f"{name} {value}", f"{text}, {name}={value})") for number, value in enumerate(STEPS[name])]


def main() -> None:
    models, output = Path(sys.argv[1]), Path(sys.argv[2])
    library, host = ModelLibrary([models]), StandaloneHost([models])
    sections = [_section("The models", [(name, [("", f'"{name}"')]) for name in (A, B, BASE)], library)]
    for module, family in groupby(all_methods().values(), key=lambda method: method.function.__module__):
        title = module.rpartition(".")[2].replace("_", " ").capitalize()
        sections.append(_section(title, [(method.name, calls(method)) for method in family], library))
    sheet = draw_sheet(sections, paint_sections(host, sections, PARAMS))
    sheet.save(output, "WEBP", quality=80, method=6)


def _section(title: str, rows: list[tuple[str, list[tuple[str, str]]]], library: ModelLibrary) -> Section:
    found = []
    for name, recipes in rows:
        said = ", ".join(label for label, _ in recipes if label)
        cells = [Cell(make_plan(parse_recipe(text), library), PROMPT) for _, text in recipes]
        found.append((f"{name}: {said}" if said else name, cells))
    return Section(title, [""] * max(len(cells) for _, cells in found), found)


if __name__ == "__main__":
    main()
