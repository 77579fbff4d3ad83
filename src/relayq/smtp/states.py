"""The client's state machine as data: what each outstanding command's reply leads to (spec delivery.md 13).

The theory. A dialogue is a queue of commands sent but not answered; each is a :class:`Step`. Replies are matched to
steps in order (RFC 2920 section 3.1), and the first unanswered step is what a timeout or a lost connection is blamed
on. A step's row names, for each first digit of the reply, the move that follows. Moves push further steps; when the
queue is empty, the :class:`Phase` says what the session is resting in. A row never looks at the past: what depends on
it (is TLS wanted, which mechanism is next, did the reply say 421) is decided by the move. What is no reply at all
breaks the dialogue in every row.
"""

from __future__ import annotations

import enum

import msgspec

from relayq.model import DeliveryState


class Phase(enum.Enum):
    """What the session as a whole is about."""

    DIALOGUE = "dialogue"
    """Greeting to authentication."""
    HANDSHAKE = "handshake"
    """STARTTLS was answered; nothing may arrive in clear any more."""
    READY = "ready"
    """Idle: a transaction may begin, nothing may arrive."""
    TRANSACTION = "transaction"
    """A mail is on its way; its outcome has not been reported."""
    CONTENT_DUE = "content due"
    """The recipient was accepted, the content is being loaded; nothing may arrive."""
    AFTERMATH = "aftermath"
    """The mail's outcome has been reported; replies to the rest of it, or to RSET, are awaited. The next mail may have
    been sent behind RSET by then."""
    LEAVING = "leaving"
    """QUIT has been sent."""
    REFUSED = "refused"
    """The dialogue led nowhere: nothing but QUIT makes sense."""
    OVER = "over"
    """Nothing is sent or understood any more."""


class Step(enum.Enum):
    """What is waiting for a reply."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    CRAM_COMMAND = "AUTH CRAM-MD5"
    CRAM_RESPONSE = "answer to the challenge"
    CRAM_CANCEL = "* after a bad challenge"
    PLAIN_COMMAND = "AUTH PLAIN with or without the secret"
    PLAIN_RESPONSE = "secret behind a 334"
    LOGIN_COMMAND = "AUTH LOGIN"
    LOGIN_USERNAME = "user name"
    LOGIN_PASSWORD = "password"  # noqa: S105 - the name of a step
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    CONTENT = "content and final dot, or BDAT LAST"
    RCPT_REST = "RCPT TO of a mail already refused"
    DATA_REST = "DATA of a mail already refused"
    CONTENT_REST = "final dot of a mail already refused"
    RESET = "RSET"
    RESET_FIRST = "RSET in front of the next mail"
    QUIT = "QUIT"


class Move(enum.StrEnum):
    """What a reply leads to; the value is the name of the client's method."""

    BREAK = "_break_off"
    """A reply of a class that has no meaning here."""
    REFUSE_DIALOGUE = "_refuse_dialogue"
    SAY_EHLO = "_say_ehlo"
    LEARN = "_learn"
    TRY_HELO = "_try_helo"
    HANDSHAKE = "_hand_over_to_tls"
    STAY_CLEAR = "_stay_clear"
    ANSWER_CHALLENGE = "_answer_challenge"
    REPORT_CHALLENGE = "_report_challenge"
    SEND_PLAIN = "_send_plain"
    SEND_USERNAME = "_send_username"
    SEND_PASSWORD = "_send_password"  # noqa: S105 - the name of a method
    NEXT_MECHANISM = "_next_mechanism"
    NEXT_UNLESS_SECRET_WRONG = "_next_unless_secret_wrong"  # noqa: S105 - the name of a method
    AUTHENTICATED = "_authenticated"
    BE_READY = "_be_ready"
    SENDER_ACCEPTED = "_sender_accepted"
    RECIPIENT_ACCEPTED = "_recipient_accepted"
    SEND_CONTENT = "_send_content"
    DELIVERED = "_delivered"
    REFUSE_MAIL = "_refuse_mail"
    READ_REST = "_read_rest"
    END_EMPTY_DATA = "_end_empty_data"
    AFTER_RESET = "_after_reset"
    RESET_REFUSED = "_reset_refused"
    BEGIN_AFTER_RESET = "_begin_after_reset"
    LEAVE = "_leave"


class Row(msgspec.Struct, frozen=True, eq=False):
    """One line of the table; compared by identity.

    Attributes:
        state: What a result is blamed on while this step is the first unanswered one. RSET and QUIT belong to no mail;
            they are followed by ``MAIL FROM`` at best, so they are counted there.
        moves: Names of the client's methods for replies 2xx, 3xx, 4xx and 5xx, in this order; plain strings, because
            looking an attribute up by an enum's takes longer than parsing the reply.
    """

    state: DeliveryState
    moves: tuple[str, str, str, str]


def _row(state: DeliveryState, on_2xx: Move, on_3xx: Move, on_4xx: Move, on_5xx: Move) -> Row:
    return Row(state, (on_2xx.value, on_3xx.value, on_4xx.value, on_5xx.value))


TABLE: dict[Step, Row] = {
    Step.GREETING: _row(DeliveryState.INTRO, Move.SAY_EHLO, Move.BREAK, Move.REFUSE_DIALOGUE, Move.REFUSE_DIALOGUE),
    Step.EHLO: _row(DeliveryState.EHLO, Move.LEARN, Move.BREAK, Move.REFUSE_DIALOGUE, Move.TRY_HELO),
    Step.HELO: _row(DeliveryState.HELO, Move.BE_READY, Move.BREAK, Move.REFUSE_DIALOGUE, Move.REFUSE_DIALOGUE),
    Step.STARTTLS: _row(DeliveryState.STARTTLS, Move.HANDSHAKE, Move.BREAK, Move.STAY_CLEAR, Move.STAY_CLEAR),
    Step.CRAM_COMMAND: _row(
        DeliveryState.AUTHCRAM, Move.BREAK, Move.ANSWER_CHALLENGE, Move.REFUSE_DIALOGUE, Move.NEXT_MECHANISM
    ),
    Step.CRAM_RESPONSE: _row(
        DeliveryState.AUTHRESPONSE, Move.AUTHENTICATED, Move.BREAK, Move.REFUSE_DIALOGUE, Move.NEXT_MECHANISM
    ),
    Step.CRAM_CANCEL: _row(
        DeliveryState.AUTHCRAM,
        Move.REPORT_CHALLENGE,
        Move.REPORT_CHALLENGE,
        Move.REPORT_CHALLENGE,
        Move.REPORT_CHALLENGE,
    ),
    Step.PLAIN_COMMAND: _row(
        DeliveryState.AUTHPLAIN,
        Move.AUTHENTICATED,
        Move.SEND_PLAIN,
        Move.REFUSE_DIALOGUE,
        Move.NEXT_UNLESS_SECRET_WRONG,
    ),
    Step.PLAIN_RESPONSE: _row(
        DeliveryState.AUTHPLAIN, Move.AUTHENTICATED, Move.BREAK, Move.REFUSE_DIALOGUE, Move.NEXT_UNLESS_SECRET_WRONG
    ),
    Step.LOGIN_COMMAND: _row(
        DeliveryState.AUTHLOGIN, Move.BREAK, Move.SEND_USERNAME, Move.REFUSE_DIALOGUE, Move.NEXT_MECHANISM
    ),
    Step.LOGIN_USERNAME: _row(
        DeliveryState.AUTHUSERNAME, Move.BREAK, Move.SEND_PASSWORD, Move.REFUSE_DIALOGUE, Move.NEXT_UNLESS_SECRET_WRONG
    ),
    Step.LOGIN_PASSWORD: _row(
        DeliveryState.AUTHPASSWORD, Move.AUTHENTICATED, Move.BREAK, Move.REFUSE_DIALOGUE, Move.REFUSE_DIALOGUE
    ),
    Step.MAIL: _row(DeliveryState.MAILFROM, Move.SENDER_ACCEPTED, Move.BREAK, Move.REFUSE_MAIL, Move.REFUSE_MAIL),
    Step.RCPT: _row(DeliveryState.RCPTTO, Move.RECIPIENT_ACCEPTED, Move.BREAK, Move.REFUSE_MAIL, Move.REFUSE_MAIL),
    Step.DATA: _row(DeliveryState.DATA, Move.BREAK, Move.SEND_CONTENT, Move.REFUSE_MAIL, Move.REFUSE_MAIL),
    Step.CONTENT: _row(DeliveryState.MESSAGE, Move.DELIVERED, Move.BREAK, Move.REFUSE_MAIL, Move.REFUSE_MAIL),
    # Pipelining: the first refusal decided, the replies to what was sent behind it are read and ignored.
    Step.RCPT_REST: _row(DeliveryState.RCPTTO, Move.READ_REST, Move.READ_REST, Move.READ_REST, Move.READ_REST),
    Step.DATA_REST: _row(DeliveryState.DATA, Move.READ_REST, Move.END_EMPTY_DATA, Move.READ_REST, Move.READ_REST),
    Step.CONTENT_REST: _row(DeliveryState.MESSAGE, Move.READ_REST, Move.READ_REST, Move.READ_REST, Move.READ_REST),
    Step.RESET: _row(DeliveryState.MAILFROM, Move.AFTER_RESET, Move.BREAK, Move.RESET_REFUSED, Move.BREAK),
    # Until it is answered the next mail has not begun: a breach ends the session, and is nobody's result.
    Step.RESET_FIRST: _row(DeliveryState.MAILFROM, Move.BEGIN_AFTER_RESET, Move.BREAK, Move.RESET_REFUSED, Move.BREAK),
    Step.QUIT: _row(DeliveryState.MAILFROM, Move.LEAVE, Move.LEAVE, Move.LEAVE, Move.LEAVE),
}

RESTING_STATES: dict[Phase, DeliveryState] = {
    Phase.HANDSHAKE: DeliveryState.STARTTLS,
    Phase.CONTENT_DUE: DeliveryState.STORAGE,
}
"""State while nothing is unanswered; elsewhere the next thing to come is ``MAIL FROM``."""
