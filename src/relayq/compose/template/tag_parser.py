"""The inside of a tag: expressions by precedence climbing (spec templates.md 2.3 and 4).

An expression nests a handful of calls per parenthesis, whose number is limited. One that mixes all operators at every
level could still come to the recursion limit of the interpreter: then it nests too deeply, too.
"""

from __future__ import annotations

from relayq.compose.template.errors import LimitFault
from relayq.compose.template.limits import MAX_MODIFIERS, MAX_NESTING, NESTING_CAUSE
from relayq.compose.template.scanner import Scanner, TokenKind
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

# Spelling in the template → level and the one name the compiler knows.
BINARY_OPERATORS: dict[str, tuple[Level, str]] = {
    **dict.fromkeys(("or", "||"), (Level.OR, "or")),
    **dict.fromkeys(("and", "&&"), (Level.AND, "and")),
    **dict.fromkeys(("==", "eq"), (Level.EQUALITY, "==")),
    **dict.fromkeys(("!=", "<>", "ne"), (Level.EQUALITY, "!=")),
    "=~": (Level.EQUALITY, "=~"),
    **dict.fromkeys(("<", "lt"), (Level.RELATION, "<")),
    **dict.fromkeys(("<=", "le", "lte"), (Level.RELATION, "<=")),
    **dict.fromkeys((">", "gt"), (Level.RELATION, ">")),
    **dict.fromkeys((">=", "ge", "gte"), (Level.RELATION, ">=")),
    "+": (Level.SUM, "+"),
    "-": (Level.SUM, "-"),
    "*": (Level.PRODUCT, "*"),
    "/": (Level.PRODUCT, "/"),
    "%": (Level.PRODUCT, "%"),
}
_BOOLEANS = {"true": True, "false": False}


class TagParser:
    """Reads the inside of one tag after the other; the scanner stands on the token to be looked at."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._nesting = 0

    def begin(self, at: int) -> None:
        """Go to the first token of a tag."""
        self._scanner.at = at
        self._nesting = 0
        self._scanner.advance()

    def expect_end(self) -> int:
        """Where the text goes on; the tag has to end here."""
        self.require_end()
        return self._scanner.at

    def require_end(self) -> None:
        """The tag has to end here."""
        if self._scanner.kind is not TokenKind.END:
            raise self._scanner.unexpected()

    def is_operator(self, operator: str) -> bool:
        """The current token is that operator."""
        return self._scanner.kind is TokenKind.OPERATOR and self._scanner.value == operator

    def is_word(self, word: str) -> bool:
        """The current token is that word, in any case."""
        scanner = self._scanner
        return scanner.kind is TokenKind.WORD and isinstance(scanner.value, str) and scanner.value.lower() == word

    def _expect_operator(self, operator: str) -> None:
        if not self.is_operator(operator):
            raise self._scanner.unexpected()
        self._scanner.advance()

    def expect_word(self, word: str) -> None:
        """Go past that word."""
        if not self.is_word(word):
            raise self._scanner.unexpected()
        self._scanner.advance()

    def expect_variable(self) -> str:
        """Go past a variable, whose name is returned."""
        scanner = self._scanner
        if scanner.kind is not TokenKind.VARIABLE:
            raise scanner.unexpected()
        name = str(scanner.value)
        scanner.advance()
        return name

    def _deeper(self) -> None:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise LimitFault(NESTING_CAUSE, self._scanner.start)

    def _binary(self) -> tuple[Level, str] | None:
        scanner = self._scanner
        if scanner.kind is TokenKind.OPERATOR or scanner.kind is TokenKind.WORD:
            return BINARY_OPERATORS.get(str(scanner.value).lower())
        return None

    def expression(self, level: Level = Level.OR) -> Expression:
        """Operands joined by operators that bind at least as strongly as ``level``."""
        scanner = self._scanner
        left: Expression
        if self.is_operator("!") or self.is_word("not"):
            if level > Level.NOT:
                raise scanner.unexpected()
            self._deeper()
            scanner.advance()
            left = Not(self.expression(Level.NOT))
            self._nesting -= 1
        else:
            left = self._unary()
        while (operator := self._binary()) is not None and operator[0] >= level:
            current = operator[0]
            above = Level(min(current + 1, Level.PRODUCT))
            rest: list[tuple[str, Expression]] = []
            while operator is not None and operator[0] is current:
                scanner.advance()
                right = self._unary() if current is Level.PRODUCT else self.expression(above)
                rest.append((operator[1], right))
                operator = self._binary()
            left = Chain(current, left, tuple(rest))
        return left

    def _unary(self) -> Expression:
        if not self.is_operator("-"):
            return self.postfix()
        self._deeper()
        self._scanner.advance()
        operand = Minus(self._unary())
        self._nesting -= 1
        return operand

    def postfix(self) -> Expression:
        """An operand with its members and modifiers.

        Raises:
            SyntaxFault: There is none.
            LimitFault: There are more of them than anybody needs.
        """
        operand = self._primary()
        steps: list[Member | Index | Modifier] = []
        modifiers = 0
        while True:
            if self.is_operator("."):
                steps.append(Member(self._scanner.advance_to_name()))
            elif self.is_operator("["):
                self._deeper()
                self._scanner.advance()
                steps.append(Index(self.expression()))
                self._expect_operator("]")
                self._nesting -= 1
            elif self.is_operator("|"):
                modifiers += 1
                if modifiers > MAX_MODIFIERS:
                    cause = f"more than {MAX_MODIFIERS} modifiers"
                    raise LimitFault(cause, self._scanner.start)
                steps.append(self._modifier())
            else:
                return Postfix(operand, tuple(steps)) if steps else operand

    def _primary(self) -> Expression:
        scanner = self._scanner
        kind, value = scanner.kind, scanner.value
        if kind is TokenKind.VARIABLE:
            scanner.advance()
            return Variable(str(value))
        if kind is TokenKind.OPERATOR and value == "(":
            self._deeper()
            scanner.advance()
            inner = self.expression()
            self._expect_operator(")")
            self._nesting -= 1
            return inner
        return self._constant()

    def _constant(self) -> Constant:
        scanner = self._scanner
        kind, value = scanner.kind, scanner.value
        if kind is TokenKind.WORD and str(value).lower() in _BOOLEANS:
            value = _BOOLEANS[str(value).lower()]
        elif kind is not TokenKind.NUMBER and kind is not TokenKind.STRING:
            raise scanner.unexpected()
        scanner.advance()
        return Constant(value)

    def _modifier(self) -> Modifier:
        scanner = self._scanner
        scanner.advance()
        if scanner.kind is not TokenKind.WORD:
            raise scanner.unexpected()
        name = str(scanner.value)
        scanner.advance()
        arguments: list[Constant | Variable] = []
        while self.is_operator(":"):
            scanner.advance()
            arguments.append(self._argument())
        return Modifier(name, tuple(arguments))

    def _argument(self) -> Constant | Variable:
        scanner = self._scanner
        if scanner.kind is TokenKind.VARIABLE:
            return Variable(self.expect_variable())
        if not self.is_operator("-"):
            return self._constant()
        scanner.advance()
        if scanner.kind is not TokenKind.NUMBER or isinstance(scanner.value, str):
            raise scanner.unexpected()
        value = -scanner.value
        scanner.advance()
        return Constant(value)
