"""From the greeting to the first transaction: EHLO or HELO, STARTTLS, authentication (spec delivery.md 10, 11, 13)."""

from __future__ import annotations

import enum

from relayq.model import DeliveryState, Reply, ResultType, describe_octets
from relayq.smtp import auth, commands
from relayq.smtp.auth import Credentials
from relayq.smtp.capabilities import NO_CAPABILITIES, Capabilities, parse_capabilities
from relayq.smtp.commands import encode_line
from relayq.smtp.errors import LocalProtocolError
from relayq.smtp.events import Refused, StartTls
from relayq.smtp.exchange import Exchange
from relayq.smtp.states import TABLE, Phase, Row, Step

MAX_AUTH_LINE_OCTETS = 512
"""Longer initial responses are sent behind a 334 (RFC 4954 section 4, RFC 5321 section 4.5.3.1.4)."""
MAX_REMOTE_MTA_CHARACTERS = 255

_WRONG_SECRET = 535
_TAKES_NO_MAIL = 521  # RFC 7504
_CLOSING = 421

_EHLO = TABLE[Step.EHLO]
_HELO = TABLE[Step.HELO]
_STARTTLS = TABLE[Step.STARTTLS]
_CRAM_COMMAND = TABLE[Step.CRAM_COMMAND]
_CRAM_RESPONSE = TABLE[Step.CRAM_RESPONSE]
_CRAM_CANCEL = TABLE[Step.CRAM_CANCEL]
_PLAIN_COMMAND = TABLE[Step.PLAIN_COMMAND]
_PLAIN_RESPONSE = TABLE[Step.PLAIN_RESPONSE]
_LOGIN_COMMAND = TABLE[Step.LOGIN_COMMAND]
_LOGIN_USERNAME = TABLE[Step.LOGIN_USERNAME]
_LOGIN_PASSWORD = TABLE[Step.LOGIN_PASSWORD]


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


class Opening(Exchange):
    """The part of a session in which no mail is concerned.

    Attributes:
        capabilities: What the peer announced last.
        greeting: The reply that opened the session.
        remote_mta: First word of the greeting.
        authentication: Mechanism that succeeded, in lower case.
    """

    def __init__(
        self, *, ehlo_name: str, tls: TlsMode, credentials: Credentials | None, allow_clear_auth: bool
    ) -> None:
        super().__init__()
        if not ehlo_name or not ehlo_name.isascii():
            raise LocalProtocolError("EHLO name is empty or not ASCII")
        self._ehlo_name = ehlo_name.encode("ascii")
        self._ehlo_line = encode_line(b"EHLO ", self._ehlo_name)
        self._tls = tls
        self._is_encrypted = tls is TlsMode.IMMEDIATE
        self._credentials = credentials
        self._allow_clear_auth = allow_clear_auth
        self._mechanisms: list[str] = []
        self._mechanism = ""
        self._challenge: Reply | None = None

        self.capabilities: Capabilities = NO_CAPABILITIES
        self.greeting: Reply | None = None
        self.remote_mta: str | None = None
        self.authentication: str | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is up."""
        return self._is_encrypted

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

    def _refuse_dialogue(self, row: Row, reply: Reply) -> None:
        phase = Phase.OVER if reply.code == _CLOSING else Phase.REFUSED
        self._end(phase, Refused(row.state, reply))

    def _refuse_locally(self, state: DeliveryState, cause: str) -> None:
        self._end(Phase.REFUSED, Refused(state, None, cause))

    def _say_ehlo(self, row: Row, reply: Reply) -> None:
        self.greeting = reply
        words = describe_octets(reply.lines[0]).split(maxsplit=1)
        self.remote_mta = words[0][:MAX_REMOTE_MTA_CHARACTERS] if words else None
        self._send(_EHLO, self._ehlo_line)

    def _try_helo(self, row: Row, reply: Reply) -> None:
        lacks_tls = self._tls is TlsMode.REQUIRED and not self._is_encrypted
        if reply.code == _TAKES_NO_MAIL or lacks_tls or self._credentials is not None:
            self._refuse_dialogue(row, reply)
        else:
            self._send(_HELO, encode_line(b"HELO ", self._ehlo_name))

    def _learn(self, row: Row, reply: Reply) -> None:
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

    def _hand_over_to_tls(self, row: Row, reply: Reply) -> None:
        self._phase = Phase.HANDSHAKE
        # Anything behind the 220 was sent in clear: an attacker's words, meant to be taken for the server's after the
        # handshake. Whoever reads on finds it with nothing awaited, and breaks off (CVE-2011-0411 and its kin).
        if not self._parser.has_pending:
            self._events.append(StartTls())

    def _stay_clear(self, row: Row, reply: Reply) -> None:
        if self._tls is TlsMode.REQUIRED or reply.code == _CLOSING:
            self._refuse_dialogue(row, reply)
        else:
            self._log_in()

    def _log_in(self) -> None:
        if self._credentials is None:
            self._become_ready()
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

    def _answer_challenge(self, row: Row, reply: Reply) -> None:
        response = auth.answer_challenge(self._login(), b"".join(reply.lines))
        if response is None:
            self._challenge = reply
            self._send(_CRAM_CANCEL, b"*\r\n")
        else:
            self._send(_CRAM_RESPONSE, response + b"\r\n")

    def _report_challenge(self, row: Row, reply: Reply) -> None:
        self._give_up(row.state, ResultType.INVALID)

    def _give_up(
        self, state: DeliveryState, result: ResultType, *, received: bytes | None = None, reply: Reply | None = None
    ) -> None:
        if self._challenge is not None:
            # However the peer takes our ``*``: the challenge was what broke the dialogue.
            result, received, reply = ResultType.INVALID, None, self._challenge
        super()._give_up(state, result, received=received, reply=reply)

    def _send_plain(self, row: Row, reply: Reply) -> None:
        self._send(_PLAIN_RESPONSE, auth.encode_plain(self._login()) + b"\r\n")

    def _send_username(self, row: Row, reply: Reply) -> None:
        self._send(_LOGIN_USERNAME, auth.encode_secret(self._login().username) + b"\r\n")

    def _send_password(self, row: Row, reply: Reply) -> None:
        self._send(_LOGIN_PASSWORD, auth.encode_secret(self._login().password) + b"\r\n")

    def _next_mechanism(self, row: Row, reply: Reply) -> None:
        if self._mechanisms:
            self._start_mechanism()
        else:
            self._refuse_dialogue(row, reply)

    def _next_unless_secret_wrong(self, row: Row, reply: Reply) -> None:
        if reply.code == _WRONG_SECRET:
            # The same secret in other clothes would be refused again, and may lock the account.
            self._refuse_dialogue(row, reply)
        else:
            self._next_mechanism(row, reply)

    def _authenticated(self, row: Row, reply: Reply) -> None:
        self.authentication = self._mechanism.lower()
        self._become_ready()
