"""A model card's notation -> Recipe: finds the formulas between the prose and writes each of them in our own notation.

Every mistake is shown at its place in the card, also one that our own notation's reader finds in what was written for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import RecipeError
from ..recipe import Recipe
from ..recipe_text import refuse_possessive
from .card_given import Chooser, Given, find_given
from .card_statement import Statement, defined_name, find_statement
from .card_text import CardText, Segment
from .card_tokens import Names, Token, lex
from .card_weights import WeightFolder
from .written_recipe import WrittenRecipe

_UNNAMED = "result"


@dataclass(frozen=True)
class _Description:
    """`MIX = A + NED's input_blocks`: refused, unless the formula that it describes follows."""

    error: RecipeError
    words: frozenset[str]
    name: Token | None
    start: int
    end: int


def read_card(text: str) -> Recipe:
    """Read a recipe as model cards write them.

    `x` multiplies, the result's name may stand on the right, `label:` names a formula without `=`, alpha is given anywhere, and
    lines without a formula are skipped and listed in the recipe's notes. Positions in the recipe are those in `text` (NFC).

    Raises:
        RecipeError: with line, column and caret in `text`; also where a line is meant as a formula but cannot be read.
    """
    return _CardReader(CardText(text)).read()


class _CardReader:
    def __init__(self, card: CardText):
        self.card = card
        self.given = find_given(card.without(each for each in card.lines() if card.is_own(*each)), card)
        card.plain = card.without((given.position, given.end) for given in self.given)
        self.names = Names()
        self.statements: list[Statement] = []
        self.skipped: list[tuple[int, int]] = []
        self.notes: list[str] = ["The text was read in a model card's notation."]
        self.described: _Description | None = None

    def read(self) -> Recipe:
        for start, end in self.card.lines():
            self._line(start, end)
        if self.described:
            raise self.described.error
        if not self.statements:
            raise RecipeError("there is no formula in this text. Write one, such as 'MIX = A x 0.6 + B x 0.4'.")
        recipe = self._written().parse()
        return replace(recipe, notes=(*self.notes, *recipe.notes))

    def _line(self, start: int, end: int) -> None:
        found: list[tuple[int, int]] = []
        if self.card.is_own(start, end):
            found = [self._own(start, end)]
        elif not self.card.plain.startswith(("#", "```", "~~~"), start):
            found = [place for segment in self.card.segments(start, end) if (place := self._segment(segment))]
        beside = [(start, found[0][0]), (found[-1][1], end)] if found else []
        self.skipped += [each for each in beside if len(re.findall(r"\w+", self.card.plain[slice(*each)])) > 1]
        if not found and re.search(r"\w", self.card.plain[start:end]):
            self.skipped.append((start, end))

    def _own(self, start: int, end: int) -> tuple[int, int]:
        self._add(Statement(defined_name(lex(self.card.plain, start, end)), None, start, end))
        return start, end

    def _segment(self, segment: Segment) -> tuple[int, int] | None:
        """Read what stands there; None where it is prose, else its place."""
        tokens = lex(self.card.plain, segment.start, segment.end)
        if self._describes(segment, tokens):
            return segment.start, segment.end
        statement = find_statement(self.card.original, tokens, self.names) if tokens else None
        if statement is None:
            return None
        self._add(statement if statement.name else replace(statement, name=segment.label))
        self.skipped += statement.remarks
        used_label = segment.label if segment.label and not statement.name else None
        return used_label.position if used_label else statement.start, statement.end

    def _describes(self, segment: Segment, tokens: list[Token]) -> bool:
        """Take note of a sum with a part of a model, which only the formula that follows can explain."""
        try:
            refuse_possessive(self.card.original, segment.start, self.card.plain[segment.start : segment.end])
        except RecipeError as error:
            if self.described:
                raise self.described.error from None
            words = frozenset(token.text for token in tokens)
            self.described = _Description(error, words, defined_name(tokens) or segment.label, segment.start, segment.end)
            return True
        return False

    def _add(self, statement: Statement) -> None:
        if self.described:
            statement = self._explained(statement, self.described)
            self.described = None
        if statement.name is None and statement.tokens is not None:
            if _UNNAMED in self.names.steps:
                raise RecipeError(
                    f"this formula has no name, and one step is called '{_UNNAMED}' already. Write 'NAME = ...'.",
                    self.card.original,
                    statement.start,
                )
            statement = replace(statement, name=Token("quoted", _UNNAMED, statement.start))
        is_constant = statement.tokens is not None and not any(token.kind == "name" for token in statement.tokens)
        if statement.name:
            (self.names.constants if is_constant else self.names.steps).add(statement.name.text)
        self.statements.append(statement)

    def _explained(self, statement: Statement, described: _Description) -> Statement:
        """The formula that a description was of: of the same models, and without a name of its own or with the same one."""
        models = {token.text for token in statement.tokens or () if token.kind == "name"}
        name = statement.name or described.name
        if len(models) < 2 or not models <= described.words or (described.name and name and name.text != described.name.text):
            raise described.error
        line, own_line = (self.card.line(each.start) + 1 for each in (described, statement))
        excerpt = self.card.excerpt(described.start, described.end)
        self.notes.append(f"Line {line}, '{excerpt}', is taken as a description of the formula on line {own_line}.")
        return replace(statement, name=name)

    def _written(self) -> WrittenRecipe:
        written = WrittenRecipe(self.card)
        chooser = Chooser(self.given)
        for index, statement in enumerate(self.statements):
            if statement.tokens is None or statement.name is None:
                written.add_own(statement.start, statement.end)
            else:
                folder = WeightFolder(self.card.original, self._weights(chooser, index))
                written.add(statement.name, folder.fold(statement.tokens), statement.end)
        self.notes += self._notes_on_the_rest(chooser)
        return written

    def _weights(self, chooser: Chooser, index: int) -> Mapping[str, Given]:
        """What alpha and beta are in a formula."""
        statement = self.statements[index]
        uses = {token.text: token for token in reversed(statement.tokens or ()) if token.kind == "weight"}
        if not uses:
            return {}
        first, last = (self.card.line(each) for each in (statement.start, statement.end))
        following = self.statements[index + 1 :][:1]
        next_line = self.card.line(following[0].start) if following else math.inf
        values: dict[str, Given] = {}
        for name in sorted(uses):
            lines = range(first, last + 1 + self.card.goes_on(statement.end))
            given = chooser.choose(name, statement.start, lines, next_line)
            if given is None:
                raise RecipeError(
                    f"{name} is used here and given nowhere. Add a line such as '{name} = 0.5'.",
                    self.card.original,
                    uses[name].position,
                )
            values[name] = given
            self.notes.append(f"{statement.name.text if statement.name else _UNNAMED}: {name} is {given.described()}.")
        return values

    def _notes_on_the_rest(self, chooser: Chooser) -> Iterator[str]:
        for given in self.given:
            if given.position not in chooser.used:
                yield f"The {given.name} on line {given.line + 1} belongs to no formula and is not used."
        if self.skipped:
            listed = "; ".join(f"{self.card.line(start) + 1} '{self.card.excerpt(start, end)}'" for start, end in self.skipped)
            yield f"What is no formula was skipped: line {listed}."
