"""Edits of one step's right side: its parameters, its operands, its method. Each gives the recipe's new text."""

from __future__ import annotations

from typing import Any

from ..errors import RecipeError
from ..expression import Call, LoraRef, ModelRef, Node, Rules, StepRef, walk
from ..recipe_text import read_statement
from ..registry import all_methods
from .draft import Draft, Written
from .mixer_view import Mixed, has_blocks
from .problem import FieldError
from .rewriting import with_line, with_node
from .step_cards import number_of
from .step_reading import Reading, as_sum, call_of, read_step


def set_parameter(draft: Draft, written: Written, parameter: str, text: str) -> str:
    """Give a parameter the value that a text says: a number, a constant's name, a list, rules, a preset.

    A number takes the place of a list or a preset; rules stay, and it is what holds without them.
    """
    reading = _reading(draft, written)
    assert reading.registered is not None
    if parameter not in reading.registered.parameters:
        raise FieldError(f"{reading.registered.signature()} has no parameter '{parameter[:40]}'.", "parameter")
    value = _value_in(text, draft)
    now = reading.value(parameter)
    if not has_blocks(value) and isinstance(now, Rules):
        value = Rules((("*", value), *(entry for entry in now.entries if entry[0] != "*")))
    return with_value(draft, written, parameter, value)


def with_value(draft: Draft, written: Written, parameter: str, value: Node) -> str:
    """The text in which a parameter has another value. A sum stays one as long as it can say it."""
    reading = _reading(draft, written)
    number = number_of(value, draft)
    if value == reading.value(parameter):
        return draft.text
    if reading.is_sum and number is not None:
        return with_line(draft, written, as_sum(reading, value, number))
    return with_line(draft, written, reading.call(**{parameter: value}))


def set_weights(draft: Draft, shown: Mixed, value: Node) -> str:
    """The text in which the parameter that the mixer shows has another value."""
    return with_value(draft, shown.written, shown.parameter, value)


def set_operand(draft: Draft, written: Written, index: Any, name: Any) -> str:
    """Put another model or step in the place of an operand.

    Methods of any number take one more at the index after the last, and let one go where `name` is None.
    """
    reading = _reading(draft, written)
    assert reading.registered is not None
    count, many = len(reading.operands), reading.registered.takes_any_number
    if not isinstance(index, int) or not 0 <= index < count + many:
        raise FieldError(f"'{written.line.name}' has {count} operands.", "index")
    operands = list(reading.operands)
    row = count - reading.named
    if name is None:
        if not many or row < 2 or index >= row:
            raise FieldError(f"'{written.line.name}' cannot do without this model. Choose another.", "name")
        del operands[index]
        return with_line(draft, written, call_of(reading.method, operands, reading.given))
    node = reference(str(name), draft, written)
    if index == count:
        operands.insert(row, node)
        return with_line(draft, written, call_of(reading.method, operands, reading.given))
    return with_line(draft, written, with_node(written.line.expression, [(operands[index], node)]))


def set_method(draft: Draft, written: Written, method: Any) -> str:
    """Read the same models by another method. Parameters that it has too stay; of models that it needs beyond, A is one."""
    wanted = all_methods().get(str(method))
    if wanted is None or wanted.takes_files:
        known = ", ".join(name for name, each in all_methods().items() if not each.takes_files)
        raise FieldError(f"there is no merge method '{str(method)[:40]}' for models. Known: {known}.", "method")
    if any(isinstance(node, LoraRef) for node in walk(written.line.expression)):
        raise FieldError(f"'{written.line.name}' has a LoRA, which would be lost. Give it a step of its own first.", "method")
    reading = read_step(written.line.expression, draft.checker)
    operands = list(reading.operands) or [node for node in walk(written.line.expression) if isinstance(node, (StepRef, ModelRef))]
    if wanted.named and not reading.named and len(operands) < 3:
        operands.append(operands[0])  # no third that could be the base
    if not wanted.takes_any_number:
        count = len(wanted.operands) + len(wanted.named)
        operands = (operands + [operands[0]] * count)[:count]
    kept = {name: value for name, value in reading.given.items() if name in wanted.parameters}
    return with_line(draft, written, call_of(wanted.name, operands, kept))


def swap(draft: Draft, written: Written) -> str:
    """A and B change places. The weights stay as they stand, so what was mostly A is mostly the other then."""
    reading = _reading(draft, written)
    if len(reading.operands) < 2:
        raise FieldError(f"'{written.line.name}' has no two models to swap.", "step")
    a, b = reading.operands[:2]
    return with_line(draft, written, with_node(written.line.expression, [(a, b), (b, a)]))


def reference(name: str, draft: Draft, user: Written) -> Node:
    """The use of a step or a model by its name.

    Raises:
        FieldError: it is the step itself, a constant, or a step that stands below `user`.
    """
    other = draft.named(name)
    if other is None:
        return ModelRef(name)
    if other.line.is_constant:
        raise FieldError(f"'{name}' is a number, not a model.", "name")
    if other.start > user.start:
        raise FieldError(f"'{name}' stands below '{user.line.name}', which can use what stands above it alone.", "name")
    if other is user:
        raise FieldError(f"'{name}' cannot be made of itself.", "name")
    return StepRef(name)


def _reading(draft: Draft, written: Written) -> Reading:
    reading = read_step(written.line.expression, draft.checker)
    if reading.registered is None:
        raise FieldError(f"'{written.line.name}' is an expression. Edit its text, or choose a method first.", "step")
    return reading


def _value_in(text: str, draft: Draft) -> Node:
    """What a text says as the value of a parameter."""
    statement = f"_ = _(_=({text}))" if not text.lstrip().startswith(("[", "{", "preset")) else f"_ = _(_={text})"
    try:
        _, call = read_statement(0, statement, draft.checker)
        assert isinstance(call, Call)
        if call.operands or len(call.parameters) != 1:
            raise RecipeError("one value stands here.")
        (_, value) = call.parameters[0]
        draft.checker.weights(value)
    except (RecipeError, KeyError, AssertionError) as error:
        said = error.message if isinstance(error, RecipeError) else "it is no number."
        raise FieldError(f"'{text.strip()[:40]}' is no value: {said}", "value") from None
    return value
