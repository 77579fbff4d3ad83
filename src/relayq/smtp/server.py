"""The server role: octets in, commands and messages out; replies in, octets out. No socket, clock, task or policy.

How it is driven: feed ``receive_data``, then take ``next_event`` and answer each event with ``reply`` before the next
one comes out, until it returns ``None``; write ``data_to_send``. Commands that were pipelined wait inside, so an answer
can take its time; while ``is_congested`` the caller stops reading. What to say to whom is the caller's decision alone,
also what is not SMTP at all (``reply_octets``): a scripted test server and a real one stand on the same machine.

Only ``CRLF . CRLF`` ends a message (RFC 5321 section 4.1.1.4): whatever else looks like an end is content.
"""

from __future__ import annotations

import enum
import functools

from relayq.smtp.capabilities import Capabilities
from relayq.smtp.data import unstuff_dots
from relayq.smtp.errors import LocalProtocolError
from relayq.smtp.server_commands import Chunk, parse_command, unknown
from relayq.smtp.server_events import (
    AuthRequested,
    AuthResponse,
    ChunkReceived,
    DataRequested,
    Ehlo,
    GreetingDue,
    Helo,
    MailFrom,
    MessageReceived,
    PeerClosed,
    RcptTo,
    Reset,
    ServerEvent,
    StartTlsRequested,
)

MAX_LINE_OCTETS = 12_288
"""Longest command line: a line of the login dialogue may be that long (RFC 4954 section 4)."""
CONGESTED_OCTETS = 65_536
"""Received but not yet taken octets above which the caller should stop reading."""
DEFAULT_MAX_MESSAGE_OCTETS = 64 << 20

_END_OF_DATA = b"\r\n.\r\n"
_CONTROLS = dict.fromkeys([*range(0x20), 0x7F])


class _Mode(enum.Enum):
    COMMANDS = "commands"
    OVERLONG_LINE = "overlong line"
    AUTH = "login dialogue"
    DATA = "content"
    CHUNK = "chunk"
    HANDSHAKE = "TLS handshake"


@functools.lru_cache(maxsize=1024)
def encode_reply(code: int, lines: tuple[str, ...]) -> bytes:
    """A reply of one line for each of ``lines``, or of the code alone.

    Raises:
        LocalProtocolError: A control character in a line, or a code outside 200 to 599.
    """
    if not 200 <= code <= 599:
        raise LocalProtocolError("reply code out of range")
    if any(len(line.translate(_CONTROLS)) != len(line) for line in lines):
        raise LocalProtocolError("control character in a reply")
    *first, last = lines or ("",)
    text = "".join(f"{code}-{line}\r\n" for line in first) + (f"{code} {last}\r\n" if last else f"{code}\r\n")
    return text.encode("utf-8", "replace")


def encode_keywords(capabilities: Capabilities) -> tuple[str, ...]:
    """The lines of an EHLO reply behind the first."""
    size = "SIZE" if capabilities.size_limit is None else f"SIZE {capabilities.size_limit}"
    known = (
        (capabilities.pipelining, "PIPELINING"),
        (capabilities.size, size),
        (capabilities.eight_bit_mime, "8BITMIME"),
        (capabilities.smtputf8, "SMTPUTF8"),
        (capabilities.starttls, "STARTTLS"),
        (bool(capabilities.auth), " ".join(["AUTH", *sorted(capabilities.auth)])),
        (capabilities.dsn, "DSN"),
        (capabilities.chunking, "CHUNKING"),
        (capabilities.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
    )
    return tuple(keyword for announced, keyword in known if announced)


class SmtpServer:
    """One SMTP session as the receiving side.

    Attributes:
        keep_content: Hand content out with :class:`MessageReceived`; else it is only counted. May be changed at any
            time before a message begins.
        has_sender: A ``MAIL FROM`` of the current transaction was answered positively.
        recipients: How many ``RCPT TO`` of it were.
    """

    def __init__(self, *, keep_content: bool = True, max_message_octets: int = DEFAULT_MAX_MESSAGE_OCTETS) -> None:
        """Start with the greeting due.

        Args:
            keep_content: As the attribute.
            max_message_octets: Content beyond it is read and thrown away.
        """
        self.keep_content = keep_content
        self.has_sender = False
        self.recipients = 0
        self._max_message_octets = max_message_octets
        self._mode = _Mode.COMMANDS
        self._due: ServerEvent | None = None
        self._is_greeted = False
        self._has_ended = False
        self._buffer = b""
        self._offset = 0
        self._out: list[bytes] = []
        self._content = bytearray()
        self._size = 0
        self._tail = b""
        self._chunk_left = 0
        self._is_last_chunk = False

    @property
    def is_congested(self) -> bool:
        """More is waiting than should: stop reading until events have been answered."""
        return len(self._buffer) - self._offset > CONGESTED_OCTETS

    def receive_data(self, octets: bytes) -> None:
        """Take what arrived; ``b""`` when the client has closed its side. Never raises for what a client does."""
        if not octets:
            self._has_ended = True
        elif self._mode is not _Mode.HANDSHAKE:
            self._buffer = self._buffer[self._offset :] + octets
            self._offset = 0

    def data_to_send(self) -> bytes:
        """Octets to write now, in one write; empty when there are none. Handed out once."""
        octets = b"".join(self._out)
        self._out.clear()
        return octets

    def next_event(self) -> ServerEvent | None:
        """What came next; ``None`` while a reply to the previous event is due, or when more has to be received."""
        if self._due is not None:
            return None
        event = self._read_event()
        if event is None:
            if not self._has_ended:
                return None
            # Reported once: there is no reply that would clear it.
            event = PeerClosed()
        self._due = event
        return event

    def reply(self, code: int, *lines: str) -> None:
        """Answer the last event; no ``lines`` means the code alone.

        Raises:
            LocalProtocolError: Nothing is due, a line holds a control character, or the code is out of range.
        """
        self.reply_octets(encode_reply(code, lines), code)

    def reply_octets(self, octets: bytes, code: int) -> None:
        """Answer the last event with any octets, SMTP or not, also none; ``code`` is what they count as.

        Raises:
            LocalProtocolError: Nothing is due.
        """
        event = self._due
        if event is None or isinstance(event, PeerClosed):
            raise LocalProtocolError("no reply is due")
        self._due = None
        self._out.append(octets)
        self._after_reply(event, code // 100)

    def tls_established(self) -> None:
        """The handshake is done: the session starts over without a greeting (RFC 3207 section 4.2).

        Raises:
            LocalProtocolError: No handshake was due.
        """
        if self._mode is not _Mode.HANDSHAKE:
            raise LocalProtocolError("no TLS handshake is due")
        self._mode = _Mode.COMMANDS
        self._forget_transaction()

    def _after_reply(self, event: ServerEvent, severity: int) -> None:
        """What the reply does to the session itself."""
        kind = type(event)
        if kind is MailFrom:
            self.has_sender = self.has_sender or severity == 2
        elif kind is RcptTo:
            self.recipients += severity == 2
        elif kind is DataRequested:
            if severity == 3:
                self._mode = _Mode.DATA
                self._start_content(b"\r\n")
        elif kind in _ENDS_TRANSACTION:
            self._forget_transaction()
        elif kind is AuthRequested or kind is AuthResponse:
            self._mode = _Mode.AUTH if severity == 3 else _Mode.COMMANDS
        elif kind is StartTlsRequested and severity == 2:
            # What was pipelined behind STARTTLS in clear may be an attacker's.
            self._mode = _Mode.HANDSHAKE
            self._buffer = b""
            self._offset = 0

    def _forget_transaction(self) -> None:
        self.has_sender = False
        self.recipients = 0
        self._start_content(b"")

    def _start_content(self, tail: bytes) -> None:
        """``tail`` stands for the line end before the content, so that a dot at its start is seen."""
        self._content = bytearray()
        self._size = 0
        self._tail = tail

    def _read_event(self) -> ServerEvent | None:
        if not self._is_greeted:
            self._is_greeted = True
            return GreetingDue()
        mode = self._mode
        if mode is _Mode.DATA:
            return self._read_content()
        if mode is _Mode.CHUNK:
            return self._read_chunk()
        if mode is _Mode.HANDSHAKE:
            return None
        return self._read_line()

    def _read_line(self) -> ServerEvent | None:
        end = self._buffer.find(b"\n", self._offset)
        if end < 0:
            self._buffer = self._buffer[self._offset :]
            self._offset = 0
            if len(self._buffer) > MAX_LINE_OCTETS:
                self._mode = _Mode.OVERLONG_LINE
                self._buffer = self._buffer[:MAX_LINE_OCTETS]
            return None
        line = self._buffer[self._offset : end].removesuffix(b"\r")
        self._offset = end + 1
        if self._mode is _Mode.OVERLONG_LINE or len(line) > MAX_LINE_OCTETS:
            self._mode = _Mode.COMMANDS
            return unknown(line, "length")
        if self._mode is _Mode.AUTH:
            return AuthResponse(None if line == b"*" else line)
        command = parse_command(line)
        if isinstance(command, Chunk):
            self._mode = _Mode.CHUNK
            self._chunk_left = command.size_bytes
            self._is_last_chunk = command.is_last
            return self._read_chunk()
        return command

    def _read_content(self) -> ServerEvent | None:
        received = self._buffer[self._offset :] if self._offset else self._buffer
        # The end may lie across what arrived before; four octets of it are enough to see.
        window = self._tail + received
        end = window.find(_END_OF_DATA)
        if end < 0:
            self._keep(received)
            self._tail = window[-4:]
            self._buffer = b""
            self._offset = 0
            return None
        surplus = end + 2 - len(self._tail)  # negative: what was kept already includes part of the end
        self._keep(received[: max(surplus, 0)])
        self._buffer = window
        self._offset = end + len(_END_OF_DATA)
        return self._finish_message(min(surplus, 0), is_stuffed=True)

    def _read_chunk(self) -> ServerEvent | None:
        taken = self._buffer[self._offset : self._offset + self._chunk_left]
        self._offset += len(taken)
        self._chunk_left -= len(taken)
        self._keep(taken)
        if self._chunk_left:
            return None
        if not self._is_last_chunk:
            self._mode = _Mode.COMMANDS
            return ChunkReceived(self._size)
        return self._finish_message(0, is_stuffed=False)

    def _keep(self, octets: bytes) -> None:
        self._size += len(octets)
        # The final dot may have come without its line end, and then counts for a moment.
        if self._size > self._max_message_octets + len(b".\r"):
            self._content = bytearray()
        elif self.keep_content:
            self._content += octets

    def _finish_message(self, surplus: int, *, is_stuffed: bool) -> MessageReceived:
        self._mode = _Mode.COMMANDS
        self._size += surplus
        is_too_large = self._size > self._max_message_octets
        content = None
        if self.keep_content and not is_too_large:
            content = bytes(self._content[: len(self._content) + surplus] if surplus else self._content)
            if is_stuffed:
                content = unstuff_dots(content)
        size = self._size
        self._start_content(b"")
        return MessageReceived(content, size, is_too_large)


_ENDS_TRANSACTION = frozenset({MessageReceived, Reset, Ehlo, Helo})
