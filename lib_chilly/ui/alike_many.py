"""Several models compared, each with each: curves over the blocks, a matrix with its dendrogram, who may come from whom."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from ..models import ModelLibrary
from ..notations import read_recipe
from ..plan import Plan, make_plan
from ..recipe import Recipe
from ..shared_layers import MEASURES, shared_layers
from ..similarity import Question, Similarity
from ..similarity_plots import matrix_picture, ranking_picture
from ..similarity_words import Matrix, Ranking, matrix_facts, ranked
from .alike import Alike, figures, has_ancestor, named, refuse_ancestor
from .job import Job
from .problem import FieldError
from .questions import Page, question
from .work import Work

MOST_MODELS = 12
_LONGEST = 200


@question
def alike_many(page: Page, text: str, of: list, measure: str = "asim", ancestor: str | None = None) -> dict[str, Any]:
    """A job that compares models and steps of the recipe; curves are against the first. It fails where
    they cannot be compared."""
    names = [str(name)[:_LONGEST] for name in dict.fromkeys(map(str, of))]
    takes_ancestor = has_ancestor(measure)
    if not MEASURES[measure].unit:
        raise FieldError(f"{measure} is no likeness that models could be grouped by. Choose another measure.", "measure")
    if not 2 <= len(names) <= MOST_MODELS:
        raise FieldError(f"choose 2 to {MOST_MODELS} models; these are {len(names)}.", "of")
    recipe = read_recipe(text) if text.strip() else None
    ancestor = ancestor if takes_ancestor else None

    def do(job: Job) -> Iterator[None]:
        asked = yield from _asked(recipe, names, measure, ancestor, page.host.library())
        yield from page.one(Alike).find("alike_many", asked, lambda found: _report(names, asked, found), job, tuple(names))

    return {"job": page.one(Work, Work).start(page.name, "alike", do, lane="alike_many")}


def _asked(
    recipe: Recipe | None, names: Sequence[str], measure: str, ancestor: str | None, library: ModelLibrary
) -> Generator[None, None, Question]:
    """What is to be compared, with a turn for others between plans."""
    plans: list[Plan] = []
    for name in names:
        plans.append(make_plan(named(recipe, name), library))
        yield
    _check_kinds(names, plans)
    below = make_plan(named(recipe, ancestor), library) if ancestor else None
    refuse_ancestor(below, plans, names)
    pairs = tuple(itertools.combinations(range(len(plans)), 2))
    for first, second in pairs:
        shared_layers(plans[first], plans[second], measure, below)
    return Question(plans, pairs, measure, below, with_equal=True)


def _check_kinds(names: Sequence[str], plans: Sequence[Plan]) -> None:
    first = plans[0].architecture
    for name, plan in zip(names, plans, strict=True):
        if plan.architecture is not first:
            kinds = f"'{name}' is {plan.architecture.title}, '{names[0]}' is {first.title}"
            raise FieldError(f"{kinds}; models of one kind can be compared.", "of")


def _report(names: Sequence[str], asked: Question, found: Sequence[Similarity]) -> dict[str, Any]:
    by_pair = dict(zip(asked.pairs, found, strict=True))
    rows = [(names[place], by_pair[0, place]) for place in range(1, len(names))]
    ranking = Ranking(names[0], asked.measure, ranked(rows, "all"))
    matrix = Matrix(names, asked.measure, by_pair, list(asked.plans[0].architecture.lanes))
    return {
        "measure": asked.measure,
        "base": names[0],
        "rows": [{"model": name, "totals": figures(each.totals)} for name, each in ranking.rows],
        **matrix_facts(matrix),
        "curves": ranking_picture(ranking).svg(),
        "matrix": matrix_picture(matrix).svg(),
        "notes": list(dict.fromkeys(note for each in found for note in each.notes)),
    }
