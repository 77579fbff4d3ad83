"""The queues as tables.

A message is one row of ``message``, written once and deleted once, and exactly one small row that says where it stands:
in ``ready``, in ``delayed`` or in ``claimed``. Moving it touches small rows only, never its body. ``rank`` is 255 minus
the priority, so the primary key of ``ready`` is the order of hand-out: higher priority first, then oldest first; a
message that is given back returns to its old place.

Every method runs inside a transaction of the caller. Statements are few and cover many rows each: the interpreter lock
is given up around every single one, and getting it back from a busy event loop takes up to five milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

MAX_ID = 2**63 - 1
CLAIM_LIMIT = 256
"""Messages claimed by one statement."""
CLAIM_BYTES = 8 * 1024 * 1024
"""A claim stops behind the message that reaches this."""
PROMOTE_LIMIT = 1000
"""Delayed messages moved by one transaction."""
OVERDUE_LIMIT = 100
"""Parking places looked at by one transaction."""
_LARGEST_CHUNK = 64


class NewMessage(NamedTuple):
    """A message to be stored; ``due_at`` in milliseconds since the epoch, ``None`` = ready at once."""

    queue: str
    rank: int
    due_at: int | None
    properties: bytes | None
    body: bytes


class ClaimedMessage(NamedTuple):
    """A message that was handed to this owner."""

    id: int
    redelivered: bool
    properties: bytes | None
    body: bytes


class QueueDepth(NamedTuple):
    """How many messages of a queue could be handed out now, have to wait for their time, or are handed out."""

    ready: int
    delayed: int
    unsettled: int


class QueueTables:
    """Statements on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def insert(self, messages: Sequence[NewMessage], now: int) -> None:
        """Store messages in the order given; those whose time has come are ready."""
        (last_id,) = self._execute(
            "SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0)"
        ).fetchone()
        contents: list[tuple[object, ...]] = []
        ready: list[tuple[object, ...]] = []
        delayed: list[tuple[object, ...]] = []
        for number, message in enumerate(messages, last_id + 1):
            queue, rank, due_at, properties, body = message
            contents.append((number, now, properties, body))
            if due_at is None or due_at <= now:
                ready.append((queue, rank, number, 0))
            else:
                delayed.append((queue, due_at, number, rank))
        self._insert_rows("INSERT INTO message VALUES ", contents)
        self._insert_rows("INSERT INTO ready VALUES ", ready)
        self._insert_rows("INSERT INTO delayed VALUES ", delayed)

    def delete(self, ids: Sequence[int]) -> None:
        """Remove claimed messages for good."""
        self._with_ids("DELETE FROM claimed WHERE id IN ", ids)
        self._with_ids("DELETE FROM message WHERE id IN ", ids)

    def release(self, ids: Sequence[int], *, redelivered: bool) -> None:
        """Put claimed messages back into their old places."""
        if redelivered:
            self._with_ids("INSERT INTO ready SELECT queue, rank, id, 1 FROM claimed WHERE id IN ", ids)
        else:
            self._with_ids("INSERT INTO ready SELECT queue, rank, id, 0 FROM claimed WHERE id IN ", ids)
        self._with_ids("DELETE FROM claimed WHERE id IN ", ids)

    def release_owner(self, owner: int) -> int:
        """Put all messages of an owner back, flagged as handed out before, and forget it; returns how many."""
        cursor = self._execute("INSERT INTO ready SELECT queue, rank, id, 1 FROM claimed WHERE owner = ?", (owner,))
        self._execute("DELETE FROM claimed WHERE owner = ?", (owner,))
        self._execute("DELETE FROM owner WHERE id = ?", (owner,))
        return cursor.rowcount

    def add_owner(self, pid: int) -> int:
        """Number of a new owner; numbers are never used twice."""
        number = self._execute("INSERT INTO owner (pid) VALUES (?)", (pid,)).lastrowid
        assert number is not None
        return number

    def owners(self) -> list[int]:
        """Numbers of all owners that were not forgotten."""
        return [number for (number,) in self._execute("SELECT id FROM owner")]

    def has_ready(self, queue: str) -> bool:
        """Whether ``claim`` would find something."""
        return self._execute("SELECT 1 FROM ready WHERE queue = ? LIMIT 1", (queue,)).fetchone() is not None

    def next_due(self, queue: str) -> int | None:
        """When the earliest delayed message of a queue is due, in milliseconds; ``None`` when there is none."""
        due_at: int | None = self._execute("SELECT min(due_at) FROM delayed WHERE queue = ?", (queue,)).fetchone()[0]
        return due_at

    def overdue_parkings(self, outbox: str, now: int) -> list[str]:
        """Parking places of an outbox with something whose time is over, at most `OVERDUE_LIMIT`."""
        found: list[str] = []
        # All names that begin with "<outbox>.park.": the slash is the character after the dot.
        name, end = f"{outbox}.park.", f"{outbox}.park/"
        while len(found) < OVERDUE_LIMIT:
            row = self._execute(
                "SELECT queue, due_at FROM delayed WHERE queue > ? AND queue < ? ORDER BY queue, due_at LIMIT 1",
                (name, end),
            ).fetchone()
            if row is None:
                break
            name = row[0]
            if row[1] <= now:
                found.append(name)
        return found

    def clock(self) -> tuple[str, int] | None:
        """Boot of the machine, and what its wall clock was ahead of its monotonic one then, in milliseconds."""
        found: tuple[str, int] | None = self._execute("SELECT boot, offset FROM clock").fetchone()
        return found

    def set_clock(self, boot: str, offset: int) -> None:
        """Remember that."""
        self._execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (boot, offset))

    def bring_forward(self, milliseconds: int) -> None:
        """Let everything that waits be due so much earlier."""
        self._execute("UPDATE delayed SET due_at = due_at - ?", (milliseconds,))

    def promote(self, queue: str, now: int, into: str | None = None) -> None:
        """Move delayed messages whose time has come to ``ready``, at most `PROMOTE_LIMIT` of them.

        Args:
            queue: Whose.
            now: In milliseconds.
            into: The queue they are ready in, ``None`` for the same.
        """
        limit = self._execute(
            "SELECT due_at, id FROM delayed WHERE queue = ? AND due_at <= ? ORDER BY due_at, id LIMIT 1 OFFSET ?",
            (queue, now, PROMOTE_LIMIT - 1),
        ).fetchone() or (now, MAX_ID)
        limits = (queue, *limit)
        self._execute(
            "INSERT INTO ready SELECT ?, rank, id, 0 FROM delayed WHERE queue = ? AND (due_at, id) <= (?, ?)",
            (into or queue, *limits),
        )
        self._execute("DELETE FROM delayed WHERE queue = ? AND (due_at, id) <= (?, ?)", limits)

    def claim(self, owner: int, queue: str, limit: int) -> tuple[list[ClaimedMessage], bool]:
        """Hand the next messages of a queue to an owner: at most ``limit``, and `CLAIM_LIMIT`, and `CLAIM_BYTES`.

        Returns:
            The messages in the order of hand-out, and whether the queue has no more of them.
        """
        limit = min(limit, CLAIM_LIMIT)
        messages: list[ClaimedMessage] = []
        rows: list[tuple[object, ...]] = []
        total = rank = 0
        cursor = self._execute(
            "SELECT ready.rank, ready.id, ready.redelivered, message.properties, message.body"
            " FROM ready JOIN message ON message.id = ready.id"
            " WHERE ready.queue = ? ORDER BY ready.rank, ready.id LIMIT ?",
            (queue, limit),
        )
        for rank, number, redelivered, properties, body in cursor:
            messages.append(ClaimedMessage(number, bool(redelivered), properties, body))
            rows.append((number, owner, queue, rank))
            total += len(body)
            if total >= CLAIM_BYTES:
                break
        cursor.close()
        if messages:
            self._insert_rows("INSERT INTO claimed VALUES ", rows)
            # What was read is the head of the queue, so one range is all of it.
            self._execute("DELETE FROM ready WHERE queue = ? AND (rank, id) <= (?, ?)", (queue, rank, messages[-1].id))
        return messages, len(messages) < limit and total < CLAIM_BYTES

    def claim_parked(self, owner: int, name: str, limit: int, outbox: str) -> tuple[list[ClaimedMessage], bool]:
        """The same for a parking place: before their time, oldest first; given back they belong to the outbox."""
        limit = min(limit, CLAIM_LIMIT)
        messages: list[ClaimedMessage] = []
        rows: list[tuple[object, ...]] = []
        total = last_due = 0
        cursor = self._execute(
            "SELECT delayed.due_at, delayed.rank, delayed.id, message.properties, message.body"
            " FROM delayed JOIN message ON message.id = delayed.id"
            " WHERE delayed.queue = ? ORDER BY delayed.due_at, delayed.id LIMIT ?",
            (name, limit),
        )
        for due_at, rank, number, properties, body in cursor:
            messages.append(ClaimedMessage(number, redelivered=False, properties=properties, body=body))
            rows.append((number, owner, outbox, rank))
            last_due = due_at
            total += len(body)
            if total >= CLAIM_BYTES:
                break
        cursor.close()
        if messages:
            self._insert_rows("INSERT INTO claimed VALUES ", rows)
            self._execute(
                "DELETE FROM delayed WHERE queue = ? AND (due_at, id) <= (?, ?)", (name, last_due, messages[-1].id)
            )
        return messages, len(messages) < limit and total < CLAIM_BYTES

    def depths(self, now: int) -> dict[str, QueueDepth]:
        """Counts of all queues that hold messages, by name."""
        counts: dict[str, list[int]] = {}
        statements = (
            (0, "SELECT queue, count(*) FROM ready GROUP BY queue", ()),
            (0, "SELECT queue, count(*) FROM delayed WHERE due_at <= ? GROUP BY queue", (now,)),
            (1, "SELECT queue, count(*) FROM delayed WHERE due_at > ? GROUP BY queue", (now,)),
            (2, "SELECT queue, count(*) FROM claimed GROUP BY queue", ()),
        )
        for column, statement, parameters in statements:
            for queue, count in self._execute(statement, parameters):
                counts.setdefault(queue, [0, 0, 0])[column] += count
        return {queue: QueueDepth(*counts[queue]) for queue in sorted(counts)}

    def _insert_rows(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert in chunks whose sizes are powers of two, so that few different statements have to be compiled."""
        if not rows:
            return
        row_marks = f"({','.join('?' * len(rows[0]))})"
        start, left = 0, len(rows)
        while left:
            size = min(_LARGEST_CHUNK, 1 << (left.bit_length() - 1))
            parameters = [value for row in rows[start : start + size] for value in row]
            self._execute(statement + ",".join([row_marks] * size), parameters)
            start += size
            left -= size

    def _with_ids(self, statement: str, ids: Sequence[int]) -> None:
        """Execute ``statement (…)`` in chunks; the last one is filled up with a repetition to a power of two."""
        for start in range(0, len(ids), _LARGEST_CHUNK):
            chunk = list(ids[start : start + _LARGEST_CHUNK])
            size = 1 << (len(chunk) - 1).bit_length()
            chunk += chunk[:1] * (size - len(chunk))
            self._execute(f"{statement}({','.join('?' * size)})", chunk)
