"""Codes of our own, row by row of the table in spec results.md 9."""

from __future__ import annotations

import pytest

from relayq.model import DeliveryState, ResultType, Scope
from relayq.model.errors import ERROR_BY_RESULT
from relayq.policy.local_codes import local_code
from relayq.policy.retry import SMTP_STATES, VERDICTS

TABLE = """
amqp/invalid       -                 554 5.6.0
amqp/invalid       recipient         553 5.1.3
amqp/invalid       envelope          553 5.1.7
amqp/timeout       -                 554 4.4.7
storage/error      -                 554 5.6.0
storage/timeout    -                 451 4.3.0
storage/lost       -                 451 4.4.2
responsive/error   -                 554 5.6.5
responsive/timeout -                 451 4.6.5
dns/error          nxdomain          550 5.1.2
dns/error          noaddress         550 5.4.4
dns/error          nullmx            556 5.1.10
dns/error          loop              554 5.4.6
dns/timeout        -                 451 4.4.3
dns/invalid        -                 451 4.4.3
bind/error         -                 554 5.3.5
connect/timeout    -                 451 4.4.1
connect/error      -                 451 4.4.1
intro/timeout      -                 451 4.4.1
starttls/error     starttls-missing  451 4.7.10
starttls/error     tls-failed        451 4.7.5
starttls/error     -                 451 4.7.5
authplain/error    -                 451 4.7.8
authplain/error    auth-missing      451 4.7.8
rcptto/error       smtputf8-missing  553 5.6.7
mailfrom/error     smtputf8-missing  553 5.6.7
"""
ROWS = [tuple(row.split()) for row in TABLE.strip().splitlines()]
NAMED = {pair for pair, *_ in ROWS}
OTHERS = {
    ResultType.LOST: (451, "4.4.2"),
    ResultType.TIMEOUT: (451, "4.4.2"),
    ResultType.INVALID: (451, "4.5.0"),
}


def code_of(pair: str, cause: str | None) -> tuple[int, str]:
    state, result = pair.split("/")
    error = ERROR_BY_RESULT[ResultType(result)](DeliveryState(state), Scope.MESSAGE, "", cause=cause)
    code, status, text = local_code(error)
    assert text
    return code, status


@pytest.mark.parametrize(("pair", "cause", "code", "status"), ROWS)
def test_each_row_of_the_table(pair: str, cause: str, code: str, status: str) -> None:
    assert code_of(pair, None if cause == "-" else cause) == (int(code), status)


@pytest.mark.parametrize("state", sorted(SMTP_STATES))
@pytest.mark.parametrize("result", list(OTHERS))
def test_any_other_silence_loss_or_nonsense(state: DeliveryState, result: ResultType) -> None:
    if f"{state}/{result}" not in NAMED:
        assert code_of(f"{state}/{result}", None) == OTHERS[result]


def test_a_cause_nobody_knows_is_ignored() -> None:
    assert code_of("connect/error", "moon-phase") == (451, "4.4.1")


@pytest.mark.parametrize(("state", "result"), sorted(VERDICTS))
def test_every_pair_that_can_occur_has_a_code(state: DeliveryState, result: ResultType) -> None:
    code, status = code_of(f"{state}/{result}", None)

    assert 400 <= code <= 599
    assert status.count(".") == 2
