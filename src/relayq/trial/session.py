"""One session of the sink: events of the SMTP server role in, replies and mischief out."""

from __future__ import annotations

import asyncio
import binascii
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from relayq.smtp import SmtpServer, encode_reply
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
    Noop,
    PeerClosed,
    Quit,
    RcptTo,
    Reset,
    StartTlsRequested,
    Unknown,
)
from relayq.trial.login import ANY_LOGIN, Login
from relayq.trial.script import ACCEPT, Action, ActionKind, Step
from relayq.trial.state import ReceivedMessage, SinkState

NULL_SENDER: Final = "<>"
"""How patterns of a script name the empty sender."""
MAX_RECIPIENTS: Final = 1000
DROP_PATIENCE: Final = 5.0
"""Seconds a client may take to close its side after ours was closed."""
_GARBAGE_SEVERITY: Final = 500  # garbage counts as a refusal: the dialogue does not go on from there
_CLOSING: Final = 421

_OK = encode_reply(250, ("2.0.0 OK",))
_MAIL_OK = encode_reply(250, ("2.1.0 Sender OK",))
_RCPT_OK = encode_reply(250, ("2.1.5 Recipient OK",))
_GO_AHEAD = encode_reply(354, ("End with a dot on a line of its own",))
_ACCEPTED = encode_reply(250, ("2.6.0 Accepted and forgotten",))
_BYE = encode_reply(221, ("2.0.0 Bye",))
_BAD_SEQUENCE = encode_reply(503, ("5.5.1 Bad sequence of commands",))
_NO_RECIPIENTS = encode_reply(554, ("5.5.1 No valid recipients",))
_TOO_LARGE = encode_reply(552, ("5.3.4 Message too large",))
_TOO_MANY = encode_reply(452, ("4.5.3 Too many recipients",))
_NEEDS_SMTPUTF8 = encode_reply(553, ("5.6.7 International address without SMTPUTF8",))
_NOT_OFFERED = encode_reply(502, ("5.5.1 Not offered",))
_UNKNOWN = encode_reply(500, ("5.5.2 Not understood",))
_TLS_READY = encode_reply(220, ("2.0.0 Ready to start TLS",))
_LOGGED_IN = encode_reply(235, ("2.7.0 Welcome",))
_NO_MECHANISM = encode_reply(504, ("5.5.4 Mechanism not offered",))
_BAD_LOGIN = encode_reply(501, ("5.5.2 Not understood",))
_NO_PARAMETERS: Final[Mapping[str, str | None]] = {}


class SinkSession(asyncio.Protocol):
    """One client: turns events of the server role into replies."""

    def __init__(self, sink: SinkState, *, is_tls: bool) -> None:
        self._sink = sink
        self._server = SmtpServer(keep_content=sink.keep_content, max_message_octets=sink.max_message_octets)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unasked: asyncio.TimerHandle | None = None
        self._is_handshake_next = False
        self._behind_handshake: list[bytes] | None = None
        self._client = ""
        self._ehlo_name = ""
        self._user: str | None = None
        self._is_tls = is_tls
        self._is_closing = False
        self._is_writable = True
        self._ordinal = 0
        self._login: Login | None = None
        self._reset_transaction()

    def _reset_transaction(self) -> None:
        self._sender = ""
        self._sender_parameters = _NO_PARAMETERS
        self._recipients: list[str] = []
        self._recipient_parameters: list[Mapping[str, str | None]] = []

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or go on after a handshake."""
        self._transport = cast("asyncio.Transport", transport)
        if self not in self._sink.sessions:
            self._sink.sessions.add(self)
            self._sink.counters.connections += 1
            self._client = str(transport.get_extra_info("peername")[0])
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take octets; after a drop they are thrown away."""
        if self._is_closing:
            return
        if self._behind_handshake is not None:
            self._behind_handshake.append(data)
            return
        self._server.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        """Let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._is_closing = True
        self._transport = None
        self._sink.sessions.discard(self)
        for timer in (self._timer, self._unasked):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """A client that does not read its replies gets no more, and is not read either."""
        self._is_writable = False
        self._regulate()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writable = True
        self._advance()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # The dialogue

    def _advance(self) -> None:
        """Answer what has arrived, as far as the script lets it be answered, then write once."""
        server = self._server
        while self._is_writable and not self._is_closing and (event := server.next_event()) is not None:
            _ANSWERS[type(event)](self, event)
        self._flush()
        self._regulate()

    def _flush(self) -> None:
        octets = self._server.data_to_send()
        if octets and self._transport is not None:
            self._transport.write(octets)

    def _regulate(self) -> None:
        if self._transport is None or self._is_closing:
            return
        if self._server.is_congested or not self._is_writable:
            self._transport.pause_reading()
        elif not self._transport.is_reading():
            self._transport.resume_reading()

    def _answer_greeting(self, _: GreetingDue) -> None:
        self._act(Step.INTRO, self._client, self._sink.greeting, 220)

    def _answer_hello(self, event: Ehlo | Helo) -> None:
        self._reset_transaction()
        if isinstance(event, Helo):
            step, reply = Step.HELO, self._sink.helo_reply
        else:
            step, reply = Step.EHLO, self._sink.ehlo_reply_encrypted if self._is_tls else self._sink.ehlo_reply
        action = self._decide(step, event.name)
        if action.accepts(step):
            self._ehlo_name = event.name
        self._perform(action, reply, 250)

    def _answer_mail(self, event: MailFrom) -> None:
        if self._server.has_sender or not self._ehlo_name:
            return self._reply(_BAD_SEQUENCE, 503)
        size = event.parameters.get("SIZE") or "0"
        if size.isascii() and size.isdigit() and len(size) <= 20 and int(size) > self._sink.max_message_octets:
            return self._reply(_TOO_LARGE, 552)
        if not event.address.isascii() and "SMTPUTF8" not in event.parameters:
            return self._reply(_NEEDS_SMTPUTF8, 553)
        self._reset_transaction()
        self._sender = event.address
        self._sender_parameters = event.parameters
        self._act(Step.MAILFROM, event.address or NULL_SENDER, _MAIL_OK, 250)
        return None

    def _answer_rcpt(self, event: RcptTo) -> None:
        if not self._server.has_sender:
            return self._reply(_BAD_SEQUENCE, 503)
        if self._server.recipients >= MAX_RECIPIENTS:
            return self._reply(_TOO_MANY, 452)
        if not event.address.isascii() and "SMTPUTF8" not in self._sender_parameters:
            return self._reply(_NEEDS_SMTPUTF8, 553)
        action = self._decide(Step.RCPTTO, event.address)
        if action.accepts(Step.RCPTTO):
            self._recipients.append(event.address)
            self._recipient_parameters.append(event.parameters)
        self._perform(action, _RCPT_OK, 250)
        return None

    def _answer_data(self, _: DataRequested) -> None:
        if not self._server.recipients:
            self._reply(_NO_RECIPIENTS if self._server.has_sender else _BAD_SEQUENCE, 503)
        else:
            self._act(Step.DATA, self._recipients[0], _GO_AHEAD, 354)

    def _answer_message(self, event: MessageReceived) -> None:
        sink = self._sink
        # Empty only when a client sends BDAT without a recipient.
        action = self._decide(Step.MESSAGE, self._recipients[0] if self._recipients else "")
        if event.is_too_large:
            action = ACCEPT
        default, code = (_TOO_LARGE, 552) if event.is_too_large else (_ACCEPTED, 250)
        if not action.accepts(Step.MESSAGE):
            code = action.code
        self._ordinal += 1
        if 200 <= code < 300:
            sink.counters.messages += 1
            sink.counters.octets += event.size_bytes
        if sink.on_message is not None:
            sink.on_message(self._describe(event, code))
        self._reset_transaction()
        self._perform(action, default, code)

    def _describe(self, event: MessageReceived, code: int) -> ReceivedMessage:
        return ReceivedMessage(
            content=event.content,
            size_bytes=event.size_bytes,
            sender=self._sender,
            recipients=tuple(self._recipients),
            sender_parameters=self._sender_parameters,
            recipient_parameters=tuple(self._recipient_parameters),
            code=code,
            client=self._client,
            ehlo_name=self._ehlo_name,
            user=self._user,
            is_tls=self._is_tls,
            ordinal=self._ordinal,
        )

    def _answer_auth(self, event: AuthRequested | AuthResponse) -> None:
        """Any name and password will do; the script decides once the name is known."""
        if isinstance(event, AuthRequested):
            self._login = Login(event.mechanism) if event.mechanism in ANY_LOGIN else None
            if self._login is None:
                return self._reply(_NO_MECHANISM, 504)
            answer = event.initial_response
        else:
            answer = event.octets
            if answer is None:  # cancelled
                return self._reply(_BAD_LOGIN, 501)
        assert self._login is not None
        try:
            challenge = self._login.take(answer)
        except (ValueError, binascii.Error):
            return self._reply(_BAD_LOGIN, 501)
        if challenge is not None:
            return self._reply(f"334 {challenge}\r\n".encode("ascii"), 334)
        action = self._decide(Step.AUTH, self._login.user)
        self._user = self._login.user if action.accepts(Step.AUTH) else None
        self._perform(action, _LOGGED_IN, 235)
        return None

    def _answer_starttls(self, _: StartTlsRequested) -> None:
        if self._sink.tls is None or self._is_tls:
            return self._reply(_NOT_OFFERED, 502)
        action = self._decide(Step.STARTTLS, self._client)
        self._is_handshake_next = action.accepts(Step.STARTTLS)
        self._perform(action, _TLS_READY, 220)
        return None

    def _answer_quit(self, _: Quit) -> None:
        self._reply(_BYE, 221)
        self._close()

    def _answer_reset(self, _: Reset) -> None:
        self._reset_transaction()
        self._reply(_OK, 250)

    def _answer_noop(self, _: Noop) -> None:
        self._reply(_OK, 250)

    def _answer_chunk(self, _: ChunkReceived) -> None:
        self._reply(_NOT_OFFERED, 502)

    def _answer_unknown(self, _: Unknown) -> None:
        self._reply(_UNKNOWN, 500)

    def _answer_end(self, _: PeerClosed) -> None:
        self._close()

    # Script

    def _decide(self, step: Step, address: str) -> Action:
        sink = self._sink
        return sink.script.decide(step, address, sink.rule_counters, sink.rng)

    def _act(self, step: Step, address: str, default: bytes, code: int) -> None:
        self._perform(self._decide(step, address), default, code)

    def _perform(self, action: Action, default: bytes, code: int) -> None:
        """Do what the script says; ``default`` is the reply when it says nothing."""
        if action is ACCEPT:
            self._reply(default, code)
            return
        if action.kind is ActionKind.UNASKED:
            self._add_unasked(action, default, code)
        elif action.delay:
            self._later(action.delay, lambda: self._carry_out(action, default, code))
        else:
            self._carry_out(action, default, code)

    def _carry_out(self, action: Action, default: bytes, code: int) -> None:
        match action.kind:
            case ActionKind.STALL:
                pass  # a reply stays due, so nothing else is read
            case ActionKind.DROP:
                self._close()
            case ActionKind.RESET:
                self._reset()
            case ActionKind.ACCEPT:
                self._send(action, default, code)
            case ActionKind.GARBAGE:
                self._send(action, action.octets, _GARBAGE_SEVERITY)
            case ActionKind.TWICE:
                self._send(action, action.octets * 2, action.code)
            case _:
                self._send(action, action.octets, action.code)

    def _send(self, action: Action, octets: bytes, code: int) -> None:
        if action.trickle is None:
            self._reply(octets, code)
        else:
            self._flush()
            self._trickle(memoryview(octets), action.trickle, code)

    def _trickle(self, rest: memoryview, interval: float, code: int) -> None:
        """Send one octet; the session goes on once all are out."""
        if self._transport is None:
            return
        if rest:
            self._transport.write(bytes(rest[:1]))
            self._later(interval, lambda: self._trickle(rest[1:], interval, code))
        else:
            self._reply(b"", code)

    def _add_unasked(self, action: Action, default: bytes, code: int) -> None:
        if action.delay:
            self._unasked = asyncio.get_running_loop().call_later(action.delay, self._send_unasked, action)
            self._reply(default, code)
        else:
            self._reply(default + action.octets, code)
            if action.code == _CLOSING:
                self._close()

    def _send_unasked(self, action: Action) -> None:
        if self._transport is None or self._is_closing:
            return
        self._transport.write(action.octets)
        if action.code == _CLOSING:
            self._close()

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        """Do something after a while, then go on with the dialogue."""

        def go_on() -> None:
            call()
            self._advance()

        self._timer = asyncio.get_running_loop().call_later(delay, go_on)

    def _reply(self, octets: bytes, code: int) -> None:
        self._server.reply_octets(octets, code)
        if code == _CLOSING:
            self._close()
        elif self._is_handshake_next:
            self._is_handshake_next = False
            self._upgrade()

    # The end of a connection, and TLS

    def _close(self) -> None:
        """Close in order: what was said goes out, then FIN, then the client may close its side."""
        self._flush()
        self._is_closing = True
        if self._transport is None:
            return
        if self._transport.can_write_eof():
            # `close` with unread octets in the kernel would become a reset.
            self._transport.resume_reading()
            self._transport.write_eof()
            self._later(DROP_PATIENCE, self.abort)
        else:
            self._transport.close()

    def _reset(self) -> None:
        self._flush()
        self._is_closing = True
        if self._transport is not None:
            plain: socket.socket = self._transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _upgrade(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.pause_reading()
            task = asyncio.ensure_future(self._start_tls(self._transport))
            self._sink.tasks.add(task)
            task.add_done_callback(self._sink.tasks.discard)

    async def _start_tls(self, transport: asyncio.Transport) -> None:
        assert self._sink.tls is not None
        # From here on nothing arrives in clear; a quick client's EHLO may be there before this task is.
        self._behind_handshake = []
        try:
            encrypted = await asyncio.get_running_loop().start_tls(transport, self, self._sink.tls, server_side=True)
        except (OSError, ssl.SSLError):
            transport.abort()
            return
        self._is_tls = True
        self._ehlo_name = ""
        self._reset_transaction()
        self._transport = encrypted
        self._server.tls_established()
        for octets in self._behind_handshake:
            self._server.receive_data(octets)
        self._behind_handshake = None
        self._advance()


_ANSWERS: Final[dict[type, Callable[[SinkSession, Any], None]]] = {
    GreetingDue: SinkSession._answer_greeting,
    Ehlo: SinkSession._answer_hello,
    Helo: SinkSession._answer_hello,
    StartTlsRequested: SinkSession._answer_starttls,
    AuthRequested: SinkSession._answer_auth,
    AuthResponse: SinkSession._answer_auth,
    MailFrom: SinkSession._answer_mail,
    RcptTo: SinkSession._answer_rcpt,
    DataRequested: SinkSession._answer_data,
    ChunkReceived: SinkSession._answer_chunk,
    MessageReceived: SinkSession._answer_message,
    Reset: SinkSession._answer_reset,
    Noop: SinkSession._answer_noop,
    Quit: SinkSession._answer_quit,
    Unknown: SinkSession._answer_unknown,
    PeerClosed: SinkSession._answer_end,
}
