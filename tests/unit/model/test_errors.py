"""Failures as exceptions."""

from __future__ import annotations

import pytest

from relayq.model import ConnectionLost, DeliveryError, DeliveryState, Refused, ResultType, Scope, TimedOut, Unusable
from relayq.model.errors import ERROR_BY_RESULT


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (Refused, ResultType.ERROR),
        (TimedOut, ResultType.TIMEOUT),
        (ConnectionLost, ResultType.LOST),
        (Unusable, ResultType.INVALID),
    ],
)
def test_each_result_but_accepted_has_its_kind(kind: type[DeliveryError], result: ResultType) -> None:
    error = kind(DeliveryState.RCPTTO, Scope.MESSAGE, "because")

    assert error.result is result
    assert ERROR_BY_RESULT[result] is kind
    assert str(error) == f"rcptto/{result}: because"


def test_there_are_exactly_four_kinds() -> None:
    assert set(ERROR_BY_RESULT) == set(ResultType) - {ResultType.ACCEPTED}
