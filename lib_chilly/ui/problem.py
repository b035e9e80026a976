"""What a page is told when something cannot be done: a sentence, and the field that it belongs to."""

from __future__ import annotations

import logging
from typing import Any

from ..console import printable
from ..errors import MergeError, RecipeError

LOG = logging.getLogger("chillymerge")


class FieldError(MergeError):
    """Something that a page sent cannot be taken.

    Args:
        field: name of the argument that it belongs to.
    """

    def __init__(self, message: str, field: str):
        self.field = field
        super().__init__(message)


def problem_of(error: BaseException, doing: str) -> dict[str, Any]:
    """PROBLEM as docs/page-protocol.md has it; what no user can have caused goes to the log with its traceback.

    Args:
        doing: what was being done, such as "preview".
    """
    if isinstance(error, MergeError):
        said = str(error)
        if isinstance(error, RecipeError) and error.text is not None and error.position is not None:
            said = said.rsplit("\n", 2)[0]  # the page shows the place itself
        return {"message": printable(said), "field": getattr(error, "field", None)}
    if isinstance(error, OSError) and error.strerror:
        return {"message": printable(f"{error.filename or 'the system'}: {error.strerror}."), "field": None}
    LOG.error("%s failed", doing, exc_info=error)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return {"message": f"there is not enough memory for this {doing}. Close other programs, or ask for less.", "field": None}
    return {
        "message": f"this {doing} failed in a way that is a mistake of ChillyMerge ({type(error).__name__}). "
        "Its log says where; please report it.",
        "field": None,
    }
