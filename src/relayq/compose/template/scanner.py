"""Where tags begin, and the words inside them (spec templates.md 2.1 and 2.2).

Tokens are read one at a time and only as far as the parser asks: a tag may be as long as the whole template. In HTML
the entities that editors put into tags stand for the plain characters, except inside string literals.
"""

from __future__ import annotations

import enum
import math
import re
from typing import NamedTuple

from relayq.compose.template.errors import SyntaxFault
from relayq.compose.template.limits import TimeLeft, check_time

_NAME = "[A-Za-z][A-Za-z0-9_]*+"
_DASHED_NAME = rf"{_NAME}(?:-{_NAME})*+"
_TOKENS_PER_CHECK = 1024
_INTEGER_LIMIT = 1 << 63


class TagKind(enum.Enum):
    """What the character behind a brace makes of it; the values are the groups of the pattern below."""

    VARIABLE = "variable"
    """Output or assignment."""
    BLOCK = "block"
    """A word followed by an expression: ``if``, ``elseif``, ``foreach``, ``assign``."""
    WORD = "word"
    """A whole tag without an expression, such as ``{else}``."""
    MODE = "mode"
    COMMENT = "comment"
    MAYBE = "maybe"
    """Output, provided that all up to the closing brace is an expression."""
    UNKNOWN = "unknown"
    """A single word nobody knows."""


# Most braces of style sheets and scripts end here already.
_CANDIDATE = re.compile(r"""\{(?=[$*/"'(!\w-])""")
# Everything that does not match is an ordinary brace.
_TAG = re.compile(
    r"""\{(?:
      (?P<variable>\$)
    | (?P<block>(?:if|elseif|foreach|assign)(?![\w:-]))
    | (?P<word>(?:else|endif|foreachelse|literal|ldelim|rdelim|escape|/if|/foreach)\})
    | (?P<mode>mode=)
    | (?P<comment>\*)
    | (?P<maybe>(?=[0-9"'(!-])|(?=(?:true|false|not)(?!\w)))
    | (?P<unknown>[^\W\d_]+\})
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_END_LITERAL = re.compile(r"\{/literal\}", re.IGNORECASE)


class TokenKind(enum.Enum):
    """Kinds of tokens; the values are the groups of the patterns below."""

    VARIABLE = "variable"
    NUMBER = "number"
    STRING = "string"
    WORD = "word"
    OPERATOR = "operator"
    END = "end"
    """The closing brace."""


_KINDS = {kind.value: kind for kind in TokenKind}
_TAG_KINDS = {kind.value: kind for kind in TagKind}


def _token_pattern(*, blank: str, less: str, greater: str, ampersand: str, entity_strings: str) -> re.Pattern[str]:
    return re.compile(
        rf"""{blank}(?:
          (?P<variable>\${_DASHED_NAME})
        | (?P<number>[0-9]++(?:\.[0-9]++(?:e[+-]?[0-9]++)?+)?+)
        | (?P<string>"(?:[^"\\]++|\\"?+)*+"|'(?:[^'\\]++|\\'?+)*+'{entity_strings})
        | (?P<word>{_NAME})
        | (?P<end>\}})
        | (?P<operator>={greater}|==|=~|!=|{less}{greater}|{less}=|{greater}=|{ampersand}{{2}}|\|\||{less}|{greater}
            |[-+*/%=!()\[\].|:])
        )""",
        re.VERBOSE | re.IGNORECASE,
    )


_PLAIN_BLANK = "[ \\t\\r\\n\u00a0]*+"
_HTML_BLANK = "(?:[ \\t\\r\\n\u00a0]++|&nbsp;)*+"
_APOSTROPHE = r"(?:&\#39;|&apos;)"
_PLAIN_TOKEN = _token_pattern(blank=_PLAIN_BLANK, less="<", greater=">", ampersand="&", entity_strings="")
_HTML_TOKEN = _token_pattern(
    blank=_HTML_BLANK,
    less="(?:<|&lt;)",
    greater="(?:>|&gt;)",
    ampersand="(?:&amp;|&)",
    # Quotes written as entities have to be closed by the same ones.
    entity_strings=r"|&quot;(?:[^\\&]++|\\(?:&quot;)?+|&(?!quot;))*+&quot;"
    rf"|{_APOSTROPHE}(?:[^\\&]++|\\{_APOSTROPHE}?+|&(?!\#39;|apos;))*+{_APOSTROPHE}",
)
_PLAIN_NAME = re.compile(f"{_PLAIN_BLANK}({_DASHED_NAME})")
_HTML_NAME = re.compile(f"{_HTML_BLANK}({_DASHED_NAME})")
_REST = re.compile(f"{_HTML_BLANK}(.?)", re.DOTALL)
_QUOTE = re.compile(r"[\"']|&quot;|&#39;|&apos;", re.IGNORECASE)
_ESCAPED_QUOTE = re.compile(r"\\&quot;", re.IGNORECASE)
_ESCAPED_APOSTROPHE = re.compile(r"\\(?:&#39;|&apos;)", re.IGNORECASE)


class TagStart(NamedTuple):
    """A brace that begins a tag.

    Attributes:
        kind: Kind of the tag.
        start: Of the brace.
        end: Behind what was recognised.
        word: What was recognised, in lower case without brace.
    """

    kind: TagKind
    start: int
    end: int
    word: str


class Scanner:
    """Reads a template from left to right; ``kind``, ``value`` and ``start`` describe the current token.

    ``value`` is a number for numbers and the content for strings. Names have no dollar, operators are free of entities.
    ``tokens`` counts what has been read.
    """

    __slots__ = (
        *("at", "is_html", "kind", "start", "text", "tokens", "value"),
        *("_line", "_line_start", "_names", "_time_left", "_tokens", "_until_check"),
    )

    def __init__(self, text: str, *, is_html: bool, time_left: TimeLeft) -> None:
        self.text = text
        self.is_html = is_html
        self.at = 0
        self.kind = TokenKind.END
        self.value: str | int | float = ""
        self.start = 0
        self.tokens = 0
        self._tokens = _HTML_TOKEN if is_html else _PLAIN_TOKEN
        self._names = _HTML_NAME if is_html else _PLAIN_NAME
        self._time_left = time_left
        self._until_check = _TOKENS_PER_CHECK
        self._line = 1
        self._line_start = 0

    def find_tag(self, at: int) -> TagStart | None:
        """First tag at or behind ``at``; braces that begin none are skipped."""
        match = None
        while match is None:
            self._count()
            candidate = _CANDIDATE.search(self.text, at)
            if candidate is None:
                return None
            match = _TAG.match(self.text, candidate.start())
            at = candidate.end()
        assert match.lastgroup is not None, "every alternative is a group"
        word = match[0][1:].rstrip("}").lower()
        return TagStart(_TAG_KINDS[match.lastgroup], match.start(), match.end(), word)

    def advance(self) -> None:
        """Go to the next token.

        Raises:
            SyntaxFault: There is none.
            TemplateError: The time is up.
        """
        self._count()
        match = self._tokens.match(self.text, self.at)
        if match is None:
            raise self._no_token()
        group = match.lastgroup
        assert group is not None, "every alternative is a group"
        self.at = match.end()
        self.tokens += 1
        self.start = match.start(group)
        self.kind = _KINDS[group]
        self.value = self._value(match[group])

    def advance_to_name(self) -> str:
        """Go to the token behind the name that follows; the name may have dashes in it and be any word."""
        match = self._names.match(self.text, self.at)
        if match is None:
            self.advance()
            raise self.unexpected()
        self.at = match.end()
        self.advance()
        return match[1]

    def find_end_of_literal(self, at: int) -> tuple[int, int] | None:
        """Start and end of the tag that ends a literal."""
        match = _END_LITERAL.search(self.text, at)
        return None if match is None else match.span()

    def line_at(self, position: int) -> int:
        """Line of a position, the first one is 1. Positions have to be asked for in ascending order."""
        self._line += self.text.count("\n", self._line_start, position)
        self._line_start = position
        return self._line

    def unexpected(self) -> SyntaxFault:
        """The current token does not belong here."""
        what = "end of tag" if self.kind is TokenKind.END else "token"
        return SyntaxFault(f"unexpected {what}", self.start)

    def _count(self, effort: int = 1) -> None:
        self._until_check -= effort
        if self._until_check < 0:
            self._until_check = _TOKENS_PER_CHECK
            check_time(self._time_left)

    def _no_token(self) -> SyntaxFault:
        match = _REST.match(self.text, self.at)
        assert match is not None, "it matches anything"
        if not match[1]:
            return SyntaxFault("unexpected end of template", len(self.text))
        if _QUOTE.match(self.text, match.start(1)):
            return SyntaxFault("unclosed string", match.start(1))
        return SyntaxFault("unexpected character", match.start(1))

    def _value(self, token: str) -> str | int | float:
        if self.kind is TokenKind.VARIABLE:
            return token[1:]
        if self.kind is TokenKind.NUMBER:
            return self._number(token)
        if self.kind is TokenKind.STRING:
            self._count(len(token) >> 8)
            return _string(token)
        if "&" in token:
            return token.lower().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return token

    def _number(self, token: str) -> int | float:
        if "." not in token and len(token) < 20:
            number = int(token)
            if number < _INTEGER_LIMIT:
                return number
        # An integer outside 64 bits is a double, as the result of an operation would be.
        value = float(token)
        if not math.isfinite(value):
            raise SyntaxFault("number out of range", self.start)
        return value


def _string(token: str) -> str:
    """Content of a string literal: a backslash before the delimiter is the only escape."""
    if token[0] == "&":
        content = token[token.index(";") + 1 : token.rindex("&")]
        if token[1] in "qQ":
            return _ESCAPED_QUOTE.sub('"', content)
        return _ESCAPED_APOSTROPHE.sub("'", content)
    return token[1:-1].replace("\\" + token[0], token[0])
