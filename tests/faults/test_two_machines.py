"""Two installations with a journal of their own each on one outbox, like two machines; one of them dies.

The other one gets its mail and cannot know how far that had come. So nothing is lost, and what may come twice says so.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.faults.scene import WORKERS, Scene, check
from tests.support.fleet import is_gone, kill, until
from tests.support.ports import free_port
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode

MESSAGES = 48
PREFETCH = 6
SCRIPT = "message * slow=2 250 ok"
"""The first machine alone, with its four connections, would take 24 seconds: it is not through before it is stopped."""
QUICK = {"rabbitmq-qos": str(MESSAGES), "ip-maxconnections": str(MESSAGES)}
"""The second takes everything at once."""


def second_machine(scene: Scene) -> RelayqProcess:
    """Begin one that has seen the first before."""
    folder = scene.folder / "second"
    journal = folder / "journal"
    journal.mkdir(parents=True)
    instance = next((scene.folder / "journal").glob("*.lock")).name.partition(".")[0]
    (journal / f"{instance}.strangers").touch()
    scene.www_port = free_port()
    return RelayqProcess(folder, scene.settings | QUICK | {"www-port": str(scene.www_port), "send-log-file": ""})


async def one_dies(scene: Scene) -> None:
    """With mail in hand, which it keeps until the other one is at work."""
    first, workers = scene.relayq, await scene.workers()
    await scene.more_results(1)
    for process in (first.pid, *workers):
        os.kill(process, signal.SIGSTOP)
    try:
        scene.relayq = second_machine(scene)
        await scene.until_figure("relayq_deliveries_total", lambda count: count > 0)
    finally:
        for process in (first.pid, *workers):
            kill(process)
        await asyncio.to_thread(first.kill)
    await until(lambda: all(map(is_gone, workers)), "the end of the first machine")


async def test_nothing_is_lost_and_duplicates_are_marked(rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, rabbitmq, MESSAGES, settings={"rabbitmq-qos": str(PREFETCH), "rabbitmq-minqos": "1"}, script=SCRIPT
    )
    outcome = await check(scene, "kill -9 of one of two machines", one_dies, is_logged=False, is_told_alike=False)
    marked = [
        number
        for number, results in outcome.results.items()
        if any(attempt.get("possible-duplicate") for result in results for attempt in result["results"])
    ]
    assert marked, "what the dead machine had in hand"
    assert len(marked) <= WORKERS * PREFETCH
