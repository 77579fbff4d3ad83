"""A worker is killed, another one gets its messages: what the dead one noted counts for it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from relayq.ports import OutboxItem
from tests.support.fleet import CountingSink, kill, message, opened, settings_for, until, workers_of
from tests.support.relayq_process import RelayqProcess

COUNT = 300
SLOW = "message * slow=0.05 250 ok"
"""So that some replies are always outstanding."""


async def test_what_a_dead_worker_sent_is_marked_by_the_one_that_sends_it_again(tmp_path: Path) -> None:
    results: dict[int, dict[str, Any]] = {}
    seen: Counter[int] = Counter()
    async with CountingSink(SLOW) as sink, opened(tmp_path) as broker:
        await broker.publish([message(number) for number in range(COUNT)])
        settings = settings_for(tmp_path, sink, smtp_threads=2, ip_maxconnections=8, rabbitmq_qos=100)
        settling: set[asyncio.Future[None]] = set()

        def take(item: OutboxItem) -> None:
            result = json.loads(item.body)
            results[result["id"]] = result
            seen[result["id"]] += 1
            settled = asyncio.ensure_future(broker.settle(item, ()))
            settling.add(settled)
            settled.add_done_callback(settling.discard)

        with RelayqProcess(tmp_path, settings) as relayq:
            for share in (4, 2):
                await until(lambda share=share: len(sink.messages) >= COUNT // share, "a part of the messages")  # type: ignore[misc]
                kill(workers_of(relayq.pid)[0])
            await broker.consume("results", 1000, take)
            await until(lambda: len(results) == COUNT, "all results")
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
        await until(lambda: not settling, "the end")
    twice = {recipient for recipient, count in sink.deliveries.items() if count > 1}
    marked = {
        result["recipient"] for result in results.values() if result["results"][-1].get("possible-duplicate", False)
    }
    assert twice <= marked, "a duplicate without its mark"
    assert len(marked) <= 2 * 8, "more than were in flight"
    assert set(seen.values()) == {1}
