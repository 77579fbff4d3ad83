"""Every pair of state and result, provoked with a real worker against a scripted server (spec results.md 5)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from relayq.adapters.memory import MemoryStore
from relayq.model import ResultType
from relayq.policy.retry import VERDICTS
from tests.support.cells import CELLS as PLAIN_CELLS
from tests.support.cells import FAILURE, NOT_REACHABLE, RETRY, SILENT, SMARTHOST_PORT, SUCCESS, Cell
from tests.support.cells_security import SECURITY_CELLS
from tests.support.engine import MIME, OUTBOX, Engine, Outcome, mail, parse_at

ORDER = ("state", "result", "time", "from", "to", "messages", "code", "status", "description")
COPIES = {
    SUCCESS: {"results": 1, "success": 1},
    FAILURE: {"results": 1, "failure": 1},
    RETRY: {OUTBOX: 1, "retry": 1},
}
RETRY_INTERVAL = 600
STORAGE_RESCHEDULE = 120
CELLS = (*PLAIN_CELLS, *SECURITY_CELLS)


def test_every_cell_of_the_policy_is_provoked_or_known_to_be_out_of_reach() -> None:
    provoked = {(cell.state, cell.result) for cell in CELLS} - {("message", ResultType.ACCEPTED)}
    assert not provoked & NOT_REACHABLE.keys()
    assert provoked | NOT_REACHABLE.keys() == VERDICTS.keys()


def test_every_cell_is_described_once() -> None:
    assert len({str(cell) for cell in CELLS}) == len(CELLS)


def expected_attempt(cell: Cell, at: str) -> dict[str, Any]:
    attempt: dict[str, Any] = {"state": str(cell.state), "result": str(cell.result), "time": at}
    if cell.connected:
        attempt |= {"from": "127.0.0.1", "to": "127.0.0.1", "messages": 1}
    members = {"code": cell.code, "status": cell.status, "description": cell.description}
    return attempt | {name: value for name, value in members.items() if value is not None}


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_cell(cell: Cell) -> None:
    store = None if cell.store is None else MemoryStore()
    if store is not None and cell.store is not None:
        cell.store(store)
    async with Engine(*cell.options, store=store) as engine:
        if cell.dns is not None:
            cell.dns(engine.resolver)
        if cell.peer == SILENT:
            await engine.serve_silence()
        elif cell.peer is not None and not isinstance(cell.peer, str):
            await engine.serve(cell.peer)
        before = datetime.now(UTC).replace(microsecond=0)
        given = mail("m1", **cell.message)
        if given.get("smarthost", {}).get("port") == SMARTHOST_PORT:
            given["smarthost"] = given["smarthost"] | {"port": engine.port}
        await engine.send(cell.body if cell.body is not None else given)
        outcome = await engine.outcome(None if cell.body is not None else "m1")
        after = datetime.now(UTC)
        attempt = outcome.last
        assert before <= parse_at(attempt["time"]) <= after
        assert attempt == expected_attempt(cell, attempt["time"])
        assert list(attempt) == [name for name in ORDER if name in attempt]
        assert outcome.queues == COPIES[cell.outcome]
        check_copies(cell, given, outcome)


def check_copies(cell: Cell, given: dict[str, Any], outcome: Outcome) -> None:
    """What is kept, what is added, in which order (spec results.md 1, 3, 7)."""
    if cell.outcome == RETRY:
        check_retry(given, outcome)
        return
    result, copy = outcome.copies["results"][-1].body, outcome.copies[cell.outcome][-1].body
    assert result == copy
    if cell.body is None:
        kept = [name for name in given if name not in ("mime", "results")]
        assert [name for name in json.loads(result) if name != "results"] == kept
        assert "mime" not in outcome.body("results")


def check_retry(given: dict[str, Any], outcome: Outcome) -> None:
    back, copy = outcome.body(OUTBOX), outcome.body("retry")
    assert list(back) == [*given, "results", "delayed", "seen"]
    assert list(copy) == [name for name in back if name != "mime"]
    mime = given.get("mime", MIME)
    assert {**copy, "mime": mime} == {"mime": mime, **back}
    due = parse_at(back["delayed"])
    interval = STORAGE_RESCHEDULE if outcome.cell == ("storage", "timeout") else RETRY_INTERVAL
    assert interval <= (due - parse_at(outcome.last["time"])).total_seconds() <= interval + 1
    assert outcome.copies[OUTBOX][-1].due_at == due
    assert outcome.copies["retry"][-1].due_at is None
