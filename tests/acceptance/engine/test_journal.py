"""What a worker makes of a message about which the journal knows something."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.journal import FileJournal
from relayq.adapters.journal.segments import Segments
from relayq.delivery.decision import Decision, encode_decision
from relayq.delivery.waiting import JOURNAL_IS_DOWN
from relayq.model import Attempt, DeliveryState, Outcome, ResultType
from relayq.ports import JournalEntry, Properties
from tests.support.engine import OUTBOX, Engine, eventually, mail
from tests.support.scripted_server import (
    Close,
    Expect,
    Send,
    Step,
    Wait,
    data,
    mailfrom,
    opening,
    quit_session,
    rcptto,
    transaction,
)

ACCEPTED = Attempt(
    state=DeliveryState.MESSAGE,
    result=ResultType.ACCEPTED,
    at=datetime(2026, 3, 1, 9, 0, 5, tzinfo=UTC),
    egress_ip="192.0.2.10",
    remote_ip="198.51.100.25",
    ordinal=1,
    code=250,
    status="2.0.0",
    description="Ok: queued",
)
REFUSED = Attempt(
    state=DeliveryState.RCPTTO, result=ResultType.ERROR, at=ACCEPTED.at, code=450, status="4.2.0", description="later"
)
DEFERRED: list[Step] = [*mailfrom(), *rcptto("450 4.2.0 later"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")]
UNKNOWN: list[Step] = [*mailfrom(), *rcptto("550 5.1.1 no"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")]
Notes = Callable[[FileJournal, JournalEntry], Any]


async def earlier(engine: Engine, message: dict[str, Any], *notes: Notes, count: int = 1) -> None:
    """A process had this message, noted something, and died; the broker hands it out again, flagged."""
    await engine.send(*[message] * count)
    journal = engine.worker._journal
    assert isinstance(journal, FileJournal)
    dead = FileJournal(journal._options, lambda *_: None)
    await dead.open()
    body = json.dumps(message, separators=(",", ":")).encode()
    for _ in range(count):
        entry = JournalEntry(hashlib.sha256(body).digest())
        for note in notes:
            note(dead, entry)
    dead._flush_lazy()
    await dead.close(is_clean=False)
    for stored in engine.broker._queues.ready(OUTBOX):
        stored.redelivered = True
    await engine.start()


def sending(journal: FileJournal, entry: JournalEntry) -> None:
    journal.note_sending(entry)


def decided(outcome: Outcome, attempt: Attempt, next_at: datetime | None = None) -> Notes:
    return lambda journal, entry: journal.note_decided(
        entry, encode_decision(Decision(outcome, attempt, attempt.at, next_at))
    )


def done(journal: FileJournal, entry: JournalEntry) -> None:
    journal.note_done(entry, is_acknowledged=True)


def engine_with(folder: Path, *options: str) -> Engine:
    return Engine(f"journal-directory={folder}", *options, is_started=False)


async def test_a_mail_that_was_perhaps_accepted_is_sent_again_and_says_so(tmp_path: Path) -> None:
    async with engine_with(tmp_path) as engine:
        await engine.serve([*opening(), *transaction(), *quit_session()])
        await earlier(engine, mail("m1"), sending)

        outcome = await engine.outcome("m1")

        assert outcome.cell == ("message", "accepted")
        assert list(outcome.last)[-1] == "possible-duplicate"
        assert outcome.last["possible-duplicate"] is True


async def test_a_failure_of_the_second_sending_says_so_too(tmp_path: Path) -> None:
    """The first may have been accepted all the same."""
    async with engine_with(tmp_path, "max-attempts=1") as engine:
        await engine.serve([*opening(), *UNKNOWN, *quit_session()])
        await earlier(engine, mail("m1"), sending)

        outcome = await engine.outcome("m1")

        assert outcome.kind == "failure"
        assert outcome.last["possible-duplicate"] is True


async def test_a_doubtful_mail_that_is_tried_again_keeps_its_mark(tmp_path: Path) -> None:
    async with engine_with(tmp_path, "retry-interval=1") as engine:
        await engine.serve([*opening(), *DEFERRED, *transaction(), *quit_session()])
        await earlier(engine, mail("m1"), sending)

        outcome = await engine.outcome("m1", attempts=2)

        assert outcome.kind == "success"
        assert [entry["possible-duplicate"] for entry in outcome.attempts] == [True, True]


async def test_a_doubtful_mail_may_be_held_instead(tmp_path: Path) -> None:
    async with engine_with(tmp_path, "rabbitmq-held=held") as engine:
        server = await engine.serve([*opening()])
        await earlier(engine, mail("m1"), sending)

        await eventually(lambda: "held" in engine.published("m1").copies, "it is held")

        held = engine.published("m1").body("held")
        assert held["possible-duplicate"] is True
        assert held["mime"] == mail("m1")["mime"]
        assert server.count == 0
        engine.may_lose = True


async def test_a_mail_with_a_known_outcome_is_not_sent_again(tmp_path: Path) -> None:
    async with engine_with(tmp_path) as engine:
        server = await engine.serve([*opening()])
        await earlier(engine, mail("m1"), sending, decided(Outcome.SUCCESS, ACCEPTED))

        outcome = await engine.outcome("m1")

        assert outcome.queues == {"results": 1, "success": 1}
        assert outcome.last == {
            "state": "message", "result": "accepted", "time": "2026-03-01 09:00:05", "from": "192.0.2.10",
            "to": "198.51.100.25", "messages": 1, "code": 250, "status": "2.0.0", "description": "Ok: queued",
        }  # fmt: skip
        assert server.count == 0


async def test_a_known_retry_is_taken_up_where_it_stood(tmp_path: Path) -> None:
    next_at = datetime(2026, 3, 1, 9, 10, 6, tzinfo=UTC)
    async with engine_with(tmp_path, "max-delivertime=0") as engine:
        await engine.serve([*opening(), *transaction(), *quit_session()])
        await earlier(engine, mail("m1"), decided(Outcome.RETRY, REFUSED, next_at))

        outcome = await engine.outcome("m1", attempts=2)

        assert outcome.kind == "success"
        assert outcome.attempts[0]["time"] == "2026-03-01 09:00:05"
        assert outcome.body("success")["delayed"] == "2026-03-01 09:10:06"


async def test_a_known_failure_is_published(tmp_path: Path) -> None:
    async with engine_with(tmp_path, "rabbitmq-dsn=reports") as engine:
        await earlier(engine, mail("m1"), decided(Outcome.FAILURE, REFUSED))

        outcome = await engine.outcome("m1")

        assert outcome.kind == "failure"
        assert outcome.last["code"] == 450
        report = engine.published().body("reports")["mime"]
        assert "Diagnostic-Code: smtp; 450 4.2.0 later" in report


async def test_what_only_lacks_its_acknowledgement_is_acknowledged(tmp_path: Path) -> None:
    async with engine_with(tmp_path) as engine:
        await earlier(engine, mail("m1"), decided(Outcome.SUCCESS, ACCEPTED), done)

        await eventually(lambda: len(engine.broker.settled) == 1, "it is acknowledged")

        assert not engine.published("m1").copies
        engine.may_lose = True


async def test_a_decision_of_an_unknown_version_is_a_doubt(tmp_path: Path) -> None:
    async with engine_with(tmp_path) as engine:
        await engine.serve([*opening(), *transaction(), *quit_session()])
        await earlier(engine, mail("m1"), lambda journal, entry: journal.note_decided(entry, b"\xff\x00?"))

        assert (await engine.outcome("m1")).last["possible-duplicate"] is True


async def test_equal_messages_are_all_sent(tmp_path: Path) -> None:
    """Three of five were noted: which ones nobody knows, so five go out, three of them with the mark."""
    async with engine_with(tmp_path) as engine:
        await engine.serve([*opening(), *transaction() * 5, *quit_session()])
        await earlier(engine, mail("m1"), sending, decided(Outcome.SUCCESS, ACCEPTED), count=3)
        await engine.send(mail("m1"), mail("m1"))

        await eventually(lambda: engine.published("m1").queues["success"] == 5, "five results")
        results = [json.loads(copy.body)["results"][-1] for copy in engine.published("m1").copies["success"]]
        assert sum(result.get("possible-duplicate", False) for result in results) == 3


async def test_a_copy_that_was_dropped_is_no_reason_to_drop_the_message_as_well(tmp_path: Path) -> None:
    """A process died between a copy and its acknowledgement; the message goes on, comes back once more, and goes on."""
    async with engine_with(tmp_path, "ip-maxconnections=1") as engine:
        go = asyncio.Event()
        await engine.serve([*opening(), *mailfrom(), Wait(go), *transaction()[len(mailfrom()) :], *transaction()])
        copies: list[bytes] = []

        def moved(journal: FileJournal, entry: JournalEntry) -> None:
            journal.note_moved(entry)
            copies.append(journal.copy_id(entry))

        engine.may_lose = True  # the copy is no message of its own
        await engine.send(mail("m0"))
        await earlier(engine, mail("m1"), moved)
        await eventually(lambda: len(engine.broker.unsettled) == 2, "one is sent, the other waits")
        await engine.send(mail("m1"), properties=Properties(copy_id=copies[0]))
        await eventually(lambda: bool(engine.broker.settled), "the copy is dropped")

        engine.broker.lose_items()
        go.set()

        assert (await engine.outcome("m0")).kind == "success"
        assert (await engine.outcome("m1")).kind == "success"


async def test_a_message_says_by_itself_that_it_is_doubtful(tmp_path: Path) -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction() * 2, *quit_session()])
        await engine.send(mail("m1", **{"possible-duplicate": True}), mail("m2", **{"possible-duplicate": 1}))

        assert (await engine.outcome("m1")).last["possible-duplicate"] is True
        assert "possible-duplicate" not in (await engine.outcome("m2")).last


@pytest.mark.parametrize("failure", ["continue", "stop"])
async def test_a_journal_that_cannot_be_written(tmp_path: Path, failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Segments, octets: bytes = b"") -> None:
        raise OSError(28, "No space left on device")

    async with engine_with(tmp_path, f"journal-failure={failure}") as engine:
        server = await engine.serve([*opening(), *transaction(), *quit_session()], strict=False)
        await engine.start()
        monkeypatch.setattr(Segments, "append", fail)
        monkeypatch.setattr(Segments, "start_next", fail)
        await engine.send(mail("m1"))
        if failure == "continue":
            assert (await engine.outcome("m1")).kind == "success"
        else:
            await engine.waiting("m1")
            assert b"Hello" not in b"".join(bytes(connection.received) for connection in server.connections)
            assert engine.observer.waits == [JOURNAL_IS_DOWN]
        assert sum("cannot be written" in event.text for event in engine.observer.warnings) == 1


@pytest.mark.parametrize("end", [Close(), Send(b"nonsense\r\n")], ids=["lost", "invalid"])
async def test_the_attempt_after_one_without_an_answer_says_so(end: Step) -> None:
    async with Engine("retry-interval=1") as engine:
        to_the_dot = [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n")]
        await engine.serve([*to_the_dot, end], [*opening(), *transaction(), *quit_session()])
        await engine.send(mail("m1"))

        outcome = await engine.outcome("m1", attempts=2)

        assert outcome.kind == "success"
        assert ["possible-duplicate" in entry for entry in outcome.attempts] == [False, True]


async def test_the_attempt_after_a_refusal_does_not(tmp_path: Path) -> None:
    async with Engine("retry-interval=1") as engine:
        to_the_dot = [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n")]
        refused = [*to_the_dot, Send(b"451 4.3.0 later\r\n"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")]
        await engine.serve([*refused, *transaction(), *quit_session()])
        await engine.send(mail("m1"))

        outcome = await engine.outcome("m1", attempts=2)

        assert ["possible-duplicate" in entry for entry in outcome.attempts] == [False, False]
