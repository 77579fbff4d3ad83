"""Tree to closures: compiled once, run for every message.

Not source code: every closure knows its operands already and calls them, so nothing of a template ever becomes a name
or an attribute of the program. A body is a flat list of operations that write to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from relayq.compose.template.context import Evaluate, Rendering
from relayq.compose.template.errors import TemplateError
from relayq.compose.template.escaping import ESCAPERS, Escape
from relayq.compose.template.limits import LONG_TEXT, NESTING_CAUSE
from relayq.compose.template.modifiers import Argument, Step, prepare_modifier
from relayq.compose.template.regexes import matches
from relayq.compose.template.tree import (
    Assign,
    Chain,
    Constant,
    Expression,
    Foreach,
    If,
    Index,
    Item,
    Level,
    Member,
    Minus,
    Modifier,
    Not,
    Output,
    Postfix,
    Text,
    Tree,
    Variable,
)
from relayq.compose.template.values import (
    COMPARISONS,
    OPERATIONS,
    Number,
    calculate,
    indexed,
    look_up,
    negated,
    number_of,
    spellings,
    text_of,
    truth_of,
)

Write = Callable[[str], None]
Operation = Callable[[Rendering, Write], None]
Body = Callable[[Rendering, Write], None]
EvaluateText = Callable[[Rendering], str]
EvaluateNumber = Callable[[Rendering], Number]
EvaluateTruth = Callable[[Rendering], bool]

_OPERATIONS_PER_PAUSE = 128
_RAW = "raw"


def compile_tree(tree: Tree, escape: str) -> tuple[Body, bool]:
    """Body of a template, and whether it sets variables.

    Args:
        tree: The template.
        escape: Name of the escaping of a template that asks for none itself.
    """
    compiler = _Compiler(ESCAPERS.get(escape if tree.mode is None else tree.mode))
    return compiler.body(tree.items), compiler.sets_variables


class _Compiler:
    """Items to operations; only outputs and assignments depend on more than their node."""

    def __init__(self, escape: Escape | None) -> None:
        self._escape = escape
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
        text = evaluate_text(node)
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
        value = evaluate(item.value)

        def assign(rendering: Rendering, write: Write) -> None:
            rendering.variables[name] = value(rendering)

        return assign

    def _if(self, item: If) -> Operation:
        branches = tuple((evaluate_truth(branch.condition), self.body(branch.items)) for branch in item.branches)
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
        source = evaluate(item.source)
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


# Expressions: each node can be asked for its value, text, number or truth, whichever is needed.


def evaluate(node: Expression) -> Evaluate:
    """The value of a node."""
    if isinstance(node, Constant):
        return _constant(node.value)
    if isinstance(node, Variable):
        return _variable(node.name)
    if isinstance(node, Postfix):
        return _postfix(node)
    if isinstance(node, Minus):
        operand = evaluate_number(node.operand)
        return lambda rendering: negated(operand(rendering))
    if isinstance(node, Not):
        return evaluate_truth(node)
    if node.level in {Level.SUM, Level.PRODUCT}:
        return _arithmetic(node)
    return evaluate_truth(node)


def evaluate_text(node: Expression) -> EvaluateText:
    """The printed form of a node."""
    if isinstance(node, Constant):
        constant = text_of(node.value)
        return lambda rendering: constant
    value = evaluate(node)

    def text(rendering: Rendering) -> str:
        found = value(rendering)
        return found if type(found) is str else text_of(found)

    return text


def evaluate_number(node: Expression) -> EvaluateNumber:
    """The number a node stands for."""
    if isinstance(node, Constant):
        constant = number_of(node.value)
        return lambda rendering: constant
    value = evaluate(node)

    def number(rendering: Rendering) -> Number:
        return number_of(value(rendering))

    return number


def evaluate_truth(node: Expression) -> EvaluateTruth:
    """The node as a condition."""
    if isinstance(node, Not):
        operand = evaluate_truth(node.operand)
        return lambda rendering: not operand(rendering)
    if isinstance(node, Chain):
        if node.level is Level.OR:
            return _any_of(_operands(node))
        if node.level is Level.AND:
            return _all_of(_operands(node))
        if node.level is Level.RELATION:
            return _relation(node)
        if node.level is Level.EQUALITY:
            return _equality(node)
    value = evaluate(node)
    return lambda rendering: truth_of(value(rendering))


def _operands(node: Chain) -> tuple[EvaluateTruth, ...]:
    return tuple(evaluate_truth(operand) for operand in (node.first, *(operand for _, operand in node.rest)))


def _any_of(conditions: tuple[EvaluateTruth, ...]) -> EvaluateTruth:
    if len(conditions) == 2:
        first, second = conditions
        return lambda rendering: first(rendering) or second(rendering)
    return lambda rendering: any(condition(rendering) for condition in conditions)


def _all_of(conditions: tuple[EvaluateTruth, ...]) -> EvaluateTruth:
    if len(conditions) == 2:
        first, second = conditions
        return lambda rendering: first(rendering) and second(rendering)
    return lambda rendering: all(condition(rendering) for condition in conditions)


def _constant(value: object) -> Evaluate:
    return lambda rendering: value


def _variable(name: str) -> Evaluate:
    keys = spellings(name)
    if len(keys) == 1:
        return lambda rendering: rendering.variables.get(name)
    return lambda rendering: look_up(rendering.variables, keys)


def _arithmetic(node: Chain) -> EvaluateNumber:
    first = evaluate_number(node.first)
    rest = tuple((OPERATIONS[name], evaluate_number(operand)) for name, operand in node.rest)

    def compute(rendering: Rendering) -> Number:
        result = first(rendering)
        for operation, operand in rest:
            result = calculate(operation, result, operand(rendering))
        return result

    return compute


def _relation(node: Chain) -> EvaluateTruth:
    first = evaluate_number(node.first)
    rest = tuple((COMPARISONS[name], evaluate_number(operand)) for name, operand in node.rest)
    if len(rest) == 1:
        compare, second = rest[0]
        return lambda rendering: compare(first(rendering), second(rendering))

    def decide(rendering: Rendering) -> bool:
        left = first(rendering)
        for compare, operand in rest:
            left = compare(left, operand(rendering))
        return bool(left)

    return decide


# Equality: what is compared follows from how both sides are written (spec templates.md 4).


def _equality(node: Chain) -> EvaluateTruth:
    name, right = node.rest[0]
    first = _equal(name, node.first, right)
    if len(node.rest) == 1:
        return first
    rest = tuple(_equal_to_truth(name, right) for name, right in node.rest[1:])

    def decide(rendering: Rendering) -> bool:
        result = first(rendering)
        for compare in rest:
            result = compare(rendering, result)
        return result

    return decide


def _equal(name: str, left: Expression, right: Expression) -> EvaluateTruth:
    if name == "=~":
        subject, pattern = evaluate_text(left), evaluate_text(right)
        return lambda rendering: matches(rendering, subject(rendering), pattern(rendering))
    compare = COMPARISONS[name]
    if _is_written_as_number(left) or _is_written_as_number(right):
        first_number, second_number = evaluate_number(left), evaluate_number(right)
        return lambda rendering: compare(first_number(rendering), second_number(rendering))
    if _is_written_as_truth(left) or _is_written_as_truth(right):
        first_truth, second_truth = evaluate_truth(left), evaluate_truth(right)
        return lambda rendering: compare(first_truth(rendering), second_truth(rendering))
    return _texts_equal(name == "==", evaluate_text(left), evaluate_text(right))


def _equal_to_truth(name: str, right: Expression) -> Callable[[Rendering, bool], bool]:
    """One more comparison with the result of the one before."""
    if name == "=~":
        pattern = evaluate_text(right)
        return lambda rendering, left: matches(rendering, text_of(left), pattern(rendering))
    compare = COMPARISONS[name]
    if _is_written_as_number(right):
        number = evaluate_number(right)
        return lambda rendering, left: compare(left, number(rendering))
    truth = evaluate_truth(right)
    return lambda rendering, left: compare(left, truth(rendering))


def _texts_equal(expected: bool, left: EvaluateText, right: EvaluateText) -> EvaluateTruth:
    def decide(rendering: Rendering) -> bool:
        first, second = left(rendering), right(rendering)
        if len(first) >= LONG_TEXT:
            rendering.spend(len(first))
        return (first == second) is expected

    return decide


def _is_written_as_number(node: Expression) -> bool:
    if isinstance(node, Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return isinstance(node, Minus) or (isinstance(node, Chain) and node.level in {Level.SUM, Level.PRODUCT})


def _is_written_as_truth(node: Expression) -> bool:
    if isinstance(node, Constant):
        return isinstance(node.value, bool)
    return isinstance(node, Not) or (isinstance(node, Chain) and node.level not in {Level.SUM, Level.PRODUCT})


# Members and modifiers


def _postfix(node: Postfix) -> Evaluate:
    operand = evaluate(node.operand)
    steps = tuple(step for step in map(_step, node.steps) if step is not None)
    if not steps:
        return operand
    if len(steps) == 1:
        step = steps[0]
        return lambda rendering: step(rendering, operand(rendering))

    def walk(rendering: Rendering) -> object:
        value = operand(rendering)
        for step in steps:
            value = step(rendering, value)
        return value

    return walk


def _step(node: Member | Index | Modifier) -> Step | None:
    """One step of a chain, ``None`` for a modifier that changes nothing."""
    if isinstance(node, Member):
        return _member(node.name)
    if isinstance(node, Index):
        return _index(evaluate(node.index))
    return prepare_modifier(node.name, tuple(map(_argument, node.arguments)))


def _member(name: str) -> Step:
    keys = spellings(name)
    if len(keys) == 1:
        return lambda rendering, value: value.get(name) if type(value) is dict else None
    return lambda rendering, value: look_up(value, keys) if isinstance(value, dict) else None


def _index(index: Evaluate) -> Step:
    def step(rendering: Rendering, value: object) -> object:
        if isinstance(value, dict) and len(value) >= LONG_TEXT:
            rendering.spend(len(value))  # a member by its position is found by counting
        return indexed(value, index(rendering))

    return step


def _argument(node: Constant | Variable) -> Argument:
    if isinstance(node, Constant):
        return Argument(node.value, None)
    return Argument(None, evaluate(node))
