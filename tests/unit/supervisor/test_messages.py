"""Every message arrives as it was sent; failures keep what others need to know."""

from __future__ import annotations

import msgspec
import pytest

from relayq.delivery.lane import Route
from relayq.delivery.ledger import Knowledge
from relayq.model import ConnectionLost, DeliveryState, Refused, Reply, Scope
from relayq.policy.tls import SecurityLevel, TlsPolicy
from relayq.smtp import Credentials
from relayq.supervisor.desk import MarkDesk
from relayq.supervisor.messages import (
    Answer,
    Ask,
    Asked,
    Cleared,
    Failed,
    Failure,
    FromWorker,
    GaveBack,
    LogLine,
    MarkedDown,
    NewSettings,
    Question,
    Setup,
    Started,
    Status,
    Stop,
    Told,
    ToWorker,
)
from relayq.supervisor.permits import Granted, Limits, Recalled

PAIR = ("192.0.2.1", "198.51.100.1")
ROUTE = Route(None, "198.51.100.1", 25, TlsPolicy(SecurityLevel.VERIFIED, "mx.test"))
LIMITS = Limits(connections=1, pair_connections=2, workers=3)
REFUSED = Refused(DeliveryState.INTRO, Scope.HOST, "busy", reply=Reply(421, "4.7.0", (b"\xff", b"")), cause="x")
DOWN = MarkedDown(ROUTE, Failure.of(REFUSED), 3.5)
TO_WORKER = [
    Setup(1, b"\x00", LIMITS), NewSettings(b"", LIMITS), Stop(), Asked(1, b"k" * 32, True, False),
    Told(1, Knowledge.OWED), Granted(None, 3), Granted(PAIR, 1), Recalled((None, "::1"), 2), DOWN, Cleared(ROUTE),
]  # fmt: skip
FROM_WORKER = [
    Started(), Failed(78), LogLine("info", "a", "b\n", ""), Status("consuming", {"a": 1.0}, "s"), Ask(PAIR, 16),
    GaveBack(None, 1), Question(1, b"k", False, True), Answer(1, Knowledge.WAIT), DOWN, Cleared(ROUTE),
]  # fmt: skip


@pytest.mark.parametrize("message", TO_WORKER)
def test_to_a_worker(message: ToWorker) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToWorker) == message


@pytest.mark.parametrize("message", FROM_WORKER)
def test_from_a_worker(message: FromWorker) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=FromWorker) == message


def test_a_failure_is_the_same_error_again() -> None:
    for error in (REFUSED, ConnectionLost(DeliveryState.CONNECT, Scope.HOST, "lost", received=b"\x00\xff")):
        again = Failure.of(error).as_error()
        assert type(again) is type(error)
        assert Failure.of(again) == Failure.of(error)


def test_what_concerns_a_login_stays_in_the_worker() -> None:
    sent: list[FromWorker] = []
    desk = MarkDesk(sent.append)
    private = msgspec.structs.replace(ROUTE, credentials=Credentials("u", "secret"))
    desk.marked_down(private, REFUSED, 1.0)
    desk.cleared(private)
    assert sent == []
    desk.marked_down(ROUTE, REFUSED, 3.5)
    desk.cleared(ROUTE)
    assert sent == [DOWN, Cleared(ROUTE)]
