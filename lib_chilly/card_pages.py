"""A model card's sections as Markdown and as HTML; every text in them may be a stranger's, and stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from .card_pictures import Picture

_LONGEST = 400
_STYLE = (
    "body{font-family:sans-serif;line-height:1.4;max-width:60em;margin:2em auto;padding:0 1em;color-scheme:light dark}"
    "table{border-collapse:collapse}td,th{padding:.2em .6em;border:1px solid #8888;text-align:left;overflow-wrap:anywhere}"
    "pre{overflow:auto;padding:.6em;border:1px solid #8888}figure{display:inline-block;vertical-align:top;margin:0 1em 1em 0;"
    "max-width:256px}img{display:block;max-width:100%}figcaption{overflow-wrap:anywhere;font-size:.9em}"
)
_WHERE = "The pictures are in the HTML form of this card; `./chilly card FILE --pictures DIR` writes them as files."
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Branch:
    """A line of a tree, and those below it."""

    text: str
    below: Sequence[Branch] = ()


@dataclass(frozen=True)
class Section:
    """A heading with lines, a table, a text that is shown as it stands, a tree, pictures.

    Attributes:
        rows: of the table; the first holds the columns' titles.
    """

    title: str
    lines: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    code: str = ""
    tree: Branch | None = None
    pictures: Sequence[Picture] = ()


def markdown(title: str, sections: Sequence[Section], files: Sequence[str] = ()) -> str:
    """The card as Markdown in which no text is markup.

    Args:
        files: where the pictures of its one section with pictures lie, in their order; without them they are named alone.
    """
    parts = [f"# {_inline(title)}"]
    for section in sections:
        parts.append(f"## {_inline(section.title)}")
        if section.lines:
            parts.append("\n".join(f"- {_plain(line)}" for line in section.lines))
        if section.rows:
            rows = ["| " + " | ".join(map(_inline, row)) + " |" for row in section.rows]
            parts.append("\n".join([rows[0], "|" + "---|" * len(section.rows[0]), *rows[1:]]))
        if section.code:
            parts.append(_fenced(_visible(section.code)))
        if section.tree:
            parts.append(_fenced("\n".join(_drawn(section.tree))))
        if section.pictures and not files:
            parts.append("\n".join(f"- {_plain(picture.caption)}" for picture in section.pictures))
            parts.append(_WHERE)
        for picture, file in zip(section.pictures, files, strict=False):
            parts.append(f"![{_inline(picture.caption)}]({quote(file)})  \n{_plain(picture.caption)}")
    return "\n\n".join(parts) + "\n"


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The card as one HTML page without scripts and links, its pictures inside."""
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head>{head}<title>{_escaped(title)}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{_escaped(title)}</h1>",
        *(part for section in sections for part in _html_section(section)),
    ]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _html_section(section: Section) -> Iterator[str]:
    yield f"<h2>{_escaped(section.title)}</h2>"
    if section.lines:
        yield "<ul>" + "".join(f"<li>{_escaped(line)}</li>" for line in section.lines) + "</ul>"
    if section.rows:
        rows = [[_escaped(cell) for cell in row] for row in section.rows]
        head = "<tr>" + "".join(f"<th>{cell}</th>" for cell in rows[0]) + "</tr>" if any(rows[0]) else ""
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[1:])
        yield f"<table>{head}{body}</table>"
    if section.code:
        yield f"<pre>{html.escape(_visible(section.code))}</pre>"
    if section.tree:
        yield f"<ul>{_nested(section.tree)}</ul>"
    for picture in section.pictures:
        said = _escaped(picture.caption)
        yield f'<figure><img src="{picture.address}" alt="{said}"><figcaption>{said}</figcaption></figure>'


def _nested(branch: Branch) -> str:
    below = "".join(map(_nested, branch.below))
    return f"<li>{_escaped(branch.text)}{f'<ul>{below}</ul>' if below else ''}</li>"


def _drawn(branch: Branch) -> Iterator[str]:
    """A tree in lines of text."""
    yield _line(branch.text)
    for number, each in enumerate(branch.below, 1):
        is_last = number == len(branch.below)
        first, *others = _drawn(each)
        yield ("└─ " if is_last else "├─ ") + first
        yield from (("   " if is_last else "│  ") + line for line in others)


def _fenced(text: str) -> str:
    """Between fences that nothing in the text closes."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


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
