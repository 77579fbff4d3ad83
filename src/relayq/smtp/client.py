"""The client role: octets and calls in, events and octets out. No socket, clock, task or log.

How it is driven: write what ``data_to_send`` returns, feed ``receive_data`` with what arrives (``b""`` when the peer
has closed), handle what ``next_event`` returns until it returns ``None``, and again. ``state`` names the first
unanswered command, which picks the time limit and is what silence is blamed on. The table in ``states`` says what each
reply leads to; the moves it names are methods here (transactions), in ``opening`` (up to readiness) and in
``exchange`` (what holds everywhere).

What it does not know: time, whether a refusal is final, which host is next, how many mails the connection has carried.
"""

from __future__ import annotations

from collections import deque

from relayq.model import DeliveryState, Reply, ResultType
from relayq.smtp import commands
from relayq.smtp.auth import Credentials
from relayq.smtp.commands import Transaction, encode_mail, encode_rcpt
from relayq.smtp.data import stuff_dots
from relayq.smtp.errors import LocalProtocolError
from relayq.smtp.events import Closed, Delivered, Event, Ready, RecipientAccepted, Refused
from relayq.smtp.exchange import Exchange
from relayq.smtp.opening import Opening, TlsMode
from relayq.smtp.replies import CACHED_GROUP_OCTETS, agrees_to_mail
from relayq.smtp.states import TABLE, Phase, Row, Step

_PARAMETER_REFUSALS = frozenset({501, 504, 555})
_CLOSING = 421
_JOINED_OCTETS = 64 * 1024
"""Of content: up to here a copy costs less than one more piece to write."""

# Looked up once: an enum member costs more than parsing a reply.
_MAIL = TABLE[Step.MAIL]
_RCPT = TABLE[Step.RCPT]
_DATA = TABLE[Step.DATA]
_CONTENT = TABLE[Step.CONTENT]
_CONTENT_REST = TABLE[Step.CONTENT_REST]
_RESET = TABLE[Step.RESET]
_RESET_FIRST = TABLE[Step.RESET_FIRST]
_MAIL_RCPT = (_MAIL, _RCPT)
_MAIL_RCPT_DATA = (_MAIL, _RCPT, _DATA)
_REST = {_RCPT: TABLE[Step.RCPT_REST], _DATA: TABLE[Step.DATA_REST]}
_PHASE_READY = Phase.READY
_PHASE_TRANSACTION = Phase.TRANSACTION


class SmtpClient(Opening):
    """One SMTP session as the sending side.

    Attributes:
        positive_reply_seen: The peer has answered a command of the current transaction positively.
        owes_reset: Ready, but RSET has not been sent yet after a refusal: it goes out in one write with the next
            transaction, or by itself with :meth:`reset`.
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
        defers_reset: bool = False,
    ) -> None:
        """Start with the wait for the greeting.

        Args:
            ehlo_name: Host name or address literal we introduce ourselves with.
            tls: What is asked of TLS.
            credentials: Log in, or do not send at all; ``None`` for no login.
            allow_clear_auth: Show the password even without TLS.
            use_pipelining: Make use of PIPELINING when announced.
            use_bdat: Make use of CHUNKING when announced.
            defers_reset: With PIPELINING, let RSET after a refusal wait for the next transaction (RFC 2920 section 3.1
                allows it at the beginning of a group): that saves a round trip and a wakeup.

        Raises:
            LocalProtocolError: ``ehlo_name`` cannot be written into a command.
        """
        super().__init__(ehlo_name=ehlo_name, tls=tls, credentials=credentials, allow_clear_auth=allow_clear_auth)
        self._use_pipelining = use_pipelining
        self._use_bdat = use_bdat
        self._defers_reset = defers_reset
        self.owes_reset = False
        self.positive_reply_seen = False
        self._transaction: Transaction | None = None
        self._content: bytes | None = None
        self._lead = b""
        self._mail_line = b""
        self._rcpt_line = b""
        self._is_plain = False

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
            state = DeliveryState.MAILFROM if sender is not None and sender.needs_smtputf8 else DeliveryState.RCPTTO
            self._events.append(Refused(state, None, "smtputf8-missing", is_usable=True))
            self._events.append(Ready())
            return
        self._is_plain = False
        self._lead = transaction.lead
        self._encode_envelope(transaction, transaction.content)
        self._transaction = transaction
        self._content = transaction.content
        self._phase = _PHASE_TRANSACTION
        self._send_envelope()

    def receive_data(self, octets: bytes) -> None:
        """See :meth:`Exchange.receive_data`."""
        awaiting = self._awaiting
        # What nearly every server says to nearly every mail is taken as a whole, not reply by reply.
        if len(awaiting) == 3 and awaiting[0] is _MAIL and len(octets) <= CACHED_GROUP_OCTETS:
            is_nothing_else_due = not (self._out or self._parser.has_pending)
            if is_nothing_else_due and awaiting[2] is _DATA and agrees_to_mail(octets):
                awaiting.clear()
                self.positive_reply_seen = True
                self._put_content()
                return
        Exchange.receive_data(self, octets)

    def reset(self) -> None:
        """Send the RSET that is owed; the session is ready again once it is answered."""
        if self.owes_reset and self._phase is _PHASE_READY:
            self.owes_reset = False
            self._phase = Phase.AFTERMATH
            self._send(_RESET, commands.RESET)

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
        if limit is not None and len(content) > limit and not self._is_plain:
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

    def _encode_envelope(self, transaction: Transaction, content: bytes | None) -> None:
        size = None if content is None else len(self._lead) + len(content)
        mail_line = encode_mail(transaction, self.capabilities, size, plain=self._is_plain)
        self._rcpt_line = encode_rcpt(transaction, self.capabilities, plain=self._is_plain)
        self._mail_line = mail_line

    def _send_envelope(self) -> None:
        """MAIL, and with PIPELINING all that may stand behind it in one write."""
        if self.owes_reset:
            self.owes_reset = False
            self._phase = Phase.AFTERMATH
            self._send(_RESET_FIRST, commands.RESET)
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

    def _sender_accepted(self, row: Row, reply: Reply) -> None:
        self.positive_reply_seen = True
        if not self._awaiting:
            self._send(_RCPT, self._rcpt_line)

    def _recipient_accepted(self, row: Row, reply: Reply) -> None:
        if self._awaiting:
            return
        if self._content is None:
            self._phase = Phase.CONTENT_DUE
            self._events.append(RecipientAccepted())
        else:
            self._send_data()

    def _send_data(self) -> None:
        if self._uses_bdat():
            content = self._content
            assert content is not None  # the content is there before this is called
            self._send(_CONTENT, b"BDAT %d LAST\r\n" % (len(self._lead) + len(content)))
            self._out += (self._lead, content)
        else:
            self._send(_DATA, commands.DATA)

    def _send_content(self, row: Row, reply: Reply) -> None:
        self._put_content()

    def _put_content(self) -> None:
        assert self._content is not None  # DATA is sent only with the content at hand
        content = stuff_dots(self._content)
        if self._lead:
            self._send(_CONTENT, self._lead)
            self._out += (content, commands.END_OF_DATA)
        elif len(content) <= _JOINED_OCTETS:
            self._send(_CONTENT, content + commands.END_OF_DATA)
        else:
            self._send(_CONTENT, content)
            self._out.append(commands.END_OF_DATA)

    def _delivered(self, row: Row, reply: Reply) -> None:
        self._phase = _PHASE_READY
        self._transaction = None
        self._content = None
        self._events.append(Delivered(reply))

    def _refuse_mail(self, row: Row, reply: Reply) -> None:
        if reply.code == _CLOSING:
            self._end(Phase.OVER, Refused(row.state, reply))
            return
        if not self._strip_parameters(row, reply):
            self._phase = Phase.AFTERMATH
            self._transaction = None
            self._content = None
            self._events.append(Refused(row.state, reply, is_usable=True))
        if self._awaiting:
            self._awaiting = deque([_REST[row] for row in self._awaiting])
        else:
            self._reset()

    def _strip_parameters(self, row: Row, reply: Reply) -> bool:
        """Prepare to repeat the transaction without the parameters the peer choked on; false if that is no way out."""
        transaction = self._transaction
        if transaction is None or self._is_plain or reply.code not in _PARAMETER_REFUSALS:
            return False
        if row is _MAIL:
            self._is_plain = self._mail_line != encode_mail(transaction, self.capabilities, None, plain=True)
        elif row is _RCPT:
            self._is_plain = self._rcpt_line != encode_rcpt(transaction, self.capabilities, plain=True)
        return self._is_plain

    def _read_rest(self, row: Row, reply: Reply) -> None:
        """A reply that decides nothing any more (spec delivery.md 12.6)."""
        if reply.code == _CLOSING:
            self._reset_refused(row, reply)
        elif not self._awaiting:
            self._reset()

    def _end_empty_data(self, row: Row, reply: Reply) -> None:
        """The peer waits for content of a mail it refused: there is none, whatever it says to that."""
        self._send(_CONTENT_REST, commands.END_OF_DATA)

    def _reset(self) -> None:
        if (
            self._defers_reset
            and self._phase is Phase.AFTERMATH
            and self._use_pipelining
            and self.capabilities.pipelining
        ):
            self.owes_reset = True
            self._become_ready()
        else:
            self._send(_RESET, commands.RESET)

    def _begin_after_reset(self, row: Row, reply: Reply) -> None:
        self._phase = _PHASE_TRANSACTION

    def _after_reset(self, row: Row, reply: Reply) -> None:
        if self._phase is Phase.AFTERMATH:
            self._become_ready()
            return
        assert self._transaction is not None  # a transaction that starts over
        self._encode_envelope(self._transaction, self._content)
        self._send_envelope()

    def _reset_refused(self, row: Row, reply: Reply) -> None:
        """The peer hangs up on us: told to the mail only if it still has no outcome."""
        owes_nothing = self._phase is Phase.AFTERMATH
        self._end(Phase.OVER, Closed(reply) if owes_nothing else Refused(row.state, reply))

    def _end(self, phase: Phase, event: Event | None = None) -> None:
        self._transaction = None
        self._content = None
        super()._end(phase, event)

    def _check_content_is_due(self) -> None:
        if self._phase is not Phase.CONTENT_DUE:
            raise LocalProtocolError("no content is due")


def _check_content(content: bytes) -> None:
    """The final dot must stand on a line of its own."""
    if not content.endswith(b"\r\n"):
        raise LocalProtocolError("content does not end with CRLF")
