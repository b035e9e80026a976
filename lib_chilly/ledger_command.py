"""The command ledger: state once what is known of a model's licence, and see what is known of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .checkpoint import open_checkpoint
from .claims import is_sha256
from .console import show
from .errors import RecipeError
from .hashes import hash_checkpoints
from .header import is_text, quoted
from .ledger import Ledger
from .licences import PERMISSIONS, Terms, terms_of


def run_ledger(options: argparse.Namespace) -> None:
    """State, forget or show."""
    ledger = Ledger()
    stated = Terms(_said(options.licence), _said(options.author), _said(options.origin), _permissions(options))
    if options.forget and stated:
        raise RecipeError("--forget takes back what is stated; leave it out to state something, or state it afterwards.")
    if options.model is None:
        if stated or options.forget:
            raise RecipeError("say of which model: a file, or its sha256.")
        _show_all(ledger, options.json)
        return
    sha256, name, beside = _identified(options.model)
    if options.forget:
        if not ledger.forget(sha256):
            raise RecipeError(f"nothing is stated of {quoted(options.model)}.")
        terms = beside
    elif stated:
        terms = ledger.state(sha256, name, stated).over(beside)
    else:
        terms = ledger.look_up([sha256]).get(sha256, Terms()).over(beside)
    if options.json:
        print(json.dumps({"sha256": sha256, "name": name, **_facts(terms), "notes": ledger.notices}))
    else:
        show([*_notes(ledger), f"{name or sha256}:", *_lines(terms)])


def _said(text: str | None) -> str:
    """What an option says, as a database takes it."""
    if text and not is_text(text):
        raise RecipeError(f"{quoted(text)} is no text: it holds bytes that are no characters.")
    return text or ""


def _identified(model: str) -> tuple[str, str, Terms]:
    """(sha256, name, what its companions and metadata say) of a file, or of a hash alone."""
    if is_sha256(model.lower()):
        return model.lower(), "", Terms()
    checkpoint = open_checkpoint(Path(model))
    (sha256,) = hash_checkpoints([checkpoint])
    return sha256, checkpoint.path.name, terms_of(checkpoint)


def _permissions(options: argparse.Namespace) -> dict[str, bool]:
    """What --allow and --forbid say; a word of its own wins over "all"."""
    found: dict[str, bool] = {}
    for text, is_allowed in ((options.allow, True), (options.forbid, False)):
        for word in filter(None, (part.strip() for part in (text or "").split(","))):
            if word != "all" and word not in PERMISSIONS:
                raise RecipeError(f"there is no permission {quoted(word)}. There are: {', '.join(PERMISSIONS)}; or all.")
            if found.setdefault(word, is_allowed) != is_allowed:
                raise RecipeError(f"{quoted(word)} is both allowed and forbidden. Say one of them.")
    everything = dict.fromkeys(PERMISSIONS, found.pop("all")) if "all" in found else {}
    return {**everything, **found}


def _show_all(ledger: Ledger, as_json: bool) -> None:
    entries = ledger.entries()
    if as_json:
        found = [{"sha256": sha256, "name": name, **_facts(terms)} for sha256, name, terms in entries]
        print(json.dumps({"entries": found, "notes": ledger.notices}))
        return
    lines = _notes(ledger)
    for sha256, name, terms in entries:
        lines += [f"{name or 'unnamed'} ({sha256}):", *_lines(terms)]
    if not entries:
        lines.append("nothing is stated yet: ./chilly ledger FILE --licence TEXT --allow all --forbid sell_merges")
    show(lines)


def _notes(ledger: Ledger) -> list[str]:
    return [f"note: {notice}" for notice in ledger.notices]


def _facts(terms: Terms) -> dict[str, object]:
    permissions = {name: terms.permissions.get(name) for name in PERMISSIONS}
    said = {"licence": terms.licence or None, "author": terms.author or None, "origin": terms.origin or None}
    return {**said, "permissions": permissions, "said_by": list(terms.said_by)}


def _lines(terms: Terms) -> list[str]:
    words = {True: "allowed", False: "forbidden", None: "unknown"}
    plain = (("licence", terms.licence), ("author", terms.author), ("origin", terms.origin))
    lines = [f"  {name}: {value or 'unknown'}" for name, value in plain]
    lines += [f"  {said}: {words[terms.permissions.get(name)]} ({name})" for name, said in PERMISSIONS.items()]
    return lines + ([f"  as {', '.join(terms.said_by)} {'says' if len(terms.said_by) == 1 else 'say'}"] if terms.said_by else [])
