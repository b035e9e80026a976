"""The command card: a model's card on stdout."""

from __future__ import annotations

import argparse

from .console import byte_bar, stop_flag
from .report import default_threads


def run_card(options: argparse.Namespace) -> None:
    """Print the card as Markdown or HTML."""
    from .card import make_card  # imports torch
    from .card_pages import html_page, markdown

    with stop_flag() as should_stop, byte_bar("looking at the model") as on_bytes:
        title, sections = make_card(options.file, options.base, default_threads(), should_stop, on_bytes)
    print((html_page if options.html else markdown)(title, sections), end="")
