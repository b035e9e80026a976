"""The words and signs of a model card's formula, and what a word stands for among the names defined above it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..expression import NAME_CHARACTERS, is_bare_name, is_number

WEIGHTS = ("alpha", "beta")
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"

_LEXEME = re.compile(rf'"[^"\n]*"|==|{NAME_CHARACTERS[:-1]}×−]+|\S')
_SIGNS = {"+": "+", "-": "-", "−": "-", "*": "*", "×": "*", "/": "/", "÷": "/"}
_TAIL_WORDS = frozenset(["with", "where", "when", "using", "if", "then", "and", "for", "at", "by"])
_TAIL_SIGNS = frozenset(",;.:!?|")


@dataclass(frozen=True)
class Token:
    """A word or a sign: kind is "word", "quoted", or the sign; once settled "name", "number" or "weight" instead of a word."""

    kind: str
    text: str
    position: int


@dataclass
class Names:
    """What the lines above have named."""

    constants: set[str] = field(default_factory=set)
    steps: set[str] = field(default_factory=set)


def lex(text: str, start: int, end: int) -> list[Token]:
    """The tokens of `text[start:end]`; backticks and quotation marks that close nothing are passed over."""
    tokens = []
    for match in _LEXEME.finditer(text, start, end):
        lexeme, position = match[0], match.start()
        if lexeme[0] == '"' and len(lexeme) > 2:
            tokens.append(Token("quoted", lexeme[1:-1], position))
        elif lexeme in _SIGNS or (len(lexeme) == 1 and not is_bare_name(lexeme) and not lexeme.isdigit()):
            tokens += [Token(_SIGNS.get(lexeme, lexeme), lexeme, position)] if lexeme not in '`"' else []
        elif lexeme[0] in '="':
            tokens += [Token("==", lexeme, position)] if lexeme == "==" else []
        else:
            tokens += _word(lexeme, position)
    return tokens


def _word(lexeme: str, position: int) -> list[Token]:
    """A word neither begins nor ends with a hyphen, and the dots behind it end a sentence."""
    body = lexeme.lstrip("-")
    core = body.rstrip("-.")
    before = len(lexeme) - len(body)
    tokens = [Token("-", "-", position + index) for index in range(before)]
    tokens += [Token("word", core, position + before)] if core else []
    behind = position + before + len(core)
    return tokens + [Token(sign, sign, behind + index) for index, sign in enumerate(body[len(core) :])]


def ends_formula(token: Token) -> bool:
    """Whether prose follows from here on."""
    return token.kind in _TAIL_SIGNS or (token.kind == "word" and token.text in _TAIL_WORDS)


def is_name(token: Token) -> bool:
    return token.kind == "quoted" or (token.kind == "word" and not is_number(token.text))


def starts_operand(tokens: Sequence[Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].kind in ("word", "quoted", "(")


def is_product(tokens: Sequence[Token], index: int, names: Names) -> bool:
    """Whether a sign or an `x` at `index` multiplies: a name, a number or parentheses on either side, and one of them no name."""
    token = tokens[index]
    if not (token.kind == "*" or is_letter_x(token)) or index == 0 or not starts_operand(tokens, index + 1):
        return False
    left, right = tokens[index - 1], tokens[index + 1]
    if left.kind not in ("word", "quoted", ")"):
        return False
    numeric = [is_numeric(side, names) for side in (left, right)]
    return not all(numeric) and (any(numeric) or left.kind == ")" or right.kind == "(")


def is_letter_x(token: Token) -> bool:
    return token.kind == "word" and token.text in "xX"


def is_numeric(token: Token, names: Names) -> bool:
    return token.kind == "word" and all(part.kind != "name" for part in settle(token, names))


def settle(token: Token, names: Names) -> list[Token]:
    """What a word stands for; `1-alpha` is a subtraction where no step is called so."""
    kind = _kind(token, names)
    parts = token.text.split("-")
    if kind != "name" or token.kind == "quoted" or len(parts) == 1 or token.text in names.steps:
        return [Token(kind, token.text, token.position)]
    settled, position = [], token.position
    for part in parts:
        piece = Token("word", part, position)
        settled += [Token("-", "-", position - 1), Token(_kind(piece, names), part, position)]
        position += len(part) + 1
    if any(piece.kind == "name" for piece in settled):
        return [Token("name", token.text, token.position)]
    return settled[1:]


def _kind(token: Token, names: Names) -> str:
    if token.kind == "word" and token.text in WEIGHTS:
        return "weight"
    return "number" if token.kind == "word" and (is_number(token.text) or token.text in names.constants) else "name"
