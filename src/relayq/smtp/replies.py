"""Replies cut out of the byte stream (RFC 5321 section 4.2, limits of spec delivery.md 9).

Liberal in what is inside a reply (any octets, any third digit, codes that differ between lines), strict about its form
and always bounded: an endless line, an endless reply or a flood of short lines ends in :class:`RemoteProtocolError`.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from typing import cast

from relayq.model import Reply
from relayq.smtp.errors import RemoteProtocolError

MAX_LINE_OCTETS = 2048
"""Octets of one reply line, without its line end (spec delivery.md 9)."""
MAX_LINES = 128
"""Lines of one reply (spec delivery.md 9)."""
MAX_REPLY_OCTETS = 65_536
"""Octets of one reply: no honest one comes near, and thousands of connections may hold one each."""
MAX_RECEIVED_OCTETS = 4096
"""How much of what was received instead of a reply is kept: a description takes no more (spec results.md 2)."""

CACHED_GROUP_OCTETS = 256
"""Of several replies that arrive at once: what is longer is not remembered."""

_CACHED_LINE_OCTETS = 128
_ENHANCED_STATUS = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})(?: |$)")


def _has_reply_form(line: bytes) -> bool:
    """``ddd``, ``ddd text`` or ``ddd-text`` with a first digit of 2 to 5 and a second of 0 to 5."""
    return (
        len(line) >= 3 and line[:3].isdigit() and b"2" <= line[:1] <= b"5" and line[1:2] <= b"5" and line[3:4] in b"- "
    )


def _split_status(text: bytes) -> tuple[str | None, bytes]:
    """Enhanced status at the start of a line's text (RFC 2034), and what follows it."""
    if text[1:2] == b"." and (match := _ENHANCED_STATUS.match(text)):
        return match[1].decode("ascii"), text[match.end() :]
    return None, text


def _build_reply(lines: list[bytes]) -> Reply:
    """Reply from well-formed lines without line ends; the code of the last one counts."""
    statuses, texts = zip(*[_split_status(line[4:].replace(b"\r", b" ")) for line in lines], strict=True)
    return Reply(int(lines[-1][:3]), statuses[0], texts)


def _parse_single(line: bytes) -> Reply | None:
    """Reply of this one line, or ``None`` when it is no complete reply by itself."""
    if not _has_reply_form(line) or line[3:4] == b"-":
        return None
    return _build_reply([line])


# Most replies of a server are the same few lines again and again.
_parse_single_cached = functools.lru_cache(maxsize=1024)(_parse_single)


@functools.lru_cache(maxsize=256)
def _parse_group(octets: bytes) -> tuple[Reply, ...] | None:
    """Replies of one line each, ``None`` when there is anything else among them.

    What a server says to a group of commands arrives at once, and is the same for nearly all of its mails.
    """
    *lines, rest = octets.split(b"\n")
    replies = [_parse_single_cached(line.rstrip(b"\r")) for line in lines]
    return None if rest or None in replies else cast("tuple[Reply, ...]", tuple(replies))


@functools.lru_cache(maxsize=256)
def agrees_to_mail(octets: bytes) -> bool:
    """Whether these are exactly three replies, of one line each: yes to MAIL, yes to RCPT, and "go on" to DATA."""
    replies = _parse_group(octets) or ()
    return [reply.code // 100 for reply in replies] == [2, 2, 3]


class ReplyParser:
    """Octets in, replies out, in order; what was complete before a breach still comes out before it is reported."""

    __slots__ = ("_breach", "_lines", "_partial", "_replies", "_reply_octets")

    def __init__(self) -> None:
        self._partial = b""
        self._lines: list[bytes] = []
        self._reply_octets = 0
        self._replies: deque[Reply] = deque()
        self._breach: RemoteProtocolError | None = None

    @property
    def has_pending(self) -> bool:
        """Whether anything has been received that did not come out of :meth:`next_reply` yet."""
        return bool(self._partial or self._lines or self._replies or self._breach)

    @property
    def pending(self) -> bytes:
        """The beginning of the unfinished reply, cut to a bounded length."""
        return b"\r\n".join([*self._lines, self._partial])[:MAX_RECEIVED_OCTETS]

    def feed(self, octets: bytes) -> None:
        """Take what was received; nothing is kept once the peer has broken the form of a reply."""
        if self._breach is not None:
            return
        if not (self._partial or self._lines):
            end = octets.find(b"\n")
            if 0 <= end == len(octets) - 1:  # a single line
                self._take_line(octets[:end])
                return
            if len(octets) <= CACHED_GROUP_OCTETS and (replies := _parse_group(octets)) is not None:
                self._replies.extend(replies)
                return
        lines = (self._partial + octets if self._partial else octets).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            if not self._take_line(line):
                return
        # One octet more may be the CR of a line end that is still to come.
        if len(self._partial) > MAX_LINE_OCTETS + 1:
            self._break("reply line too long", self._partial)

    def next_reply(self) -> Reply | None:
        """The next complete reply, ``None`` when more octets are needed.

        Raises:
            RemoteProtocolError: What was received is no reply; raised again at every further call.
        """
        if self._replies:
            return self._replies.popleft()
        if self._breach is not None:
            raise self._breach
        return None

    def _take_line(self, line: bytes) -> bool:
        """Take a line without its LF; false when it breaks the form of a reply."""
        line = line.rstrip(b"\r")
        if not self._lines:
            parse = _parse_single_cached if len(line) <= _CACHED_LINE_OCTETS else _parse_single
            reply = parse(line)
            if reply is not None and len(line) <= MAX_LINE_OCTETS:
                self._replies.append(reply)
                return True
        self._take_line_of_many(line)
        return self._breach is None

    def _take_line_of_many(self, line: bytes) -> None:
        self._reply_octets += len(line)
        if not _has_reply_form(line):
            self._break("not a reply", line)
        elif len(line) > MAX_LINE_OCTETS:
            self._break("reply line too long", line)
        elif len(self._lines) == MAX_LINES or self._reply_octets > MAX_REPLY_OCTETS:
            self._break("reply too long", line)
        else:
            self._lines.append(line)
            if line[3:4] != b"-":
                self._replies.append(_build_reply(self._lines))
                self._lines = []
                self._reply_octets = 0

    def _break(self, reason: str, line: bytes) -> None:
        self._breach = RemoteProtocolError(reason, b"\r\n".join([*self._lines, line])[:MAX_RECEIVED_OCTETS])
        self._partial = b""
        self._lines = []
