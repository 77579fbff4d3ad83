"""A broker without memory or disk space, results nobody reads, no space for queues or notes, no file descriptors.

Each run has mail before, during and after the shortage; relayq waits, says so in one clear line, and loses nothing.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from tests.faults.report import is_reporting
from tests.faults.scene import GIVE_UP_SECONDS, WORKERS, Scene, Strike, check, folders_in
from tests.support.fleet import until
from tests.support.servers import RabbitMqNode

MESSAGES = 400 if is_reporting() else 60
MESSAGES_FOR_ALARM = 400 if is_reporting() else 160
"""More, for a worker only hears of an alarm when it publishes, and from a broker that may be busy."""
PREFETCH = 20
LIMIT_OF_RESULTS = 10
FEW_FILES = 3
"""Those that are open stay open; no number below is free."""
SHORTAGE = "no connection can be opened: Too many open files"


async def memory_alarm(scene: Scene) -> None:
    """RabbitMQ says that it has no memory left."""
    await scene.more_mails(MESSAGES // 4)
    async with scene.standing_still():
        await scene.ctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        await _blocked(scene)
    finally:
        await scene.ctl("set_vm_memory_high_watermark", "absolute", "1GB")


async def disk_alarm(scene: Scene) -> None:
    """RabbitMQ says that it has no disk space left."""
    await scene.more_mails(MESSAGES // 4)
    async with scene.standing_still():
        await scene.ctl("set_disk_free_limit", "1000000000000000")
    try:
        await _blocked(scene)
    finally:
        await scene.ctl("set_disk_free_limit", "50MB")


async def _blocked(scene: Scene) -> None:
    """A worker is told when it publishes next; from then on it starts nothing new. One without mail need not know."""
    await scene.until_figure("relayq_broker_blocked", lambda count: count >= 1)
    assert (await scene.get("/health"))[0] == 200
    sent = -1
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while sent != scene.outcome.received.total():
            sent = scene.outcome.received.total()
            await asyncio.sleep(0.5)  # long enough for a dozen mails
    assert sent < scene.outcome.messages, "mail was started whose result cannot be stored"


async def results_refused(scene: Scene) -> None:
    """The queue of results is full and refuses more: every publish is answered with a nack."""
    await scene.until_figure("relayq_messages_held", lambda held: held >= 2 * PREFETCH)
    sent = scene.outcome.received.total()
    await asyncio.sleep(0.5)
    assert await scene.figure("relayq_messages_held") <= 2 * PREFETCH
    assert sent <= LIMIT_OF_RESULTS + 2 * PREFETCH, "mail goes on although its results are refused"


async def results_unread(scene: Scene) -> None:
    """Nobody reads the results until everything is sent."""
    await scene.until_figure("relayq_deliveries_total", lambda count: count == scene.outcome.messages)
    assert await scene.figure("relayq_messages_held") == 0


async def no_descriptors(scene: Scene) -> None:
    """No worker may open a file any more; later as many as before."""
    await scene.more_mails(MESSAGES // 4)
    async with scene.standing_still():
        workers = await scene.workers()
        limits = {worker: resource.prlimit(worker, resource.RLIMIT_NOFILE) for worker in workers}
        for worker, (_, hard) in limits.items():
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    await until(lambda: SHORTAGE in scene.relayq.log, "the line that tells of it")
    for worker, limit in limits.items():
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)


async def alarm(what: str, strike: Strike, node: RabbitMqNode, folder: Path) -> None:
    outcome = await check(Scene(folder, node, MESSAGES_FOR_ALARM), f"RabbitMQ is short of {what} (alarm)", strike)
    assert outcome.doubled == []
    assert "blocked" in outcome.log


async def refusal(node: RabbitMqNode, folder: Path) -> None:
    scene = Scene(folder, node, MESSAGES, settings={"rabbitmq-qos": str(PREFETCH)})
    limit = f'{{"max-length":{LIMIT_OF_RESULTS},"overflow":"reject-publish"}}'
    await scene.ctl("set_policy", "-p", scene.vhost, "limit", "^results$", limit)
    fault = f"the queue of results takes {LIMIT_OF_RESULTS} and refuses more"
    outcome = await check(scene, fault, results_refused, reads_results=False)
    assert outcome.doubled == []


async def no_reader(node: RabbitMqNode, folder: Path) -> None:
    scene = Scene(folder, node, MESSAGES)
    outcome = await check(scene, "nobody reads the results", results_unread, reads_results=False)
    assert outcome.doubled == []


async def files(node: RabbitMqNode, folder: Path) -> None:
    settings = {"connection-maxmessages": "1", "smtp-connections": "4"}
    scene = Scene(folder, node, MESSAGES, settings=settings, destinations=50)
    outcome = await check(scene, "no file may be opened any more (`RLIMIT_NOFILE`), 50 destinations", no_descriptors)
    assert outcome.doubled == []
    assert not any(len(results[0]["results"]) > 1 for results in outcome.results.values()), "attempts were used up"
    assert outcome.log.count(SHORTAGE) <= WORKERS


ALARMS: dict[str, Strike] = {"memory": memory_alarm, "disk space": disk_alarm}
CASES = {"results refused": refusal, "no reader": no_reader, "files": files}
ALWAYS = ["results refused", "files"]
"""What every run of the tests goes through, all at once."""


@pytest.mark.parametrize("what", ALARMS if is_reporting() else ["memory"])
async def test_the_broker_is_short(what: str, rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    await alarm(what, ALARMS[what], rabbitmq, tmp_path)


@pytest.mark.parametrize("cases", [[case] for case in CASES] if is_reporting() else [ALWAYS], ids=" and ".join)
async def test_nothing_is_lost(cases: list[str], rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    folders = folders_in(tmp_path, len(cases))
    async with asyncio.TaskGroup() as group:
        for case, folder in zip(cases, folders, strict=True):
            group.create_task(CASES[case](rabbitmq, folder))
