"""How a template can fail."""

from __future__ import annotations

from relayq.compose.errors import ComposeError


class TemplateError(ComposeError):
    """A template that cannot be compiled or rendered (spec templates.md 9).

    Attributes:
        cause: What is wrong, without values of the data.
        line: Line of the template, the first one is 1; 0 while it is not known.
        place: Field or part the template stands in; empty for a template on its own.
    """

    def __init__(self, cause: str, line: int = 0, place: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.line = line
        self.place = place

    def __str__(self) -> str:
        """For the application log: ``subject: line 1: unexpected end of tag``."""
        text = f"line {self.line}: {self.cause}"
        return f"{self.place}: {text}" if self.place else text


class SyntaxFault(Exception):
    """Something at a position of a template that does not belong there; the parser turns it into `TemplateError`.

    The line is worked out only there: text that merely looks like a tag fails without anybody asking for one.
    """

    def __init__(self, cause: str, position: int) -> None:
        super().__init__(cause)
        self.cause = cause
        self.position = position


class LimitFault(SyntaxFault):
    """A limit of the syntax was exceeded, so this is an error even where an ordinary brace was possible."""
