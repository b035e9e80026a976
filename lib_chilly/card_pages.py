"""A model card's sections as Markdown and as HTML; every text in them may be a stranger's, and stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST = 400
_STYLE = "body{font-family:sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .6em;border:1px solid}"


@dataclass(frozen=True)
class Section:
    """A heading with lines, a table, and a text that is shown as it stands.

    Attributes:
        rows: of the table; the first holds the columns' titles.
    """

    title: str
    lines: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    code: str = ""


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The card as Markdown in which no text is markup."""
    parts = [f"# {_inline(title)}"]
    for section in sections:
        parts.append(f"## {_inline(section.title)}")
        if section.lines:
            parts.append("\n".join(f"- {_plain(line)}" for line in section.lines))
        if section.rows:
            rows = ["| " + " | ".join(map(_inline, row)) + " |" for row in section.rows]
            parts.append("\n".join([rows[0], "|" + "---|" * len(section.rows[0]), *rows[1:]]))
        if section.code:
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", section.code)), default=0))
            parts.append(f"{fence}\n{_visible(section.code)}\n{fence}")
    return "\n\n".join(parts) + "\n"


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The card as one HTML page without scripts, links and pictures."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{_escaped(title)}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{_escaped(title)}</h1>",
    ]
    for section in sections:
        parts.append(f"<h2>{_escaped(section.title)}</h2>")
        if section.lines:
            parts.append("<ul>" + "".join(f"<li>{_escaped(line)}</li>" for line in section.lines) + "</ul>")
        if section.rows:
            rows = [[_escaped(cell) for cell in row] for row in section.rows]
            head = "".join(f"<th>{cell}</th>" for cell in rows[0])
            body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[1:])
            parts.append(f"<table><tr>{head}</tr>{body}</table>")
        if section.code:
            parts.append(f"<pre>{html.escape(_visible(section.code))}</pre>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _escaped(text: str) -> str:
    return html.escape(_line(text))


def _plain(text: str) -> str:
    """`_inline` where a line starts: nor the start of a list, a line or a heading."""
    begins = re.compile(r"^([-+=]|\d+(?=\.(?:\s|$)))")
    return begins.sub(lambda match: "".join(f"&#{ord(each)};" for each in match[1]), _inline(text))


def _inline(text: str) -> str:
    """Markdown that shows the text itself: neither markup, nor an address."""
    shown = re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", html.escape(_line(text).strip(), quote=False))
    shown = shown.replace("://", "&#58;//").replace("@", "&#64;&#8288;")  # which no address or name of a user goes on behind
    return re.sub(r"(?i)(www)\.", r"\1&#46;", shown)


def _line(text: str) -> str:
    """On one line, not too long, without characters that are not seen."""
    shown = "".join(each if each.isprintable() else " " for each in text[:_LONGEST])
    return shown if len(text) <= _LONGEST else f"{shown}... ({len(text):,} characters)"


def _visible(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)
