"""What a page is told when something cannot be done: a sentence, and the field that it belongs to."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import MergeError

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
        return {"message": str(error), "field": getattr(error, "field", None)}
    LOG.error("%s failed", doing, exc_info=error)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return {"message": f"there is not enough memory for this {doing}. Close other programs, or ask for less.", "field": None}
    return {
        "message": f"this {doing} failed in a way that is a mistake of ChillyMerge ({type(error).__name__}). "
        "Its log says where; please report it.",
        "field": None,
    }
