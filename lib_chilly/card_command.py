"""The command card: a model's card on stdout."""

from __future__ import annotations

import argparse

from .console import stop_flag
from .report import default_threads


def run_card(options: argparse.Namespace) -> None:
    """Print the card as Markdown or HTML."""
    from .card import make_card  # imports torch
    from .card_pages import html_page, markdown

    with stop_flag() as should_stop:
        title, sections = make_card(options.file, options.base, default_threads(), should_stop)
    print((html_page if options.html else markdown)(title, sections), end="")
