"""What the command line understands of the commands that look at one model: verify, ledger, known-good, card."""

from __future__ import annotations

import argparse
from pathlib import Path

from .licences import PERMISSIONS


def add_looking_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    _add_verify(commands)
    _add_ledger(commands)
    _add_known_good(commands)
    _add_card(commands)


def _add_verify(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("verify", help="run again what made a file, and say whether its tensors are that")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--models", type=Path, action="append", metavar="DIR", help="where its sources lie; may be repeated")
    parser.add_argument(
        "--loras", type=Path, action="append", metavar="DIR", help="where its LoRAs lie (default: beside the models)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command="verify")


def _add_ledger(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("ledger", help="state what a model's licence and permissions are, once, and see them")
    parser.add_argument("model", metavar="FILE|SHA256", nargs="?", help="(without it: all that is stated)")
    for name, said in (("licence", "its name"), ("author", "who made it"), ("origin", "where it comes from, such as a URL")):
        parser.add_argument(f"--{name}", metavar="TEXT", help=said)
    parser.add_argument("--allow", metavar="WORD,...", help=f"{', '.join(PERMISSIONS)}, or all")
    parser.add_argument("--forbid", metavar="WORD,...", help="as --allow")
    parser.add_argument("--forget", action="store_true", help="forget what is stated of it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command="ledger")


def _add_known_good(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("known-good", help="say of a release that it is good: from then on health compares with it")
    parser.add_argument("model", metavar="FILE|SHA256", nargs="?", help="(without it: all that is known to be good)")
    parser.add_argument("--forget", action="store_true", help="compare with it no more")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command="known-good")


def _add_card(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("card", help="write a model's card: recipe, sources, ancestors, health, permissions, hashes")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--base", type=Path, metavar="FILE", help="compare similarity and norms with it")
    parser.add_argument("--html", action="store_true", help="as HTML instead of Markdown, with the example pictures inside")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write the example pictures there, for the Markdown")
    parser.set_defaults(command="card")
