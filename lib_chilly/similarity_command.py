"""The command that says how alike models are: a table, a ranking or a matrix, a picture, or a recipe with what was measured."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .canvas import check_picture
from .console import sentence, show, stop_flag
from .diffusers_folder import is_diffusers_folder
from .errors import MergeError, RecipeError
from .expression import ModelRef, spell_name
from .header import counted, quoted
from .merge_commands import library_of, load_recipe, print_json
from .models import SUFFIXES, ModelLibrary, OneModel, without_suffix
from .plan import Plan, make_plan
from .recipe import Recipe
from .recipe_text import parse_recipe
from .report import default_threads
from .shared_layers import MEASURES, shared_layers, takes_deltas
from .similarity import Question, Similarity, compare_all, result_name
from .similarity_edits import replaced_below, weighted_by
from .similarity_plots import matrix_picture, ranking_picture
from .similarity_words import Matrix, Ranking, describe_matrix, describe_ranking, matrix_facts, ranked, ranking_facts


@dataclass(frozen=True)
class Model:
    """One of those that are compared: what it is called, what was said, and how it is made."""

    name: str
    recipe: Recipe
    plan: Plan

    @property
    def spelling(self) -> str | None:
        """The name by which a recipe has it, if it is one model and nothing else."""
        expression = self.recipe.steps[self.recipe.result].expression
        return expression.name if isinstance(expression, ModelRef) else None


def run_similarity(options: argparse.Namespace) -> None:
    """Compare, and say, draw or write what was found."""
    _check(options)
    library = library_of(options)
    notes: list[str] = []
    base = _only(options.base, library)
    others = [model for argument in options.others for model in _models(argument, library, base, options, notes)]
    if not others:
        raise RecipeError(f"there is nothing to compare {quoted(base.name)} with. {' '.join(notes)}".strip())
    names, donor = _told_apart([base, *others]), _donor(options, base, others[0], library)
    ancestor = _only(options.ancestor, library) if options.ancestor else None
    if ancestor and not takes_deltas(options.measure):
        notes.append(f"{options.measure} looks at no ancestor; --ancestor goes with delta and sign.")
    count = len(others) + 1
    pairs = tuple(itertools.combinations(range(count), 2) if options.matrix else ((0, place) for place in range(1, count)))
    question = Question(
        plans=[base.plan, *(model.plan for model in others)],
        pairs=pairs,
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
    matrix = Matrix(names, options.measure, found, options.rank) if options.matrix else None
    _tell(options, ranking, matrix, _edited(options, donor, others[0], found[0, 1]))


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


def _tell(options: argparse.Namespace, ranking: Ranking, matrix: Matrix | None, recipe: Recipe | None) -> None:
    if options.plot:
        picture = matrix_picture(matrix) if matrix else ranking_picture(ranking)
        picture.save(options.plot)
    if options.json:
        facts = ranking_facts(ranking)
        facts |= {"matrix": matrix_facts(matrix)} if matrix else {}
        facts |= {"recipe": recipe.canonical()} if recipe else {}
        facts |= {"warnings": list(ranking.notes)} if ranking.notes else {}
        print_json(facts)
    elif recipe:
        lines = describe_ranking(ranking)
        show([*(f"# {line}".rstrip() for line in lines), *recipe.canonical().splitlines()])
    else:
        show([*describe_ranking(ranking), *(describe_matrix(matrix) if matrix else [])])


def _check(options: argparse.Namespace) -> None:
    """What can be refused before anything is opened."""
    if options.measure not in MEASURES:
        raise RecipeError(f"there is no measure {quoted(options.measure)}. There are: {', '.join(MEASURES)}.")
    is_edit = options.replace_below is not None or options.as_weights
    if (options.replace_below is None) != (options.donor is None):
        raise RecipeError("--replace-below X and --with MODEL go together: whose blocks stand where the figure is below X.")
    if options.replace_below is not None and options.as_weights:
        raise RecipeError("--replace-below and --as-weights write two recipes; ask for one of them.")
    if is_edit and (len(options.others) > 1 or options.matrix):
        raise RecipeError("a recipe is written for one model against the base; name one OTHER, without --matrix.")
    if is_edit and not MEASURES[options.measure].unit:
        raise RecipeError(f"{options.measure} is no likeness in percent, which a recipe could be written from.")
    if options.measure == "asim" and options.by != "lane":
        raise RecipeError(f"asim has figures of lanes alone; --by {options.by} goes with another measure.")
    if options.plot:
        check_picture(options.plot)


def _donor(options: argparse.Namespace, base: Model, other: Model, library: ModelLibrary) -> str:
    """The name of the model that comes into OTHER's recipe, or into which OTHER comes; "" where no recipe is asked for."""
    if options.as_weights:
        if base.spelling is None:
            raise RecipeError("--as-weights puts BASE into a recipe by its name, and BASE is a merge here. Save it first.")
        return base.spelling
    if options.replace_below is None:
        return ""
    donor = _only(options.donor, library)
    if donor.spelling is None:
        raise RecipeError("--with names one model, and this is a merge. Save it first.")
    shared_layers(other.plan, donor.plan, "cosine")  # whether it fits
    return donor.spelling


def _edited(options: argparse.Namespace, donor: str, other: Model, found: Similarity) -> Recipe | None:
    """The recipe that an option asks for, with numbers of what was found."""
    if options.as_weights:
        return weighted_by(donor, other.recipe, found.blocks)
    if options.replace_below is None:
        return None
    return replaced_below(other.recipe, donor, found.blocks, options.replace_below, other.plan.architecture)


def _only(argument: str, library: ModelLibrary) -> Model:
    """The one model or merge that BASE, an ancestor or a donor means."""
    path = Path(argument)
    if _exists(path) and path.is_dir() and not is_diffusers_folder(path):
        raise RecipeError(f"'{argument}' is a folder of models; name one of them here. A folder may be an OTHER.")
    if _exists(path) and (path.is_dir() or argument.lower().endswith(SUFFIXES)):
        return _of_file(path.name + "/" * path.is_dir(), path)
    if library.knows(argument):
        return _planned(parse_recipe(spell_name(argument)), library)
    return _planned(load_recipe(argument), library)


def _models(argument: str, library: ModelLibrary, base: Model, options: argparse.Namespace, notes: list[str]) -> Iterator[Model]:
    """What an OTHER means: one model, a recipe's result, or all models below a folder that can be compared."""
    path = Path(argument)
    if not (_exists(path) and path.is_dir() and not is_diffusers_folder(path)):
        yield _only(argument, library)
        return
    own = {source.checkpoint.path.resolve() for source in base.plan.sources} if len(base.plan.sources) == 1 else set()
    for name, file in ModelLibrary([path]).files:
        if file.resolve() in own:
            continue
        try:
            model = _of_file(name, file)
            below = base.plan if takes_deltas(options.measure) else None  # the ancestor is looked at once, later
            shared_layers(base.plan, model.plan, options.measure, below)
        except MergeError as error:
            notes.append(f"{quoted(name)} is left out: {sentence(error)}")
            continue
        yield model


def _of_file(name: str, path: Path) -> Model:
    return _planned(parse_recipe(spell_name(without_suffix(name))), OneModel(name, path))


def _planned(recipe: Recipe, library: ModelLibrary) -> Model:
    plan = make_plan(recipe, library)
    return Model(result_name(plan), recipe, plan)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a recipe's text is no path
        return False


def _told_apart(models: Sequence[Model]) -> list[str]:
    """Their names, each once: several folders may hold one of the same name."""
    found: list[str] = []
    for model in models:
        name = without_suffix(model.name)
        same = sum(other == name or other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({same + 1})" if same else name)
    return found


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
