"""What becomes of the messages of one run with faults: what was received, what was published about it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from relayq.ports import Broker, Consumption, OutboxItem, Properties, Publication, QueueRole


@dataclass
class Outcome:
    """What became of the messages ``0 … messages - 1`` of one run.

    Attributes:
        messages: How many there are.
        received: How often the receiver got each message.
        results: The final results of each message.
        seconds: From the start of relayq until the last final result.
        log: What relayq said meanwhile.
    """

    messages: int
    received: Counter[int] = field(default_factory=Counter)
    results: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: float = 0.0
    log: str = ""

    @property
    def lost(self) -> list[int]:
        """Without a final result, or said to be delivered and never received, or given up."""
        return [
            number
            for number in range(self.messages)
            if not self.received[number]
            or not any(result["results"][-1]["result"] == "accepted" for result in self.results.get(number, ()))
        ]

    @property
    def doubled(self) -> list[int]:
        """Received more than once."""
        return sorted(number for number, count in self.received.items() if count > 1)

    @property
    def unexplained(self) -> list[int]:
        """Received more than once, and no attempt tells that the receiver's last word was not heard."""
        return [number for number in self.doubled if not any(map(has_doubt, self.results.get(number, ())))]

    @property
    def told_twice(self) -> list[int]:
        """With more than one final result."""
        return sorted(number for number, results in self.results.items() if len(results) > 1)


def has_doubt(result: dict[str, Any]) -> bool:
    """Whether a final result tells that the mail may have come twice."""
    return any(
        attempt.get("possible-duplicate")
        or (attempt["state"] == "message" and attempt["result"] in {"lost", "timeout"})
        for attempt in result["results"]
    )


def publication(message: dict[str, Any]) -> Publication:
    """A message for the outbox."""
    body = json.dumps(message).encode()
    return Publication(queue="outbox", body=body, properties=Properties(), role=QueueRole.OUTBOX)


class Collector:
    """Reads the queue ``results`` into an outcome: ``async with Collector(broker, outcome) as collector``."""

    def __init__(self, broker: Broker, outcome: Outcome) -> None:
        self._broker = broker
        self._outcome = outcome
        self._changed = asyncio.Event()
        self._settling: set[asyncio.Task[None]] = set()
        self._consumption: Consumption | None = None

    async def __aenter__(self) -> Self:
        self._consumption = await self._broker.consume("results", 1000, self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._settling:
            await asyncio.wait(self._settling)
        assert self._consumption is not None
        await self._consumption.cancel()

    def _take(self, item: OutboxItem) -> None:
        result = json.loads(item.body)
        known = self._outcome.results.setdefault(result["id"], [])
        if not (item.redelivered and result in known):  # the same copy again, for we had not acknowledged it
            known.append(result)
        task = asyncio.ensure_future(self._broker.settle(item, ()))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        self._changed.set()

    @property
    def count(self) -> int:
        """Messages with a final result."""
        return len(self._outcome.results)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, which may become true with every result."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def complete(self, seconds: float) -> None:
        """Wait until every message has its result, at most so long: what is missing then is in the outcome."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until(lambda: self.count >= self._outcome.messages)
