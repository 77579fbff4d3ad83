"""Verdicts and schedule against the tables of the specification (results.md 4, 5, 11; delivery.md 8.3, 14, 15)."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from relayq.model import DeliveryError, DeliveryState, Message, Outcome, Reply, ResultType, Scope, parse_address
from relayq.model.errors import ERROR_BY_RESULT
from relayq.model.timestamp import format_timestamp, parse_timestamp
from relayq.policy.retry import (
    DEFAULT_INTERVALS,
    VERDICTS,
    Decision,
    RetryRules,
    choose_failure,
    deadline_of,
    decide_outcome,
    has_expired,
    is_transient,
    next_attempt_at,
    was_set_back,
)

RULES = RetryRules()
STRICT = RetryRules(intro_5xx_fails=False, auth_5xx_fails=True)
NOW = datetime(2031, 3, 1, 9, 0, 4, tzinfo=UTC)
S = DeliveryState

# Spec results.md 5, one row per state: timeout, lost, invalid, error; "code" is "4xx T, 5xx F". N (the next host comes
# first) is the engine's business: here it is T or F once no host is left.
TABLE = """
amqp          F  -  F  code
storage       T  T  T  F
responsive    T  -  -  F
dns           T  -  T  F
bind          -  -  -  F
connect       T  -  -  T
intro         T  T  T  code
ehlo          T  T  T  code
helo          T  T  T  code
starttls      T  T  T  T
authplain     T  T  T  T
authlogin     T  T  T  T
authusername  T  T  T  T
authpassword  T  T  T  T
authcram      T  T  T  T
authresponse  T  T  T  T
mailfrom      T  T  T  code
rcptto        T  T  T  code
data          T  T  T  code
message       T  T  T  code
"""
COLUMNS = (ResultType.TIMEOUT, ResultType.LOST, ResultType.INVALID, ResultType.ERROR)
CELLS = {
    (DeliveryState(state), result): cell
    for state, *cells in map(str.split, TABLE.strip().splitlines())
    for result, cell in zip(COLUMNS, cells, strict=True)
    if cell != "-"
}


def failed(
    state: DeliveryState,
    result: ResultType = ResultType.ERROR,
    code: int | None = None,
    *,
    enhanced: str | None = None,
    text: bytes = b"",
    is_final: bool | None = None,
    retry_after: float | None = None,
) -> DeliveryError:
    reply = None if code is None else Reply(code, enhanced, (text,))
    kind = ERROR_BY_RESULT[result]
    return kind(state, Scope.MESSAGE, "", reply=reply, is_final=is_final, retry_after=retry_after)


def message(
    *,
    attempts: int = 0,
    max_attempts: int | None = None,
    deadline: str | None = None,
    delayed: str | None = None,
    retries: tuple[int, ...] | None = None,
) -> Message:
    return Message(
        members={},
        sender=None,
        recipient=parse_address("a@x.test"),
        attempts=attempts,
        max_attempts=max_attempts,
        deadline_at=parse_timestamp(deadline) if deadline else None,
        delayed_at=parse_timestamp(delayed) if delayed else None,
        retries=retries,
    )


def decide(error: DeliveryError | None, at: datetime = NOW, seen: datetime = NOW, **facts: object) -> Decision:
    return decide_outcome(message(**facts), error, at, seen, RULES)  # type: ignore[arg-type]


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_the_verdicts_cover_exactly_the_cells_that_can_occur() -> None:
    assert {state for state, _ in CELLS} == set(DeliveryState)
    assert set(VERDICTS) == set(CELLS)


@pytest.mark.parametrize(("state", "result"), list(CELLS), ids=str)
def test_each_cell_has_the_class_of_the_table(state: DeliveryState, result: ResultType) -> None:
    cell = CELLS[state, result]

    if cell == "code":
        assert is_transient(failed(state, result, 451), RULES)
        assert is_transient(failed(state, result, 499), RULES)
        assert not is_transient(failed(state, result, 521), RULES)
    else:
        for code in (None, 421, 554) if result is not ResultType.ERROR else (None,):
            assert is_transient(failed(state, result, code), RULES) is (cell == "T")


@pytest.mark.parametrize("state", [S.DNS, S.CONNECT, S.AMQP])
def test_a_cell_that_cannot_occur_is_a_bug_that_shows(state: DeliveryState) -> None:
    with pytest.raises(KeyError):
        is_transient(failed(state, ResultType.LOST), RULES)


def test_a_verdict_that_is_known_where_it_happened_counts() -> None:
    assert is_transient(failed(S.DNS, is_final=False), RULES)
    assert is_transient(failed(S.BIND, is_final=False), RULES)
    assert not is_transient(failed(S.CONNECT, is_final=True), RULES)
    assert is_transient(failed(S.INTRO, code=554, is_final=False), RULES)


@pytest.mark.parametrize("state", [S.INTRO, S.EHLO, S.HELO])
def test_intro_5xx_may_be_retried(state: DeliveryState) -> None:
    assert not is_transient(failed(state, code=521), RULES)
    assert is_transient(failed(state, code=521), STRICT)
    assert is_transient(failed(state, code=421), RULES)


@pytest.mark.parametrize("code", [500, 502, 550, 554])
def test_ehlo_that_is_refused_where_helo_is_not_enough_is_transient(code: int) -> None:
    assert is_transient(failed(S.EHLO, code=code), RULES)
    assert not is_transient(failed(S.HELO, code=code), RULES)
    assert not is_transient(failed(S.INTRO, code=code), RULES)


@pytest.mark.parametrize(
    "state", [S.AUTHPLAIN, S.AUTHLOGIN, S.AUTHUSERNAME, S.AUTHPASSWORD, S.AUTHCRAM, S.AUTHRESPONSE]
)
def test_auth_5xx_may_be_final(state: DeliveryState) -> None:
    assert is_transient(failed(state, code=535), RULES)
    assert not is_transient(failed(state, code=535), STRICT)
    assert is_transient(failed(state, code=454), STRICT)
    assert is_transient(failed(state), STRICT)
    assert is_transient(failed(state, ResultType.INVALID, 535), RULES)


def test_starttls_that_is_refused_is_transient_whatever_the_login_may_be() -> None:
    assert is_transient(failed(S.STARTTLS, code=554), STRICT)


@pytest.mark.parametrize("state", [S.MAILFROM, S.RCPTTO])
def test_an_international_address_without_smtputf8_is_final(state: DeliveryState) -> None:
    assert not is_transient(failed(state), RULES)


def test_a_rule_of_the_operator_is_final_unless_it_says_4xx() -> None:
    assert not is_transient(failed(S.AMQP), RULES)
    assert not is_transient(failed(S.AMQP, code=550), RULES)
    assert is_transient(failed(S.AMQP, code=451), RULES)


@pytest.mark.parametrize("state", [S.MAILFROM, S.RCPTTO, S.DATA, S.MESSAGE])
def test_421_to_a_mail_is_transient(state: DeliveryState) -> None:
    assert is_transient(failed(state, code=421), RULES)


@pytest.mark.parametrize(
    ("state", "code", "enhanced", "text", "transient"),
    [
        (S.RCPTTO, 552, "4.5.3", b"", True),
        (S.RCPTTO, 552, "4.2.2", b"", True),
        (S.RCPTTO, 552, "5.5.3", b"", True),
        (S.RCPTTO, 552, None, b"Too many recipients, try again", True),
        (S.RCPTTO, 552, "5.2.2", b"TOO MANY RECIPIENTS", True),
        (S.RCPTTO, 552, "5.2.2", b"mailbox full", False),
        (S.RCPTTO, 552, None, b"", False),
        (S.RCPTTO, 550, "4.5.3", b"too many recipients", False),
        (S.MAILFROM, 552, "4.3.4", b"too many recipients", False),
        (S.MESSAGE, 552, "5.5.3", b"", False),
        (S.RCPTTO, 451, "5.0.0", b"", True),
        (S.RCPTTO, 550, "4.7.1", b"", False),
    ],
)
def test_the_code_decides_but_for_too_many_recipients(
    state: DeliveryState, code: int, enhanced: str | None, text: bytes, transient: bool
) -> None:
    assert is_transient(failed(state, code=code, enhanced=enhanced, text=text), RULES) is transient


def test_552_on_the_second_line_is_found_as_well() -> None:
    error = failed(S.RCPTTO, code=552)
    error.reply = Reply(552, None, (b"sorry,", b"too many", b"recipients"))

    assert is_transient(error, RULES)


# --- one result out of several hosts ------------------------------------------------------------------------------


def test_the_last_transient_failure_speaks_for_all_hosts() -> None:
    final, first, last = failed(S.INTRO, code=554), failed(S.CONNECT), failed(S.INTRO, ResultType.TIMEOUT)

    assert choose_failure([final, first, last, final], RULES) is last
    assert choose_failure([first, final], RULES) is first
    assert choose_failure([first], RULES) is first


def test_without_a_transient_one_the_last_failure_speaks() -> None:
    first, last = failed(S.INTRO, code=554), failed(S.HELO, code=550)

    assert choose_failure([first, last], RULES) is last
    assert choose_failure([first, last], STRICT) is last


# --- schedule -----------------------------------------------------------------------------------------------------


def test_the_default_schedule_makes_17_attempts_in_a_day() -> None:
    start = datetime(2031, 3, 1, tzinfo=UTC)
    minutes = []
    at: datetime | None = start
    while at is not None:
        minutes.append((at - start).total_seconds() / 60)
        decision = decide(failed(S.CONNECT), at=at, seen=start, attempts=len(minutes) - 1)
        assert (decision.outcome is Outcome.RETRY) is (decision.next_at is not None)
        at = decision.next_at

    assert minutes[:8] == [0, 10, 20, 50, 80, 140, 200, 320]
    assert {later - earlier for earlier, later in itertools.pairwise(minutes[6:])} == {120}
    assert len(minutes) == 17
    assert decision == Decision(Outcome.FAILURE)


def test_the_default_list_is_that_of_the_specification() -> None:
    assert list(DEFAULT_INTERVALS) == [600, 600, 1800, 1800, 3600, 3600, 7200]
    assert RULES.intervals == DEFAULT_INTERVALS
    assert (RULES.max_delivertime, RULES.max_attempts, RULES.jitter) == (86400, 0, 0)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 60), (1, 300), (2, 3600), (3, 3600), (50, 3600)])
def test_the_messages_own_schedule_wins_and_its_last_value_repeats(attempts: int, seconds: int) -> None:
    decision = decide(failed(S.CONNECT), attempts=attempts, retries=(60, 300, 3600))

    assert decision == Decision(Outcome.RETRY, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0, "09:10:04"), (1, "09:10:05"), (500_000, "09:10:05"), (999_999, "09:10:05")]
)
def test_the_next_instant_is_rounded_up_to_a_full_second(microseconds: int, text: str) -> None:
    decision = decide(failed(S.RCPTTO, code=450), at=NOW.replace(microsecond=microseconds))

    assert decision.next_at is not None
    assert decision.next_at.microsecond == 0
    assert format_timestamp(decision.next_at) == f"2031-03-01 {text}"


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 600), (0.001, 601), (0.5, 660), (1.0, 720)])
def test_jitter_only_adds(jitter: float, seconds: int) -> None:
    rules = RetryRules(jitter=0.2)

    assert next_attempt_at(message(), failed(S.CONNECT), NOW, 1, rules, jitter) == NOW + timedelta(seconds=seconds)
    assert next_attempt_at(message(), failed(S.CONNECT), NOW, 1, RULES, jitter) == NOW + timedelta(seconds=600)


def test_a_failure_may_bring_its_own_interval_and_the_position_advances() -> None:
    storage = failed(S.STORAGE, ResultType.TIMEOUT, retry_after=120.0)

    assert decide(storage) == Decision(Outcome.RETRY, NOW + timedelta(seconds=120))
    assert decide(failed(S.CONNECT), attempts=2) == Decision(Outcome.RETRY, NOW + timedelta(seconds=1800))


@pytest.mark.parametrize("seconds", [10**12, 10**400, math.inf])
def test_an_interval_beyond_the_calendar_is_the_last_instant_there_is(seconds: float) -> None:
    rules = RetryRules(max_delivertime=0.0, jitter=0.5)
    facts = message(retries=(seconds,))  # type: ignore[arg-type]

    at = next_attempt_at(facts, failed(S.CONNECT), NOW, 1, rules, 0.5)

    assert format_timestamp(at) == "9999-12-31 23:59:59"


@pytest.mark.parametrize("second", [58, 59])
def test_at_the_end_of_the_calendar_nothing_overflows(second: int) -> None:
    end = datetime(9999, 12, 31, 23, 59, second, 500_000, tzinfo=UTC)

    at = next_attempt_at(message(retries=(1,)), failed(S.CONNECT), end, 1, RULES, 0.0)

    assert format_timestamp(at) == "9999-12-31 23:59:59"


# --- outcome ------------------------------------------------------------------------------------------------------


def test_acceptance_is_success_whatever_the_limits() -> None:
    assert decide(None, attempts=5, max_attempts=1, deadline="2031-01-01 00:00:00") == Decision(Outcome.SUCCESS)


def test_a_final_failure_is_a_failure() -> None:
    assert decide(failed(S.RCPTTO, code=550)) == Decision(Outcome.FAILURE)


@pytest.mark.parametrize(
    ("attempts", "limit", "configured", "outcome"),
    [
        (0, 1, 0, Outcome.FAILURE),  # messages.md 9: one attempt, and the peer says 451
        (0, 2, 0, Outcome.RETRY),
        (1, 2, 0, Outcome.FAILURE),  # results.md 11.12
        (2, 2, 0, Outcome.FAILURE),
        (0, None, 1, Outcome.FAILURE),
        (0, None, 2, Outcome.RETRY),
        (9, 0, 5, Outcome.RETRY),  # 0 overrides the configured limit
        (9, None, 0, Outcome.RETRY),
        (4, 20, 5, Outcome.RETRY),
    ],
)
def test_the_last_allowed_attempt_is_final(attempts: int, limit: int | None, configured: int, outcome: Outcome) -> None:
    rules = RetryRules(max_attempts=configured)
    facts = message(attempts=attempts, max_attempts=limit)

    assert decide_outcome(facts, failed(S.MESSAGE, code=451), NOW, NOW, rules).outcome is outcome


@pytest.mark.parametrize(
    ("deadline", "outcome"),
    [
        ("2031-03-01 09:10:05", Outcome.RETRY),
        ("2031-03-01 09:10:04", Outcome.FAILURE),
        ("2031-03-01 09:10:03", Outcome.FAILURE),
        ("2031-03-01 09:00:00", Outcome.FAILURE),
    ],
)
def test_a_retry_at_or_after_the_deadline_is_not_scheduled(deadline: str, outcome: Outcome) -> None:
    assert decide(failed(S.CONNECT), deadline=deadline).outcome is outcome


def test_the_deadline_is_compared_with_the_rounded_instant() -> None:
    deadline = "2031-03-01 09:10:05"

    assert decide(failed(S.CONNECT), at=NOW.replace(microsecond=1), deadline=deadline).outcome is Outcome.FAILURE


def test_without_maxdelivertime_the_day_begins_with_the_first_due_pick_up() -> None:
    assert decide(failed(S.CONNECT), seen=NOW - timedelta(seconds=85_799)).outcome is Outcome.RETRY
    assert decide(failed(S.CONNECT), seen=NOW - timedelta(seconds=85_800)).outcome is Outcome.FAILURE


def test_a_deadline_may_be_switched_off() -> None:
    rules = RetryRules(max_delivertime=0.0)

    decision = decide_outcome(message(attempts=1000), failed(S.CONNECT), NOW, NOW - timedelta(days=1000), rules)

    assert decision.outcome is Outcome.RETRY


# --- expiry at pick-up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "limit", "configured", "expired"),
    [
        (2, 2, 0, True),  # results.md 11.12, a message that arrives with two results
        (3, 2, 0, True),
        (1, 2, 0, False),
        (100, 0, 5, False),
        (5, None, 5, True),
        (4, None, 5, False),
        (4, 4, 5, True),
        (0, None, 0, False),
    ],
)
def test_attempts_that_are_used_up_end_a_message(
    attempts: int, limit: int | None, configured: int, expired: bool
) -> None:
    facts = message(attempts=attempts, max_attempts=limit)

    assert (has_expired(facts, NOW, None, RetryRules(max_attempts=configured)) is not None) is expired


@pytest.mark.parametrize(
    ("deadline", "delayed", "seen", "expired"),
    [
        ("2031-03-01 09:00:04", None, NOW, True),  # results.md 11.13: picked up at that second
        ("2031-03-01 09:00:03", None, NOW, True),
        ("2031-03-01 09:00:05", None, NOW, False),
        ("2031-03-01 10:00:00", "2031-03-01 10:00:00", None, True),  # could never be sent in time
        ("2031-03-01 10:00:00", "2031-03-01 09:59:59", None, False),
        ("2031-03-01 10:00:00", "2031-03-01 08:00:00", NOW, False),
        (None, "2041-03-01 10:00:00", None, False),  # not due yet: no deadline yet
        (None, None, NOW - timedelta(seconds=86_400), True),
        (None, None, NOW - timedelta(seconds=86_399), False),
        (None, "2031-03-02 09:00:04", NOW, True),
        (None, "2031-03-02 09:00:03", NOW, False),
        ("2031-03-05 09:00:00", None, NOW - timedelta(days=3), False),  # maxdelivertime replaces the day
    ],
)
def test_a_deadline_that_passed_or_cannot_be_met_ends_a_message(
    deadline: str | None, delayed: str | None, seen: datetime | None, expired: bool
) -> None:
    facts = message(deadline=deadline, delayed=delayed)

    assert (has_expired(facts, NOW, deadline_of(facts, seen, RULES), RULES) is not None) is expired


def test_a_deadline_comes_from_the_message_or_the_first_due_pick_up() -> None:
    assert deadline_of(message(deadline="2031-05-01 08:00:00"), NOW, RULES) == datetime(2031, 5, 1, 8, tzinfo=UTC)
    assert deadline_of(message(), NOW, RULES) == NOW + timedelta(days=1)
    assert deadline_of(message(), None, RULES) is None
    assert deadline_of(message(), NOW, RetryRules(max_delivertime=0.0)) is None


def test_a_first_pick_up_at_the_end_of_the_calendar_is_harmless() -> None:
    seen = parse_timestamp("9999-12-31 23:59:59")

    assert deadline_of(message(), seen, RULES) == seen
    assert has_expired(message(), NOW, deadline_of(message(), seen, RULES), RULES) is None
    assert decide(failed(S.CONNECT), seen=seen).outcome is Outcome.RETRY


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ('[{"time":"2031-03-01 09:01:05"}]', True),
        ('[{"time":"2031-03-01 09:01:04"}]', False),
        ('[{"time":"2031-03-02 09:00:04"},{"time":"2031-03-01 08:00:00"}]', False),
        ('[{"time":"2031-03-01 08:00:00"},{"state":"rcptto","time":"2031-03-02 09:00:04"}]', True),
        ('[{"time":"tomorrow"}]', False),
        ('[{"time":7}]', False),
        ("[]", False),
        ("{}", False),
        ('"\\ud800"', False),
    ],
)
def test_a_last_attempt_in_the_future_tells_that_the_clock_was_set_back(results: str, expected: bool) -> None:
    tried = msgspec.structs.replace(message(attempts=1), members={"results": msgspec.Raw(results.encode())})
    assert was_set_back(tried, NOW) is expected


def test_a_message_without_an_attempt_tells_nothing_of_the_clock() -> None:
    assert not was_set_back(message(), NOW)
    assert not was_set_back(message(attempts=1), NOW)
