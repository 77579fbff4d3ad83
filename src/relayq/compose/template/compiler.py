"""Tree to closures: compiled once, run for every message.

Not source code: every closure knows its operands already and calls them, so nothing of a template ever becomes a name
or an attribute of the program. A body is a flat list of operations that write to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from relayq.compose.template.context import Rendering
from relayq.compose.template.errors import TemplateError
from relayq.compose.template.escaping import ESCAPERS, Escape
from relayq.compose.template.expressions import ExpressionCompiler
from relayq.compose.template.limits import NESTING_CAUSE, TimeLeft
from relayq.compose.template.tree import (
    Assign,
    Chain,
    Expression,
    Foreach,
    If,
    Index,
    Item,
    Minus,
    Modifier,
    Not,
    Output,
    Postfix,
    Text,
    Tree,
)

Write = Callable[[str], None]
Operation = Callable[[Rendering, Write], None]
Body = Callable[[Rendering, Write], None]

_OPERATIONS_PER_PAUSE = 128
_RAW = "raw"


def compile_tree(tree: Tree, *, escape: str, time_left: TimeLeft) -> tuple[Body, bool]:
    """Body of a template, and whether it sets variables.

    Args:
        tree: The template.
        escape: Name of the escaping of a template that asks for none itself.
        time_left: Asked now and then.

    Raises:
        TemplateError: The time is up.
    """
    compiler = _Compiler(ESCAPERS.get(escape if tree.mode is None else tree.mode), time_left)
    return compiler.body(tree.items), compiler.sets_variables


class _Compiler:
    """Items to operations; only outputs and assignments depend on more than their node."""

    def __init__(self, escape: Escape | None, time_left: TimeLeft) -> None:
        self._escape = escape
        self._expressions = ExpressionCompiler(time_left)
        self.sets_variables = False

    def body(self, items: Iterable[Item]) -> Body:
        operations: list[Operation] = []
        lines: list[int] = []
        line = 1
        for item in items:
            if not isinstance(item, Text):
                line = item.line
            if len(operations) % _OPERATIONS_PER_PAUSE == _OPERATIONS_PER_PAUSE - 1:
                operations.append(_pause_operation())
                lines.append(line)
            operations.append(self._operation(item))
            lines.append(line)
        return _body(tuple(operations), tuple(lines))

    def _operation(self, item: Item) -> Operation:
        if isinstance(item, Text):
            return _text_operation(item.text)
        if isinstance(item, Output):
            return self._output(item.value)
        if isinstance(item, Assign):
            return self._assign(item)
        if isinstance(item, If):
            return self._if(item)
        return self._foreach(item)

    def _output(self, node: Expression) -> Operation:
        text = self._expressions.text(node)
        escape = self._escape
        if escape is None or _is_raw(node):

            def write_text(rendering: Rendering, write: Write) -> None:
                write(text(rendering))

            return write_text

        def write_escaped(rendering: Rendering, write: Write) -> None:
            value = text(rendering)
            rendering.weigh(value)
            write(escape(value))

        return write_escaped

    def _assign(self, item: Assign) -> Operation:
        self.sets_variables = True
        name = item.name
        value = self._expressions.value(item.value)

        def assign(rendering: Rendering, write: Write) -> None:
            rendering.assign(name, value(rendering))

        return assign

    def _if(self, item: If) -> Operation:
        branches = tuple(
            (self._expressions.truth(branch.condition), self.body(branch.items)) for branch in item.branches
        )
        otherwise = self.body(item.otherwise)
        if len(branches) == 1:
            condition, then = branches[0]

            def choose_one(rendering: Rendering, write: Write) -> None:
                if condition(rendering):
                    then(rendering, write)
                else:
                    otherwise(rendering, write)

            return choose_one

        def choose(rendering: Rendering, write: Write) -> None:
            for condition, then in branches:
                if condition(rendering):
                    then(rendering, write)
                    return
            otherwise(rendering, write)

        return choose

    def _foreach(self, item: Foreach) -> Operation:
        self.sets_variables = True
        source = self._expressions.value(item.source)
        body = self.body(item.items)
        otherwise = self.body(item.otherwise)
        key_name, value_name = item.key_name, item.value_name

        def loop(rendering: Rendering, write: Write) -> None:
            members = source(rendering)
            if not members or not isinstance(members, list | dict):
                otherwise(rendering, write)
                return
            variables, turn = rendering.variables, rendering.turn
            if key_name is None:
                for value in _values(members):
                    turn()
                    variables[value_name] = value
                    body(rendering, write)
                return
            for key, value in _pairs(members):
                turn()
                variables[key_name] = key
                variables[value_name] = value
                body(rendering, write)

        return loop


def _values(members: list[object] | dict[str, object]) -> Iterable[object]:
    return members.values() if isinstance(members, dict) else members


def _pairs(members: list[object] | dict[str, object]) -> Iterable[tuple[object, object]]:
    return members.items() if isinstance(members, dict) else enumerate(members)


def _pause_operation() -> Operation:
    return lambda rendering, write: rendering.pause()


def _text_operation(text: str) -> Operation:
    def write_constant(rendering: Rendering, write: Write) -> None:
        write(text)

    return write_constant


def _body(operations: tuple[Operation, ...], lines: tuple[int, ...]) -> Body:
    """Run the operations; an error gets the line of the innermost one."""

    def run(rendering: Rendering, write: Write) -> None:
        operation = None
        try:
            for operation in operations:
                operation(rendering, write)
        except TemplateError as error:
            error.line = error.line or lines[operations.index(operation)]
            raise
        except RecursionError:
            raise TemplateError(NESTING_CAUSE, lines[operations.index(operation)]) from None

    return run


def _is_raw(node: Expression) -> bool:
    """A modifier ``raw`` stands somewhere in the tag."""
    return any(isinstance(part, Modifier) and part.name == _RAW for part in _parts(node))


def _parts(node: Expression) -> Iterator[object]:
    waiting: list[object] = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, Postfix):
            waiting += (part.operand, *part.steps)
        elif isinstance(part, Index):
            waiting.append(part.index)
        elif isinstance(part, Minus | Not):
            waiting.append(part.operand)
        elif isinstance(part, Chain):
            waiting += (part.first, *(operand for _, operand in part.rest))
