"""kill -9 of a whole installation hundreds of times in one run, at random moments of every step a message goes through.

`make test-faults LONG=200` kills so often, with each broker. A third of the messages have their content in a store, and
others are put off before or after their content, so that there is mail at every step. Nothing may be lost, and no
message may come twice without a result that says so.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.store import open_store
from relayq.config.store_address import parse_store_address
from tests.faults.report import LONG_VARIABLE, long_kills, report_kills
from tests.faults.scene import MIME, Scene, check
from tests.support.fleet import is_gone, kill, until
from tests.support.servers import RabbitMqNode

EACH = 25
"""Messages per kill."""
MOST_RESULTS = 20
"""A life ends at the latest when it brought so many results, and `LONGEST_MOMENT` behind."""
LONGEST_MOMENT = 0.2
SCRIPT = """\
rcptto u*3@* first=1 450 4.2.0 later
message u*7@* first=1 451 4.3.0 later
message * slow=0.03 250 ok
"""


async def kill_everything(scene: Scene) -> None:
    """The supervisor and its workers at once, and start again; as long as there is mail for another life."""
    for number in range(long_kills()):
        if number % 4:
            await scene.more_results(scene.rng.randrange(1, MOST_RESULTS))
        await asyncio.sleep(scene.rng.random() * LONGEST_MOMENT)
        workers = await scene.workers()
        kill(scene.relayq.pid)
        for worker in workers:
            if not is_gone(worker):
                kill(worker)
        await asyncio.to_thread(scene.relayq.kill)
        await until(lambda workers=workers: all(map(is_gone, workers)), "the end of the workers")  # type: ignore[misc]
        scene.start()
        assert scene.collector.count < scene.outcome.messages, f"no mail was left after {number + 1} kills"
    while scene.collector.count < scene.outcome.messages:
        await scene.more_results(1)  # for as long as it goes on


async def kill_loop(node: RabbitMqNode | None, folder: Path) -> None:
    address = f"directory://{folder}/store"
    (folder / "store").mkdir()
    messages = EACH * long_kills()
    store = open_store(parse_store_address(address))
    for number in range(0, messages, 3):
        await store.save(f"key-{number}", MIME.encode(), datetime.now(UTC) + timedelta(hours=6))
    await store.close()

    def stored(number: int) -> dict[str, Any]:
        return {} if number % 3 else {"mime": None, "key": f"key-{number}"}

    scene = Scene(folder, node, messages, script=SCRIPT, settings={"storage-address": address})
    scene.extra = stored
    fault = f"kill -9 of supervisor and workers, {long_kills()} times"
    await check(scene, fault, kill_everything, is_logged=False, report=report_kills)


@pytest.mark.skipif(not long_kills(), reason=f"takes minutes: make test-faults LONG=200, which sets {LONG_VARIABLE}")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("broker", ["RabbitMQ", "embedded"])
async def test_nothing_is_lost(broker: str, rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    await kill_loop(rabbitmq if broker == "RabbitMQ" else None, tmp_path)
