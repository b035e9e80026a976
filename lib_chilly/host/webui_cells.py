"""The merge of a picture that the webui makes for somebody else: of a cell of its X/Y/Z plot, or of a request to its API.

The webui passes over the errors of scripts, and would draw with the user's model then: so a picture whose merge has failed is
made to fail itself, before its first step.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

from modules import errors, shared

from ..errors import MergeError
from .webui import WebuiHost
from .webui_entry import room
from .webui_failures import begin_cell, count_pictures, end_cell, fail_cell
from .webui_grid import check_request, plan_of, recipe_of
from .webui_kept import remember_choice
from .webui_merged import CHOSEN, MergedInfo
from .webui_pictures import OTHER_MODEL, add_recipe, heal, is_loaded, notes_on
from .webui_queue import wait_for_first_model
from .webui_request import grid_of

_MERGE, _OTHER = "chilly_merge", "chilly_other"


def take_merge(p: Any) -> None:
    """Merge for a picture, and choose the merge as its model. The caller is in the queue."""
    begin_cell(p)
    shared.state.skipped = False  # was of the picture before, as the webui sees it too when it begins one
    try:
        check_request(p)
        wait_for_first_model()
        heal()  # the cell before this one may have failed amid loading
        recipe, grid = recipe_of(p), grid_of(p)
        plan = plan_of(recipe)
        weights, comes_again = cast(WebuiHost, room().host).weights, None
        if grid is not None:
            grid.on_end, comes_again = weights.tidy, recipe.canonical() in grid.again
        taken = weights.take(plan, comes_again=comes_again)
    except MergeError as error:
        _fail(p, str(error))
        return
    except Exception as error:
        errors.report("ChillyMerge: the merge of a picture failed", exc_info=True)
        _fail(p, f"the merge failed in a way that is a mistake of ChillyMerge ({type(error).__name__}). The console has more.")
        return
    remember_choice(shared.opts.data.get(CHOSEN))
    # New tables: those that are there belong to all cells.
    p.override_settings = {**p.override_settings, CHOSEN: taken.info.title}
    add_recipe(p, plan)
    setattr(p, _MERGE, taken.info)


def check_batch(p: Any) -> None:
    """Look whether what was drawn now is of the merge; what is not, is not saved. Later it could not be told any more: other
    scripts may draw over the pictures with models of their own."""
    info: MergedInfo | None = getattr(p, _MERGE, None)
    count_pictures(p)
    if info is not None and not is_loaded(p, info):
        setattr(p, _OTHER, True)
        p.do_not_save_samples = True


def check_picture(p: Any, processed: Any) -> None:
    """Take back what was made if it is not of the merge, and say what in it is not the merge's."""
    info: MergedInfo | None = getattr(p, _MERGE, None)
    if info is None:
        return
    if p.sd_model_hash != info.shorthash or hasattr(p, _OTHER):
        fail_cell(p, OTHER_MODEL)
        processed.images.clear()
        processed.comments += f"{OTHER_MODEL}\n"
        return
    end_cell(p)
    processed.comments += "".join(f"{note}\n" for note in notes_on(processed) if note not in processed.comments)


def _fail(p: Any, said: str) -> None:
    """Let a picture fail before its first step; the model and other cells are untouched by that."""

    def refuse(*args: Any, **given: Any) -> NoReturn:
        raise MergeError(said)

    p.init = refuse
    fail_cell(p, said)
