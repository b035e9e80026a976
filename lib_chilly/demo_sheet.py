"""What the demo's contact sheet shows: its sources, the card's steps, and what alpha, blocks and a difference do to a picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from .contact_sheet import Cell, Section, count_pictures, draw_sheet, paint_sections, save_sheet
from .errors import Interrupted
from .family import MEMBERS
from .host.base import GenParams
from .host.standalone import StandaloneHost
from .models import ModelLibrary
from .notations import read_recipe
from .plan import Plan, make_plan

PARAMS = GenParams("", seed=0, steps=10, cfg=4.0, width=64, height=64, sampler="DDIM")
PROMPTS = ("a red circle on blue", "a yellow star on black", "a green square on white", "a purple heart on yellow")
ALPHAS = ("0", "0.25", "0.5", "0.75", "1")
BLOCKS = ("BASE", "IN00-IN05", "IN06-IN11", "M00", "OUT00-OUT05", "OUT06-OUT11")
_BASE = "v1-5-pruned-emaonly"


class DemoSheet:
    """The sheet of a demo whose models are there.

    Args:
        models: their folder.
        card: the recipe's text.
        steps: of the card, in its order.
    """

    def __init__(self, models: Path, card: str, steps: tuple[str, ...]):
        self._library = ModelLibrary([models])
        self._host = StandaloneHost([models])
        self._card, self._steps = card, steps

    def save(self, path: Path, should_stop: Callable[[], bool]) -> int:
        """Paint it and write the PNG: how many pictures it has.

        Raises:
            Interrupted: between two pictures, when `should_stop` says so.
        """
        sections = self.sections
        count = count_pictures(sections)
        with tqdm(total=count, desc="painting", unit="picture", leave=False, disable=not sys.stderr.isatty()) as bar:

            def on_picture() -> None:
                bar.update()
                if should_stop():
                    raise Interrupted("stopped. The merged files are whole; there is no contact sheet.")

            save_sheet(draw_sheet(sections, paint_sections(self._host, sections, PARAMS, on_picture)), path)
        return count

    @cached_property
    def sections(self) -> list[Section]:
        """All that is shown, planned once."""
        return [self._sources(), self._card_steps(), self._alpha(), self._blocks(), self._difference(), self._broken()]

    def _sources(self) -> Section:
        shown = [member for member in MEMBERS if member.paints]
        rows = [(f"{member.name}: {member.style}", self._cells(self._plan(f'"{member.name}"'))) for member in shown]
        return Section("Sources", PROMPTS, rows)

    def _card_steps(self) -> Section:
        rows = [(step, self._cells(make_plan(read_recipe(self._card), self._library, step=step))) for step in self._steps]
        return Section("The card, step by step", PROMPTS, rows)

    def _alpha(self) -> Section:
        plans = [self._plan(f'weighted_sum("{_BASE}", r34_e4, alpha={alpha})') for alpha in ALPHAS]
        rows = [(prompt, [Cell(plan, prompt) for plan in plans]) for prompt in PROMPTS[:2]]
        return Section(f"Alpha: from {_BASE} to r34_e4", [f"alpha {alpha}" for alpha in ALPHAS], rows)

    def _blocks(self) -> Section:
        plans = [self._plan(f'weighted_sum("{_BASE}", chilloutmix, alpha={{{block}: 1}})') for block in BLOCKS]
        rows = [(prompt, [Cell(plan, prompt) for plan in plans]) for prompt in PROMPTS[:2]]
        return Section(f"Block weights: one group of chilloutmix in {_BASE}", BLOCKS, rows)

    def _difference(self) -> Section:
        plans = [self._plan(f'chilloutmix + {alpha} * (analogDiffusion_10 - "{_BASE}")') for alpha in ALPHAS]
        rows = [(prompt, [Cell(plan, prompt) for plan in plans]) for prompt in PROMPTS[:2]]
        title = "Add difference: chilloutmix, and what analogDiffusion_10 learnt"
        return Section(title, [f"times {alpha}" for alpha in ALPHAS], rows)

    def _broken(self) -> Section:
        recipes = {
            "as it is": "F222_v1",
            "M00 of the base": f'weighted_sum(F222_v1, "{_BASE}", alpha={{M00: 1}})',
            "10 % of it": f'weighted_sum("{_BASE}", F222_v1, alpha=0.1)',
            "50 % of it": f'weighted_sum("{_BASE}", F222_v1, alpha=0.5)',
            "50 % of it but for M00": f'weighted_sum("{_BASE}", F222_v1, alpha={{*: 0.5, M00: 0}})',
        }
        plans = [self._plan(text) for text in recipes.values()]
        rows = [(prompt, [Cell(plan, prompt) for plan in plans]) for prompt in PROMPTS[:2]]
        return Section("A broken block: M00 of F222_v1", list(recipes), rows)

    def _plan(self, text: str) -> Plan:
        return make_plan(read_recipe(text), self._library)

    def _cells(self, plan: Plan) -> list[Cell]:
        return [Cell(plan, prompt) for prompt in PROMPTS]
