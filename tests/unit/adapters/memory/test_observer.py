from __future__ import annotations

from relayq.adapters.memory import (
    AttemptFinished,
    ManualClock,
    RecordingObserver,
    SessionClosed,
    SessionOpened,
    Warned,
)
from relayq.model import Attempt, DeliveryState, Outcome, ResultType
from relayq.ports import Observer


def test_keeps_everything_in_order() -> None:
    observer = RecordingObserver()
    port: Observer = observer
    attempt = Attempt(state=DeliveryState.MESSAGE, result=ResultType.ACCEPTED, at=ManualClock().now())
    error = RuntimeError("boom")
    port.session_opened("r", 0.2)
    port.attempt_finished(None, attempt, Outcome.SUCCESS, None, 0.5)
    port.message_waits("no permit")
    port.session_closed("r", 1)
    port.warn("broker", "slow")
    port.crash("pipeline", error)
    assert observer.events[0] == SessionOpened("r", 0.2)
    assert observer.attempts == [AttemptFinished(None, attempt, Outcome.SUCCESS, None, 0.5)]
    assert observer.waits == ["no permit"]
    assert observer.all_of(SessionClosed) == [SessionClosed("r", 1)]
    assert observer.warnings == [Warned("broker", "slow")]
    assert [crash.error for crash in observer.crashes] == [error]
    assert len(observer.events) == 6
