"""Expressions to closures: each node can be asked for its value, text, number or truth, whichever is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from relayq.compose.template.context import Evaluate, Rendering
from relayq.compose.template.limits import LONG_TEXT, TimeLeft, check_time
from relayq.compose.template.modifiers import Argument, Step, prepare_modifier
from relayq.compose.template.regexes import matches
from relayq.compose.template.tree import (
    Chain,
    Constant,
    Expression,
    Index,
    Level,
    Member,
    Minus,
    Modifier,
    Not,
    Postfix,
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

_T = TypeVar("_T")
EvaluateText = Callable[[Rendering], str]
EvaluateNumber = Callable[[Rendering], Number]
EvaluateTruth = Callable[[Rendering], bool]

_NODES_PER_CHECK = 1024
_ARITHMETIC = frozenset((Level.SUM, Level.PRODUCT))


class ExpressionCompiler:
    """Nodes to closures; looks at the clock now and then, as a template can hold a million nodes."""

    def __init__(self, time_left: TimeLeft) -> None:
        self._time_left = time_left
        self._nodes = 0

    def value(self, node: Expression) -> Evaluate:
        """The value of a node."""
        if isinstance(node, Constant):
            return self._constant(node.value)
        if isinstance(node, Variable):
            return self._variable(node.name)
        if isinstance(node, Postfix):
            return self._postfix(node)
        if isinstance(node, Minus):
            operand = self.number(node.operand)
            return lambda rendering: negated(operand(rendering))
        if isinstance(node, Chain) and node.level in _ARITHMETIC:
            return self._arithmetic(node)
        return self.truth(node)

    def text(self, node: Expression) -> EvaluateText:
        """The printed form of a node."""
        value = self.value(node)

        def text(rendering: Rendering) -> str:
            found = value(rendering)
            return found if type(found) is str else text_of(found)

        return text

    def number(self, node: Expression) -> EvaluateNumber:
        """The number a node stands for."""
        if isinstance(node, Constant):
            constant = number_of(node.value)
            return self._counted(lambda rendering: constant)
        value = self.value(node)
        return lambda rendering: number_of(value(rendering))

    def truth(self, node: Expression) -> EvaluateTruth:
        """The node as a condition."""
        if isinstance(node, Not):
            operand = self.truth(node.operand)
            return lambda rendering: not operand(rendering)
        if isinstance(node, Chain):
            if node.level is Level.OR:
                return _any_of(self._operands(node))
            if node.level is Level.AND:
                return _all_of(self._operands(node))
            if node.level is Level.RELATION:
                return self._relation(node)
            if node.level is Level.EQUALITY:
                return self._equality(node)
        value = self.value(node)
        return lambda rendering: truth_of(value(rendering))

    def _counted(self, evaluate: _T) -> _T:
        """Every leaf comes by here."""
        self._nodes += 1
        if self._nodes % _NODES_PER_CHECK == 0:
            check_time(self._time_left)
        return evaluate

    def _constant(self, value: object) -> Evaluate:
        return self._counted(lambda rendering: value)

    def _variable(self, name: str) -> Evaluate:
        keys = spellings(name)
        if len(keys) == 1:
            return self._counted(lambda rendering: rendering.variables.get(name))
        return self._counted(lambda rendering: look_up(rendering.variables, keys))

    def _operands(self, node: Chain) -> tuple[EvaluateTruth, ...]:
        return tuple(self.truth(operand) for operand in (node.first, *(operand for _, operand in node.rest)))

    def _arithmetic(self, node: Chain) -> EvaluateNumber:
        first = self.number(node.first)
        rest = tuple((OPERATIONS[name], self.number(operand)) for name, operand in node.rest)

        def compute(rendering: Rendering) -> Number:
            result = first(rendering)
            for operation, operand in rest:
                result = calculate(operation, result, operand(rendering))
            return result

        return compute

    def _relation(self, node: Chain) -> EvaluateTruth:
        first = self.number(node.first)
        rest = tuple((COMPARISONS[name], self.number(operand)) for name, operand in node.rest)
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

    def _equality(self, node: Chain) -> EvaluateTruth:
        name, right = node.rest[0]
        first = self._equal(name, node.first, right)
        if len(node.rest) == 1:
            return first
        rest = tuple(self._equal_to_truth(name, right) for name, right in node.rest[1:])

        def decide(rendering: Rendering) -> bool:
            result = first(rendering)
            for compare in rest:
                result = compare(rendering, result)
            return result

        return decide

    def _equal(self, name: str, left: Expression, right: Expression) -> EvaluateTruth:
        if name == "=~":
            subject, pattern = self.text(left), self.text(right)
            return lambda rendering: matches(rendering, subject(rendering), pattern(rendering))
        compare = COMPARISONS[name]
        if _is_written_as_number(left) or _is_written_as_number(right):
            first_number, second_number = self.number(left), self.number(right)
            return lambda rendering: compare(first_number(rendering), second_number(rendering))
        if _is_written_as_truth(left) or _is_written_as_truth(right):
            first_truth, second_truth = self.truth(left), self.truth(right)
            return lambda rendering: compare(first_truth(rendering), second_truth(rendering))
        return _texts_equal(name == "==", self.text(left), self.text(right))

    def _equal_to_truth(self, name: str, right: Expression) -> Callable[[Rendering, bool], bool]:
        """One more comparison with the result of the one before."""
        if name == "=~":
            pattern = self.text(right)
            return lambda rendering, left: matches(rendering, text_of(left), pattern(rendering))
        compare = COMPARISONS[name]
        if _is_written_as_number(right):
            number = self.number(right)
            return lambda rendering, left: compare(left, number(rendering))
        truth = self.truth(right)
        return lambda rendering, left: compare(left, truth(rendering))

    # Members and modifiers

    def _postfix(self, node: Postfix) -> Evaluate:
        operand = self.value(node.operand)
        steps = tuple(step for step in map(self._step, node.steps) if step is not None)
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

    def _step(self, node: Member | Index | Modifier) -> Step | None:
        """One step of a chain, ``None`` for a modifier that changes nothing."""
        if isinstance(node, Member):
            return self._member(node.name)
        if isinstance(node, Index):
            return _index(self.value(node.index))
        return prepare_modifier(node.name, tuple(map(self._argument, node.arguments)))

    def _member(self, name: str) -> Step:
        keys = spellings(name)
        if len(keys) == 1:
            return self._counted(lambda rendering, value: value.get(name) if type(value) is dict else None)
        return self._counted(lambda rendering, value: look_up(value, keys) if isinstance(value, dict) else None)

    def _argument(self, node: Constant | Variable) -> Argument:
        if isinstance(node, Constant):
            return self._counted(Argument(node.value, None))
        return Argument(None, self.value(node))


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
    return isinstance(node, Minus) or (isinstance(node, Chain) and node.level in _ARITHMETIC)


def _is_written_as_truth(node: Expression) -> bool:
    if isinstance(node, Constant):
        return isinstance(node.value, bool)
    return isinstance(node, Not) or (isinstance(node, Chain) and node.level not in _ARITHMETIC)


def _index(index: Evaluate) -> Step:
    def step(rendering: Rendering, value: object) -> object:
        if isinstance(value, dict) and len(value) >= LONG_TEXT:
            rendering.spend(len(value))  # a member by its position is found by counting
        return indexed(value, index(rendering))

    return step
