"""Reads the small text files that users write: recipes, queues, presets."""

from __future__ import annotations

from pathlib import Path

from .errors import RecipeError


def read_text(path: Path, most_bytes: int, what: str) -> str:
    """The text of a file, its lines ended by newlines and without a byte order mark.

    Args:
        most_bytes: no more are read, however much the file grows meanwhile.
        what: the file is expected to be, such as "recipe", for messages.

    Raises:
        RecipeError: it cannot be read, is larger, or is no UTF-8 text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise RecipeError(f"the {what} '{path}' is too large: {most_bytes:,} bytes are the most; is it a model?")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"the {what} '{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RecipeError(f"the {what} '{path}' is no UTF-8 text; save it as UTF-8. Is it a model?") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
