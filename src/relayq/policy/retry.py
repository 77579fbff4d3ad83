"""Whether an attempt was the last, and when the next one is.

Pure: facts and rules in, a decision out. The classes are the table of spec results.md 5, the schedule spec
delivery.md 15.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta

import msgspec

from relayq.model import DeliveryError, DeliveryState, Message, Outcome, Refused, Reply, ResultType
from relayq.model.timestamp import parse_timestamp

DEFAULT_INTERVALS = (600.0, 600.0, 1800.0, 1800.0, 3600.0, 3600.0, 7200.0)

CLOCK_DIFFERENCE = timedelta(seconds=60)
"""Of two clocks that are right."""

_NO_MAIL_HERE = 521  # RFC 7504
_TOO_MANY_RECIPIENTS = 552
_LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

_S = DeliveryState
_R = ResultType


class _Dated(msgspec.Struct, frozen=True):
    time: str


class Verdict(enum.Enum):
    """What a pair of state and result means (spec results.md 5)."""

    TRANSIENT = "T"
    FINAL = "F"
    BY_CODE = "by code"
    """4xx is transient, 5xx final."""


_GREETING = frozenset((_S.INTRO, _S.EHLO, _S.HELO))
_SECURING = frozenset((
    _S.STARTTLS, _S.AUTHPLAIN, _S.AUTHLOGIN, _S.AUTHUSERNAME, _S.AUTHPASSWORD, _S.AUTHCRAM, _S.AUTHRESPONSE,
))  # fmt: skip
AUTH_STATES = _SECURING - {_S.STARTTLS}
TRANSACTION_STATES = frozenset((_S.MAILFROM, _S.RCPTTO, _S.DATA, _S.MESSAGE))
SMTP_STATES = _GREETING | _SECURING | TRANSACTION_STATES

VERDICTS: dict[tuple[DeliveryState, ResultType], Verdict] = {
    (_S.AMQP, _R.TIMEOUT): Verdict.FINAL,
    (_S.AMQP, _R.INVALID): Verdict.FINAL,
    (_S.AMQP, _R.ERROR): Verdict.BY_CODE,
    (_S.STORAGE, _R.TIMEOUT): Verdict.TRANSIENT,
    (_S.STORAGE, _R.LOST): Verdict.TRANSIENT,
    (_S.STORAGE, _R.INVALID): Verdict.TRANSIENT,
    (_S.STORAGE, _R.ERROR): Verdict.FINAL,
    (_S.RESPONSIVE, _R.TIMEOUT): Verdict.TRANSIENT,
    (_S.RESPONSIVE, _R.ERROR): Verdict.FINAL,
    (_S.DNS, _R.TIMEOUT): Verdict.TRANSIENT,
    (_S.DNS, _R.INVALID): Verdict.TRANSIENT,
    (_S.DNS, _R.ERROR): Verdict.FINAL,
    (_S.BIND, _R.ERROR): Verdict.FINAL,
    (_S.CONNECT, _R.TIMEOUT): Verdict.TRANSIENT,
    (_S.CONNECT, _R.ERROR): Verdict.TRANSIENT,
    **{(state, result): Verdict.TRANSIENT for state in SMTP_STATES for result in (_R.TIMEOUT, _R.LOST, _R.INVALID)},
    **{(state, _R.ERROR): Verdict.BY_CODE for state in _GREETING | TRANSACTION_STATES},
    **{(state, _R.ERROR): Verdict.TRANSIENT for state in _SECURING},
}
"""Every cell that can occur; a pair that is missing is a bug where it was made (spec results.md 5)."""


class RetryRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the schedule (spec config.md 8.3).

    Attributes:
        intervals: Seconds after attempt 1, 2, …; the last repeats.
        max_delivertime: Seconds from the first due pick-up to giving up; 0 means no deadline.
        max_attempts: 0 means no limit.
        jitter: At most this part of the interval is added, 0 to 0.5.
        intro_5xx_fails: A 5xx in the greeting of every host is final.
        auth_5xx_fails: A refused login is final.
    """

    intervals: tuple[float, ...] = DEFAULT_INTERVALS
    max_delivertime: float = 86_400.0
    max_attempts: int = 0
    jitter: float = 0.0
    intro_5xx_fails: bool = True
    auth_5xx_fails: bool = False


class Decision(msgspec.Struct, frozen=True):
    """What follows from an attempt; ``next_at`` is an aware UTC instant on a full second, given for a retry only."""

    outcome: Outcome
    next_at: datetime | None = None


_SUCCESS = Decision(Outcome.SUCCESS)


def is_transient(error: DeliveryError, rules: RetryRules) -> bool:
    """Class T: the same message may get through later."""
    if error.is_final is not None:
        return not error.is_final
    verdict = VERDICTS[error.state, error.result]
    if verdict is not Verdict.BY_CODE:
        is_login_refused = error.state in AUTH_STATES and error.reply is not None and error.reply.severity == 5
        return verdict is Verdict.TRANSIENT and not (is_login_refused and rules.auth_5xx_fails)
    if error.reply is None:
        # SMTPUTF8 is needed and not offered, or a rule of the operator: neither will change by itself.
        return error.state in _GREETING
    if error.reply.severity == 4:
        return True
    if error.state in _GREETING:
        return not rules.intro_5xx_fails or _is_only_ehlo_refused(error.state, error.reply)
    return is_too_many_recipients(error)


def _is_only_ehlo_refused(state: DeliveryState, reply: Reply) -> bool:
    """EHLO would have been followed by HELO, had the message not needed TLS or a login; 521 means no mail at all."""
    return state is _S.EHLO and reply.code != _NO_MAIL_HERE


def is_too_many_recipients(error: DeliveryError) -> bool:
    """552 at RCPT TO that means "too many recipients": transient whatever its digit (RFC 5321 section 4.5.3.1.10)."""
    if not (isinstance(error, Refused) and error.state is _S.RCPTTO and error.reply):
        return False
    if error.reply.code != _TOO_MANY_RECIPIENTS:
        return False
    status = error.reply.enhanced_status or ""
    text = b" ".join(error.reply.lines).lower()
    return status.startswith("4.") or status == "5.5.3" or b"too many recipients" in text


def deadline_of(message: Message, seen_at: datetime | None, rules: RetryRules) -> datetime | None:
    """Instant at which to give up, ``None`` for never or not known yet (spec delivery.md 3)."""
    if message.deadline_at is not None:
        return message.deadline_at
    if rules.max_delivertime <= 0 or seen_at is None:
        return None
    return later(seen_at, rules.max_delivertime)


def was_set_back(message: Message, now: datetime) -> bool:
    """Whether the last attempt lies so far ahead that the clock must have been set back since.

    The instant of the next attempt is wrong by as much then, and the broker has kept the message for the time that was
    meant. Clocks of several machines differ by less than `CLOCK_DIFFERENCE`.
    """
    if not message.attempts or "results" not in message.members:
        return False
    try:
        last_at = parse_timestamp(msgspec.json.decode(message.members["results"], type=list[_Dated])[-1].time)
    except (msgspec.DecodeError, ValueError, IndexError):
        return False  # whatever a producer wrote there says nothing about a clock
    return last_at - now > CLOCK_DIFFERENCE


def has_expired(message: Message, now: datetime, deadline_at: datetime | None, rules: RetryRules) -> str | None:
    """Why a message may not be attempted any more, ``None`` if it may (spec messages.md 2, step 6).

    ``deadline_at`` is that of :func:`deadline_of`.
    """
    limit = rules.max_attempts if message.max_attempts is None else message.max_attempts
    if 0 < limit <= message.attempts:
        return f"{message.attempts} of {limit} attempts used up"
    if deadline_at is not None:
        if now >= deadline_at:
            return "deadline passed"
        if message.delayed_at is not None and message.delayed_at >= deadline_at:
            return "delayed until the deadline or later"
    return None


def decide_outcome(
    message: Message,
    error: DeliveryError | None,
    now: datetime,
    seen_at: datetime,
    rules: RetryRules,
    jitter: float = 0.0,
) -> Decision:
    """What the attempt that just ended means (spec results.md 4).

    Args:
        message: As it was before the attempt.
        error: What ended the attempt, ``None`` when the content was accepted.
        now: Instant of the result.
        seen_at: First due pick-up.
        rules: Settings.
        jitter: Random number from 0 to 1.
    """
    if error is None:
        return _SUCCESS
    attempts = message.attempts + 1
    limit = rules.max_attempts if message.max_attempts is None else message.max_attempts
    if not is_transient(error, rules) or 0 < limit <= attempts:
        return Decision(Outcome.FAILURE)
    next_at = next_attempt_at(message, error, now, attempts, rules, jitter)
    deadline = deadline_of(message, seen_at, rules)
    if deadline is not None and next_at >= deadline:
        return Decision(Outcome.FAILURE)
    return Decision(Outcome.RETRY, next_at)


def next_attempt_at(
    message: Message, error: DeliveryError, now: datetime, attempts: int, rules: RetryRules, jitter: float
) -> datetime:
    """Instant of the next attempt, rounded up to a full second (spec delivery.md 15)."""
    interval = error.retry_after
    if interval is None:
        schedule = rules.intervals if message.retries is None else message.retries
        interval = schedule[min(attempts, len(schedule)) - 1]
    at = later(now, interval, 1.0 + rules.jitter * jitter)
    return at if at.microsecond == 0 else later(at.replace(microsecond=0), 1.0)


def later(at: datetime, seconds: float, stretch: float = 1.0) -> datetime:
    """That much later, or the last instant JSON can name: messages bring instants and intervals of any size."""
    try:
        delay = timedelta(seconds=seconds)
        # A product of a duration and a float is calculated with fractions, which costs several times all the rest.
        return min(at + (delay if stretch == 1.0 else delay * stretch), _LAST_INSTANT)
    except OverflowError:
        return _LAST_INSTANT


def choose_failure(failures: list[DeliveryError], rules: RetryRules) -> DeliveryError:
    """The one result of an attempt in which every host failed: the last transient one, else the last.

    ``failures`` is oldest first and not empty. Source: spec delivery.md 8.3.
    """
    for failure in reversed(failures):
        if is_transient(failure, rules):
            return failure
    return failures[-1]
