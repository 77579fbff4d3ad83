"""The client role: octets and calls in, events and octets out. No socket, clock, task or log.

How it is driven: write what ``data_to_send`` returns, feed ``receive_data`` with what arrives (``b""`` when the peer
has closed), handle what ``next_event`` returns until it returns ``None``, and again. ``state`` names the first
unanswered command, which picks the time limit and is what silence is blamed on. The table in ``states`` says what each
reply leads to; the moves it names are the methods below.

What it does not know: time, whether a refusal is final, which host is next, how many mails the connection has carried.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from relayq.model import DeliveryState, Reply, ResultType, describe_octets
from relayq.smtp import auth, commands
from relayq.smtp.auth import Credentials
from relayq.smtp.capabilities import NO_CAPABILITIES, Capabilities, parse_capabilities
from relayq.smtp.commands import Transaction, encode_line, encode_mail, encode_rcpt
from relayq.smtp.data import stuff_dots
from relayq.smtp.errors import LocalProtocolError, RemoteProtocolError
from relayq.smtp.events import Broken, Closed, Delivered, Event, Ready, RecipientAccepted, Refused, StartTls
from relayq.smtp.replies import ReplyParser
from relayq.smtp.states import RESTING_STATES, TABLE, Phase, Step

MAX_AUTH_LINE_OCTETS = 512
"""Longer initial responses are sent behind a 334 (RFC 4954 section 4, RFC 5321 section 4.5.3.1.4)."""
MAX_REMOTE_MTA_CHARACTERS = 255

_PARAMETER_REFUSALS = frozenset({501, 504, 555})
_WRONG_SECRET = 535
_TAKES_NO_MAIL = 521  # RFC 7504
_CLOSING = 421

_READY = Ready()
_START_TLS = StartTls()
_RECIPIENT_ACCEPTED = RecipientAccepted()


class TlsMode(enum.Enum):
    """What is asked of TLS; whether the certificate is good enough is the session's business."""

    FORBIDDEN = "forbidden"
    """Not even with credentials: for the connection that follows a failed handshake (spec delivery.md 10)."""
    NEVER = "never"
    """Not on own initiative; with credentials it is used whenever offered."""
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMMEDIATE = "immediate"
    """TLS is up before the greeting (port 465, RFC 8314)."""


class SmtpClient:
    """One SMTP session as the sending side.

    Attributes:
        capabilities: What the peer announced last.
        greeting: The reply that opened the session.
        remote_mta: First word of the greeting.
        authentication: Mechanism that succeeded, in lower case.
        positive_reply_seen: The peer has answered a command of the current transaction positively.
    """

    def __init__(
        self,
        *,
        ehlo_name: str,
        tls: TlsMode,
        credentials: Credentials | None = None,
        allow_clear_auth: bool = False,
        use_pipelining: bool = True,
        use_bdat: bool = False,
    ) -> None:
        """Start with the wait for the greeting.

        Args:
            ehlo_name: Host name or address literal we introduce ourselves with.
            tls: What is asked of TLS.
            credentials: Log in, or do not send at all; ``None`` for no login.
            allow_clear_auth: Show the password even without TLS.
            use_pipelining: Make use of PIPELINING when announced.
            use_bdat: Make use of CHUNKING when announced.

        Raises:
            LocalProtocolError: ``ehlo_name`` cannot be written into a command.
        """
        if not ehlo_name or not ehlo_name.isascii():
            raise LocalProtocolError("EHLO name is empty or not ASCII")
        self._ehlo_name = ehlo_name.encode("ascii")
        self._ehlo_line = encode_line(b"EHLO ", self._ehlo_name)
        self._tls = tls
        self._is_encrypted = tls is TlsMode.IMMEDIATE
        self._credentials = credentials
        self._allow_clear_auth = allow_clear_auth
        self._use_pipelining = use_pipelining
        self._use_bdat = use_bdat

        self.capabilities: Capabilities = NO_CAPABILITIES
        self.greeting: Reply | None = None
        self.remote_mta: str | None = None
        self.authentication: str | None = None
        self.positive_reply_seen = False

        self._phase = Phase.DIALOGUE
        self._parser = ReplyParser()
        self._awaiting: deque[_Awaited] = deque((_GREETING,))
        self._out: list[bytes] = []
        self._events: deque[Event] = deque()
        self._mechanisms: list[str] = []
        self._mechanism = ""
        self._challenge: Reply | None = None

        self._transaction: Transaction | None = None
        self._content: bytes | None = None
        self._mail_line = b""
        self._rcpt_line = b""
        self._is_plain = False
        self._is_draining = False

    @property
    def state(self) -> DeliveryState:
        """State of the first unanswered command; ``storage`` while content is due, ``mailfrom`` when idle."""
        if self._awaiting:
            return self._awaiting[0].state
        return RESTING_STATES.get(self._phase, _MAILFROM)

    @property
    def is_ready(self) -> bool:
        """Whether a transaction may begin."""
        return self._phase is _PHASE_READY

    @property
    def is_over(self) -> bool:
        """Whether the connection has to be closed: nothing is understood any more."""
        return self._phase in _ENDED

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is up."""
        return self._is_encrypted

    def receive_data(self, octets: bytes) -> None:
        """Take what arrived; ``b""`` when the peer has closed its side. Never raises for what a peer does."""
        if self.is_over:
            return
        if not octets:
            self._give_up(self.state, ResultType.LOST)
            return
        parser = self._parser
        parser.feed(octets)
        try:
            while (reply := parser.next_reply()) is not None:
                if not self._take_reply(reply):
                    return
        except RemoteProtocolError as error:
            self._give_up(self.state, ResultType.INVALID, received=error.received)
            return
        if not self._awaiting and parser.has_pending and self._phase is not Phase.CONTENT_DUE:
            self._give_up(self.state, ResultType.INVALID, received=parser.pending)

    def data_to_send(self) -> bytes:
        """Octets to write now, in one write; empty when there are none. Handed out once."""
        out = self._out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return octets

    def next_event(self) -> Event | None:
        """The next thing that happened, oldest first; ``None`` when more has to be received."""
        return self._events.popleft() if self._events else None

    def tls_established(self) -> None:
        """The handshake that :class:`StartTls` asked for is done: what was learned in clear is forgotten (RFC 3207).

        Raises:
            LocalProtocolError: No handshake was due.
        """
        if self._phase is not Phase.HANDSHAKE:
            raise LocalProtocolError("no TLS handshake is due")
        self._is_encrypted = True
        self.capabilities = NO_CAPABILITIES
        self._phase = Phase.DIALOGUE
        self._send(_EHLO, self._ehlo_line)

    def begin(self, transaction: Transaction) -> None:
        """Start a transaction.

        Raises:
            LocalProtocolError: The session is not ready, the content does not end with CRLF, or an argument holds a
                control character. Nothing has been sent then and the session is as before.
        """
        if self._phase is not _PHASE_READY:
            raise LocalProtocolError("a transaction may not begin now")
        if transaction.content is not None:
            _check_content(transaction.content)
        self.positive_reply_seen = False
        if not self.capabilities.smtputf8 and commands.needs_smtputf8(transaction):
            sender = transaction.sender
            state = _MAILFROM if sender is not None and sender.needs_smtputf8 else DeliveryState.RCPTTO
            self._events.append(Refused(state, None, "smtputf8-missing", is_usable=True))
            self._events.append(_READY)
            return
        self._is_plain = False
        self._encode_envelope(transaction, transaction.content)
        self._transaction = transaction
        self._content = transaction.content
        self._phase = _PHASE_TRANSACTION
        self._send_envelope()

    def provide_content(self, content: bytes) -> None:
        """Give the content that :class:`RecipientAccepted` asked for: final octets with CRLF line ends.

        Content larger than the peer takes is announced first: the transaction starts over with its true size, so that
        the refusal is the peer's own (spec delivery.md 12.1).

        Raises:
            LocalProtocolError: No content is due, or it does not end with CRLF.
        """
        self._check_content_is_due()
        _check_content(content)
        if self._parser.has_pending:
            self._give_up(DeliveryState.STORAGE, ResultType.INVALID, received=self._parser.pending)
            return
        self._content = content
        self._phase = _PHASE_TRANSACTION
        limit = self.capabilities.size_limit
        if limit is not None and len(content) > limit:
            self._reset()
        else:
            self._send_data()

    def abandon(self) -> None:
        """There will be no content for the accepted recipient: the peer is told to forget the mail.

        Raises:
            LocalProtocolError: No content is due.
        """
        self._check_content_is_due()
        self._phase = Phase.AFTERMATH
        self._reset()

    def quit(self) -> None:
        """Say goodbye if the session is in a place for it, else just end: nothing more is reported then."""
        if self._phase is _PHASE_READY or self._phase is Phase.REFUSED:
            self._phase = Phase.LEAVING
            self._send(_QUIT, commands.QUIT)
        elif self._phase is not Phase.LEAVING:
            self._end(Phase.OVER)

    def _take_reply(self, reply: Reply) -> bool:
        """Match a reply to the first unanswered command; false when nothing after it matters."""
        awaiting = self._awaiting
        if not awaiting:
            self._give_up(self.state, ResultType.INVALID, reply=reply)
        elif self._out and reply.code < 400:
            # Agreement to what has not been written yet is no answer: believed, it could pass for acceptance of a mail.
            self._give_up(awaiting[0].state, ResultType.INVALID, reply=reply)
        else:
            awaited = awaiting.popleft()
            if self._is_draining:
                self._drain(awaited, reply)
            else:
                awaited.moves[reply.code // 100 - 2](self, awaited, reply)
        return self._phase not in _ENDED

    def _drain(self, awaited: _Awaited, reply: Reply) -> None:
        """Read a reply that decides nothing any more (spec delivery.md 12.6)."""
        if reply.code == _CLOSING:
            self._reset_refused(awaited, reply)
        elif awaited is _DATA and reply.severity == 3:
            self._send(_CONTENT, commands.END_OF_DATA)
        elif not self._awaiting:
            self._reset()

    def _break_off(self, awaited: _Awaited, reply: Reply) -> None:
        self._give_up(awaited.state, ResultType.INVALID, reply=reply)

    def _give_up(
        self, state: DeliveryState, result: ResultType, *, received: bytes | None = None, reply: Reply | None = None
    ) -> None:
        """End a dialogue that cannot go on; blamed on a mail only if one is waiting for its outcome."""
        owes_nothing = self._phase in (Phase.READY, Phase.AFTERMATH, Phase.LEAVING)
        self._end(Phase.OVER, Closed(reply) if owes_nothing else Broken(state, result, received, reply))

    def _end(self, phase: Phase, event: Event | None = None) -> None:
        self._phase = phase
        self._awaiting.clear()
        self._out.clear()
        self._transaction = None
        self._content = None
        if event is not None:
            self._events.append(event)

    def _send(self, awaited: _Awaited, octets: bytes) -> None:
        self._awaiting.append(awaited)
        self._out.append(octets)

    def _refuse_dialogue(self, awaited: _Awaited, reply: Reply) -> None:
        phase = Phase.OVER if reply.code == _CLOSING else Phase.REFUSED
        self._end(phase, Refused(awaited.state, reply))

    def _refuse_locally(self, state: DeliveryState, cause: str) -> None:
        self._end(Phase.REFUSED, Refused(state, None, cause))

    def _say_ehlo(self, awaited: _Awaited, reply: Reply) -> None:
        self.greeting = reply
        words = describe_octets(reply.lines[0]).split(maxsplit=1)
        self.remote_mta = words[0][:MAX_REMOTE_MTA_CHARACTERS] if words else None
        self._send(_EHLO, self._ehlo_line)

    def _try_helo(self, awaited: _Awaited, reply: Reply) -> None:
        lacks_tls = self._tls is TlsMode.REQUIRED and not self._is_encrypted
        if reply.code == _TAKES_NO_MAIL or lacks_tls or self._credentials is not None:
            self._refuse_dialogue(awaited, reply)
        else:
            self._send(_HELO, encode_line(b"HELO ", self._ehlo_name))

    def _learn(self, awaited: _Awaited, reply: Reply) -> None:
        self.capabilities = parse_capabilities(reply)
        if self._is_encrypted or not self._wants_tls():
            self._log_in()
        elif self.capabilities.starttls:
            self._send(_STARTTLS, commands.STARTTLS)
        elif self._tls is TlsMode.REQUIRED:
            self._refuse_locally(DeliveryState.STARTTLS, "starttls-missing")
        else:
            self._log_in()

    def _wants_tls(self) -> bool:
        if self._tls is TlsMode.NEVER:
            return self._credentials is not None
        return self._tls is not TlsMode.FORBIDDEN

    def _hand_over_to_tls(self, awaited: _Awaited, reply: Reply) -> None:
        if self._parser.has_pending:
            # Sent in clear behind the 220: an attacker's words, meant to be taken for the server's after the handshake.
            self._give_up(DeliveryState.STARTTLS, ResultType.INVALID)
            return
        self._phase = Phase.HANDSHAKE
        self._events.append(_START_TLS)

    def _stay_clear(self, awaited: _Awaited, reply: Reply) -> None:
        if self._tls is TlsMode.REQUIRED or reply.code == _CLOSING:
            self._refuse_dialogue(awaited, reply)
        else:
            self._log_in()

    def _be_ready(self, awaited: _Awaited, reply: Reply) -> None:
        self._phase = _PHASE_READY
        self._events.append(_READY)

    def _log_in(self) -> None:
        if self._credentials is None:
            self._phase = _PHASE_READY
            self._events.append(_READY)
            return
        self._mechanisms = list(
            auth.choose_mechanisms(
                self.capabilities, is_encrypted=self._is_encrypted, allow_clear=self._allow_clear_auth
            )
        )
        if self._mechanisms:
            self._start_mechanism()
        else:
            self._refuse_locally(DeliveryState.AUTHPLAIN, "auth-missing")

    def _start_mechanism(self) -> None:
        mechanism = self._mechanisms.pop(0)
        self._mechanism = mechanism
        if mechanism == auth.CRAM_MD5:
            self._send(_CRAM_COMMAND, b"AUTH CRAM-MD5\r\n")
        elif mechanism == auth.LOGIN:
            self._send(_LOGIN_COMMAND, b"AUTH LOGIN\r\n")
        else:
            line = encode_line(b"AUTH PLAIN ", auth.encode_plain(self._login()))
            self._send(_PLAIN_COMMAND, line if len(line) <= MAX_AUTH_LINE_OCTETS else b"AUTH PLAIN\r\n")

    def _login(self) -> Credentials:
        assert self._credentials is not None  # authentication starts only with credentials
        return self._credentials

    def _answer_challenge(self, awaited: _Awaited, reply: Reply) -> None:
        response = auth.answer_challenge(self._login(), b"".join(reply.lines))
        if response is None:
            self._challenge = reply
            self._send(_CRAM_CANCEL, b"*\r\n")
        else:
            self._send(_CRAM_RESPONSE, response + b"\r\n")

    def _report_challenge(self, awaited: _Awaited, reply: Reply) -> None:
        self._give_up(DeliveryState.AUTHCRAM, ResultType.INVALID, reply=self._challenge)

    def _send_plain(self, awaited: _Awaited, reply: Reply) -> None:
        self._send(_PLAIN_RESPONSE, auth.encode_plain(self._login()) + b"\r\n")

    def _send_username(self, awaited: _Awaited, reply: Reply) -> None:
        self._send(_LOGIN_USERNAME, auth.encode_base64(self._login().username) + b"\r\n")

    def _send_password(self, awaited: _Awaited, reply: Reply) -> None:
        self._send(_LOGIN_PASSWORD, auth.encode_base64(self._login().password) + b"\r\n")

    def _next_mechanism(self, awaited: _Awaited, reply: Reply) -> None:
        if self._mechanisms:
            self._start_mechanism()
        else:
            self._refuse_dialogue(awaited, reply)

    def _next_unless_secret_wrong(self, awaited: _Awaited, reply: Reply) -> None:
        if reply.code == _WRONG_SECRET:
            # The same secret in other clothes would be refused again, and may lock the account.
            self._refuse_dialogue(awaited, reply)
        else:
            self._next_mechanism(awaited, reply)

    def _authenticated(self, awaited: _Awaited, reply: Reply) -> None:
        self.authentication = self._mechanism.lower()
        self._be_ready(awaited, reply)

    def _encode_envelope(self, transaction: Transaction, content: bytes | None) -> None:
        size = None if content is None else len(content)
        mail_line = encode_mail(transaction, self.capabilities, size, plain=self._is_plain)
        self._rcpt_line = encode_rcpt(transaction, self.capabilities, plain=self._is_plain)
        self._mail_line = mail_line

    def _send_envelope(self) -> None:
        """MAIL, and with PIPELINING all that may stand behind it in one write."""
        if not (self._use_pipelining and self.capabilities.pipelining):
            self._send(_MAIL, self._mail_line)
        elif self._content is None or self._uses_bdat():
            self._awaiting.extend(_MAIL_RCPT)
            self._out.append(self._mail_line + self._rcpt_line)
        else:
            self._awaiting.extend(_MAIL_RCPT_DATA)
            self._out.append(self._mail_line + self._rcpt_line + commands.DATA)

    def _uses_bdat(self) -> bool:
        return self._use_bdat and self.capabilities.chunking

    def _sender_accepted(self, awaited: _Awaited, reply: Reply) -> None:
        self.positive_reply_seen = True
        if not self._awaiting:
            self._send(_RCPT, self._rcpt_line)

    def _recipient_accepted(self, awaited: _Awaited, reply: Reply) -> None:
        if self._awaiting:
            return
        if self._content is None:
            self._phase = Phase.CONTENT_DUE
            self._events.append(_RECIPIENT_ACCEPTED)
        else:
            self._send_data()

    def _send_data(self) -> None:
        if self._uses_bdat():
            content = self._content
            assert content is not None  # the content is there before this is called
            self._send(_CONTENT, b"BDAT %d LAST\r\n%b" % (len(content), content))
        else:
            self._send(_DATA, commands.DATA)

    def _send_content(self, awaited: _Awaited, reply: Reply) -> None:
        assert self._content is not None  # DATA is sent only with the content at hand
        self._send(_CONTENT, stuff_dots(self._content) + commands.END_OF_DATA)

    def _delivered(self, awaited: _Awaited, reply: Reply) -> None:
        self._phase = _PHASE_READY
        self._transaction = None
        self._content = None
        self._events.append(Delivered(reply))

    def _refuse_mail(self, awaited: _Awaited, reply: Reply) -> None:
        if reply.code == _CLOSING:
            self._end(Phase.OVER, Refused(awaited.state, reply))
            return
        if not self._strip_parameters(awaited, reply):
            self._phase = Phase.AFTERMATH
            self._transaction = None
            self._content = None
            self._events.append(Refused(awaited.state, reply, is_usable=True))
        if self._awaiting:
            self._is_draining = True
        else:
            self._reset()

    def _strip_parameters(self, awaited: _Awaited, reply: Reply) -> bool:
        """Prepare to repeat the transaction without the parameters the peer choked on; false if that is no way out."""
        transaction = self._transaction
        if transaction is None or self._is_plain or reply.code not in _PARAMETER_REFUSALS:
            return False
        if awaited is _MAIL:
            self._is_plain = self._mail_line != encode_mail(transaction, self.capabilities, None, plain=True)
        elif awaited is _RCPT:
            self._is_plain = self._rcpt_line != encode_rcpt(transaction, self.capabilities, plain=True)
        return self._is_plain

    def _reset(self) -> None:
        self._is_draining = False
        self._send(_RESET, commands.RESET)

    def _after_reset(self, awaited: _Awaited, reply: Reply) -> None:
        if self._phase is Phase.AFTERMATH:
            self._be_ready(awaited, reply)
            return
        assert self._transaction is not None  # a transaction that starts over
        self._encode_envelope(self._transaction, self._content)
        self._send_envelope()

    def _reset_refused(self, awaited: _Awaited, reply: Reply) -> None:
        """The peer hangs up on us: told to the mail only if it still has no outcome."""
        owes_nothing = self._phase is Phase.AFTERMATH
        self._end(Phase.OVER, Closed(reply) if owes_nothing else Refused(awaited.state, reply))

    def _leave(self, awaited: _Awaited, reply: Reply) -> None:
        self._end(Phase.OVER, Closed(reply))

    def _check_content_is_due(self) -> None:
        if self._phase is not Phase.CONTENT_DUE:
            raise LocalProtocolError("no content is due")


def _check_content(content: bytes) -> None:
    """The final dot must stand on a line of its own."""
    if not content.endswith(b"\r\n"):
        raise LocalProtocolError("content does not end with CRLF")


_Handler: TypeAlias = Callable[[SmtpClient, "_Awaited", Reply], None]


class _Awaited(msgspec.Struct, frozen=True, eq=False):
    """A row of the table with its moves resolved to methods; compared by identity."""

    state: DeliveryState
    moves: tuple[_Handler, ...]


def _resolve(step: Step) -> _Awaited:
    row = TABLE[step]
    return _Awaited(row.state, tuple(getattr(SmtpClient, move.value) for move in row.moves))


# Resolved once: looking an enum member up costs more than parsing a reply.
_MAILFROM = DeliveryState.MAILFROM
_PHASE_READY = Phase.READY
_PHASE_TRANSACTION = Phase.TRANSACTION
_ENDED = (Phase.OVER, Phase.REFUSED)
_GREETING = _resolve(Step.GREETING)
_EHLO = _resolve(Step.EHLO)
_HELO = _resolve(Step.HELO)
_STARTTLS = _resolve(Step.STARTTLS)
_CRAM_COMMAND = _resolve(Step.CRAM_COMMAND)
_CRAM_RESPONSE = _resolve(Step.CRAM_RESPONSE)
_CRAM_CANCEL = _resolve(Step.CRAM_CANCEL)
_PLAIN_COMMAND = _resolve(Step.PLAIN_COMMAND)
_PLAIN_RESPONSE = _resolve(Step.PLAIN_RESPONSE)
_LOGIN_COMMAND = _resolve(Step.LOGIN_COMMAND)
_LOGIN_USERNAME = _resolve(Step.LOGIN_USERNAME)
_LOGIN_PASSWORD = _resolve(Step.LOGIN_PASSWORD)
_MAIL = _resolve(Step.MAIL)
_RCPT = _resolve(Step.RCPT)
_DATA = _resolve(Step.DATA)
_CONTENT = _resolve(Step.CONTENT)
_RESET = _resolve(Step.RESET)
_QUIT = _resolve(Step.QUIT)
_MAIL_RCPT: Sequence[_Awaited] = (_MAIL, _RCPT)
_MAIL_RCPT_DATA: Sequence[_Awaited] = (_MAIL, _RCPT, _DATA)
