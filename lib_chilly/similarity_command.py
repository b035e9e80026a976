"""The command that says how alike models are: a table, a ranking or a matrix, a picture, or a recipe with what was measured."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from .canvas import check_picture
from .console import show, stop_flag
from .errors import RecipeError
from .header import counted, quoted
from .merge_commands import library_of, print_json
from .models import ModelLibrary
from .recipe import Recipe
from .report import default_threads
from .shared_layers import MEASURES, shared_layers, takes_deltas
from .similarity import Question, Similarity, compare_all
from .similarity_edits import refuse_captured, replaced_below, weighted_by
from .similarity_models import Model, models_of, refuse_mixed_up, the_model, told_apart
from .similarity_plots import matrix_picture, ranking_picture
from .similarity_words import Matrix, Ranking, describe_matrix, describe_ranking, matrix_facts, ranked, ranking_facts

_ONE_OTHER = "a recipe is written for one model against the base; name one OTHER, without --matrix."


def run_similarity(options: argparse.Namespace) -> None:
    """Compare, and say, draw or write what was found."""
    _check(options)
    library = library_of(options)
    notes: list[str] = []
    base = the_model(options.base, library)
    ancestor = _ancestor(options, base, library, notes)
    others = [
        model for argument in options.others for model in models_of(argument, library, base, options.measure, ancestor, notes)
    ]
    if not others:
        raise RecipeError(f"there is nothing to compare {quoted(base.name)} with. {' '.join(notes)}".strip())
    names, donor = told_apart([base, *others]), _donor(options, base, others, library)
    count = len(others) + 1
    question = Question(
        plans=[base.plan, *(model.plan for model in others)],
        pairs=tuple(itertools.combinations(range(count), 2) if options.matrix else ((0, place) for place in range(1, count))),
        measure=options.measure,
        ancestor=ancestor.plan if ancestor else None,
        stream=options.stream,
        by=options.by,
        with_equal=options.matrix,
    )
    found = _compared(question, options)
    notes += [note for model in (base, *others) for note in model.recipe.notes]
    notes += _gathered({(names[a], names[b]): each.notes for (a, b), each in found.items()})
    rows = [(names[place], found[0, place]) for place in range(1, count)]
    ranking = Ranking(names[0], options.measure, ranked(rows, options.rank), tuple(notes))
    matrix = Matrix(names, options.measure, found, list(base.plan.architecture.lanes), options.rank) if options.matrix else None
    _tell(options, ranking, matrix, partial(_edited, options, donor, others[0], found[0, 1]))


def _compared(question: Question, options: argparse.Namespace) -> dict[tuple[int, int], Similarity]:
    """What was found of each pair; in a matrix with the shares of equal elements too, by a pass of their own where need be."""
    with stop_flag() as should_stop, _bar() as on_layer:
        run = partial(compare_all, threads=options.threads or default_threads(), should_stop=should_stop, on_layer=on_layer)
        found = run(question)
        if question.with_equal and not any(each.equal for each in found):
            shares = run(replace(question, measure="equal", by="lane"))
            found = [replace(each, equal=share.blocks) for each, share in zip(found, shares, strict=True)]
    return dict(zip(question.pairs, found, strict=True))


def _gathered(notes_of: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    """Notes on pairs of models, each once."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for pair, notes in notes_of.items():
        for note in notes:
            pairs.setdefault(note, []).append(pair)
    found = []
    for note, ((a, b), *others) in pairs.items():
        more = f", and {counted(len(others), 'other pair')}" if others else ""
        found.append(f"{quoted(a)} and {quoted(b)}{more}: {note}")
    return found


def _tell(options: argparse.Namespace, ranking: Ranking, matrix: Matrix | None, edited: Callable[[], Recipe | None]) -> None:
    """Draw, print, and print the recipe that an option asks for; where there is none, what was measured is not lost."""
    if options.plot:
        picture = matrix_picture(matrix) if matrix else ranking_picture(ranking)
        picture.save(options.plot)
    try:
        recipe = edited()
    except RecipeError:
        if not options.json:
            show(describe_ranking(ranking))
        raise
    if options.json:
        facts = ranking_facts(ranking)
        facts |= {"matrix": matrix_facts(matrix)} if matrix else {}
        facts |= {"recipe": recipe.canonical()} if recipe else {}
        facts |= {"warnings": list(ranking.notes)} if ranking.notes else {}
        print_json(facts)
    elif recipe:
        show(f"# {line}".rstrip() for line in describe_ranking(ranking))
        sys.stdout.write(recipe.canonical())  # as it is: what `show` escapes is part of a name
    else:
        show([*describe_ranking(ranking), *(describe_matrix(matrix) if matrix else [])])


def _check(options: argparse.Namespace) -> None:
    """What can be refused before anything is opened."""
    if options.measure not in MEASURES:
        raise RecipeError(f"there is no measure {quoted(options.measure)}. There are: {', '.join(MEASURES)}.")
    if (options.replace_below is None) != (options.donor is None):
        raise RecipeError("--replace-below X and --with MODEL go together: whose blocks stand where the figure is below X.")
    if options.replace_below is not None and options.as_weights:
        raise RecipeError("--replace-below and --as-weights write two recipes; ask for one of them.")
    if _is_edit(options) and (len(options.others) > 1 or options.matrix):
        raise RecipeError(_ONE_OTHER)
    if _is_edit(options) and not MEASURES[options.measure].unit:
        raise RecipeError(f"{options.measure} is no likeness in percent, which a recipe could be written from.")
    if options.matrix and not MEASURES[options.measure].unit:
        raise RecipeError(f"{options.measure} is no likeness, so it groups nothing; ask for --matrix with another measure.")
    if options.measure == "asim" and options.by != "lane":
        raise RecipeError(f"asim has figures of lanes alone; --by {options.by} goes with another measure.")
    if options.plot:
        check_picture(options.plot)


def _is_edit(options: argparse.Namespace) -> bool:
    return options.replace_below is not None or options.as_weights


def _ancestor(options: argparse.Namespace, base: Model, library: ModelLibrary, notes: list[str]) -> Model | None:
    """The ancestor, where the measure subtracts one."""
    if not options.ancestor:
        return None
    ancestor = the_model(options.ancestor, library)
    if not takes_deltas(options.measure):
        notes.append(f"{options.measure} looks at no ancestor; --ancestor goes with delta and sign.")
        return None
    if base.file and base.file == ancestor.file:
        raise RecipeError("the ancestor is BASE itself, which has learned nothing since; compare two of its descendants.")
    return ancestor


def _donor(options: argparse.Namespace, base: Model, others: Sequence[Model], library: ModelLibrary) -> str:
    """The name of the model that comes into OTHER's recipe, or into which OTHER comes; "" where no recipe is asked for."""
    if not _is_edit(options):
        return ""
    if len(others) != 1:
        raise RecipeError(_ONE_OTHER)
    other, donor = others[0], base if options.as_weights else the_model(options.donor, library)
    if donor.spelling is None and options.as_weights:
        raise RecipeError("--as-weights puts BASE into a recipe by its name, and BASE is a merge here. Save it first.")
    if donor.spelling is None:
        raise RecipeError("--with names one model, and this is a merge. Save it first.")
    shared_layers(other.plan, donor.plan, "cosine")  # whether it fits
    refuse_mixed_up(donor, other)
    refuse_captured(donor.spelling, other.recipe)
    return donor.spelling


def _edited(options: argparse.Namespace, donor: str, other: Model, found: Similarity) -> Recipe | None:
    """The recipe that an option asks for, with numbers of what was found."""
    if options.as_weights:
        return weighted_by(donor, other.recipe, found.blocks)
    if options.replace_below is None:
        return None
    blocks = {**found.blocks, **dict.fromkeys(found.broken, -math.inf)}
    return replaced_below(other.recipe, donor, blocks, options.replace_below, other.plan.architecture)


@contextmanager
def _bar() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr; quiet where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, count, block: None
        return
    from tqdm import tqdm

    with tqdm(unit="layer", leave=False) as bar:

        def on_layer(done: int, count: int, block: str) -> None:
            bar.total, bar.n = count, done
            bar.set_description(f"comparing {block}")

        yield on_layer
