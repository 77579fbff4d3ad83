"""Where the objects of a stream of JSON texts begin and end, found without decoding a value.

The octets of each object come out exactly as they went in. The scanner only tells strings from structure and counts
brackets, at the speed of regular expressions, and looks closely enough to notice damage in the object that has it: a
broken line would otherwise swallow the good ones behind it. Whether an object is valid JSON is checked by
:func:`relayq.model.message_json.decode_members`, the same code that reads the outbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from relayq.model.message_json import InvalidBodyError, decode_members

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_STRUCTURE = re.compile(rb'["{}\[\]]')
# Up to the closing quote, a control character (never legal inside a string) or the end of what is here. A backslash
# whose partner has not arrived yet is left alone, so scanning can go on from there.
_INSIDE_STRING = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+')
_OPENING: Final = frozenset(b"{[")
_BLANK: Final = frozenset(b" \t\r\n")
_BEFORE_OBJECT: Final = frozenset(b":,[")
_QUOTE: Final = b'"'[0]
_BACKSLASH: Final = b"\\"[0]
_BRACE: Final = b"{"[0]


class JsonObject(NamedTuple):
    """One object of the stream."""

    octets: bytes
    line: int
    """Line on which it begins, from 1."""


class JsonStreamError(ValueError):
    """The stream cannot be read on.

    Attributes:
        line: Line on which the bad value begins, from 1.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class JsonObjectScanner:
    """Cuts octets that arrive in pieces of any size into objects."""

    def __init__(self, max_octets: int) -> None:
        self._max_octets = max_octets
        self._buffer = bytearray()
        self._position = 0  # up to here the buffer is understood
        self._start = -1  # where the current object begins; -1 between objects
        self._depth = 0
        self._in_string = False
        self._line = 1
        self._is_first = True

    def feed(self, octets: bytes) -> Iterator[JsonObject]:
        """Yield the objects completed by ``octets``.

        Raises:
            JsonStreamError: Something that is no object, a broken object, or one over the limit.
        """
        self._buffer += octets
        if self._is_first:
            if _BYTE_ORDER_MARK.startswith(self._buffer):
                return  # too short to tell
            if self._buffer.startswith(_BYTE_ORDER_MARK):
                del self._buffer[:3]
            self._is_first = False
        while (found := self._next()) is not None:
            yield found
        self._drop_understood()

    def finish(self) -> None:
        """Tell that nothing follows.

        Raises:
            JsonStreamError: The last object is not complete.
        """
        if self._start >= 0 or (self._is_first and self._buffer):
            raise JsonStreamError(self._line, "the input ends inside an object")

    def _next(self) -> JsonObject | None:
        """The next complete object; ``None`` when more octets are needed."""
        buffer = self._buffer
        if self._start < 0 and not self._begin_object():
            return None
        while True:
            if self._in_string and not self._leave_string():
                return None
            match = _STRUCTURE.search(buffer, self._position)
            if match is None:
                self._position = len(buffer)
                self._check_size()
                return None
            self._position = match.end()
            mark = buffer[match.start()]
            if mark == _QUOTE:
                self._in_string = True
            elif mark in _OPENING:
                if mark == _BRACE and self._depth:
                    self._check_place(match.start())
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return self._complete()

    def _begin_object(self) -> bool:
        match = _BLANKS.match(self._buffer, self._position)
        assert match is not None
        self._line += self._buffer.count(b"\n", self._position, match.end())
        self._position = match.end()
        if self._position == len(self._buffer):
            return False
        if self._buffer[self._position] != _BRACE:
            raise JsonStreamError(self._line, "this is no JSON object")
        self._start = self._position
        return True

    def _leave_string(self) -> bool:
        match = _INSIDE_STRING.match(self._buffer, self._position)
        assert match is not None
        self._position = match.end()
        if self._position == len(self._buffer):
            self._check_size()
            return False
        stopped_at = self._buffer[self._position]
        if stopped_at == _BACKSLASH:
            if self._position + 1 == len(self._buffer):
                return False
            raise JsonStreamError(self._line, "the object is broken: control character behind a backslash")
        if stopped_at != _QUOTE:
            raise JsonStreamError(self._line, "the object is broken: control character or line end inside a string")
        self._position += 1
        self._in_string = False
        return True

    def _check_place(self, at: int) -> None:
        """An object may only follow a colon, a comma or an opening bracket; anything else means one is not closed."""
        at -= 1
        while self._buffer[at] in _BLANK:
            at -= 1
        if self._buffer[at] not in _BEFORE_OBJECT:
            raise JsonStreamError(self._line, "the object is broken: another one begins inside it")

    def _check_size(self) -> None:
        if self._position - self._start > self._max_octets:
            raise JsonStreamError(self._line, f"the object is larger than {self._max_octets} octets")

    def _complete(self) -> JsonObject:
        self._check_size()
        octets = bytes(self._buffer[self._start : self._position])
        try:
            decode_members(octets)
        except InvalidBodyError as error:
            raise JsonStreamError(self._line, f"the object is broken: {error}") from None
        found = JsonObject(octets, self._line)
        self._line += octets.count(b"\n")
        self._start = -1
        return found

    def _drop_understood(self) -> None:
        """Free what has been handed out; once per piece, so the cost stays linear."""
        keep_from = self._position if self._start < 0 else self._start
        del self._buffer[:keep_from]
        self._position -= keep_from
        self._start = -1 if self._start < 0 else 0
