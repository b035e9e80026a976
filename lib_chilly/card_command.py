"""The command card: a model's card on stdout."""

from __future__ import annotations

import argparse

from .console import byte_bar, stop_flag
from .errors import RecipeError
from .models import without_suffix
from .report import default_threads


def run_card(options: argparse.Namespace) -> None:
    """Print the card as Markdown or HTML; its pictures are written where a folder is named for them.

    Raises:
        MergeError: nothing is printed or written then.
    """
    from .card import make_card  # imports torch
    from .card_pages import html_page, markdown
    from .card_pictures import write_pictures

    if options.html and options.pictures:
        raise RecipeError("--pictures writes files for the Markdown; --html has them inside. Leave out one of both.")
    with stop_flag() as should_stop, byte_bar("looking at the model") as on_bytes:
        title, sections = make_card(options.file, options.base, default_threads(), should_stop, on_bytes)
    if options.html:
        print(html_page(title, sections), end="")
        return
    files = []
    if options.pictures:
        pictures = [picture for section in sections for picture in section.pictures]
        stem = without_suffix(options.file.absolute().name)
        files = [(options.pictures / name).as_posix() for name in write_pictures(pictures, options.pictures, stem)]
    print(markdown(title, sections, files), end="")
