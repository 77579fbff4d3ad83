"""kill -9 of each process of an installation, at random and more than once in a run: nothing is lost.

The seed is printed when a test fails; ``RELAYQ_FAULT_SEED`` repeats a run, as far as processes can be made to repeat
anything. `make test-faults` kills more often, and everything with both brokers.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.report import is_reporting
from tests.faults.scene import Scene, Strike, check, folders_in
from tests.support.fleet import is_gone, kill, until
from tests.support.mail_drop import MailDrop
from tests.support.servers import RabbitMqNode

MESSAGES = 400 if is_reporting() else 60
ROUNDS = 4 if is_reporting() else 1


async def kill_workers(scene: Scene) -> None:
    """One of them, again and again."""
    for _ in range(ROUNDS):
        await scene.random_moment(ROUNDS)
        kill(scene.rng.choice(await scene.workers()))
    await scene.until_figure("relayq_worker_restarts_total", lambda count: count >= ROUNDS)


async def kill_supervisors(scene: Scene) -> None:
    """Its workers end in order, and the next start goes on."""
    for _ in range(ROUNDS):
        await scene.random_moment(ROUNDS)
        workers = await scene.workers()
        await asyncio.to_thread(scene.relayq.kill)
        await until(lambda workers=workers: all(map(is_gone, workers)), "the end of the workers")  # type: ignore[misc]
        scene.start()


async def kill_again_and_again(scene: Scene, victim: RabbitMqNode | MailDrop) -> None:
    """A server beside relayq, which comes back each time."""
    for _ in range(ROUNDS):
        await scene.random_moment(ROUNDS)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)


async def kill_brokers(scene: Scene) -> None:
    """It comes back with what it had confirmed."""
    assert scene.node is not None
    await kill_again_and_again(scene, scene.node)


async def kill_receivers(scene: Scene) -> None:
    """It forgets its open transactions, and keeps what it had accepted."""
    assert scene.drop is not None
    await kill_again_and_again(scene, scene.drop)


VICTIMS: dict[str, Strike] = {
    "a worker": kill_workers,
    "the supervisor": kill_supervisors,
    "the receiving server": kill_receivers,
}
CASES = [(victim, broker) for victim in VICTIMS for broker in ("RabbitMQ", "embedded")]
ALWAYS = [("a worker", "RabbitMQ"), ("the receiving server", "embedded")]
"""What every run of the tests goes through, all at once."""


async def kill_in_a_run(victim: str, broker: str, node: RabbitMqNode, folder: Path) -> None:
    scene = Scene(
        folder, node if broker == "RabbitMQ" else None, MESSAGES, has_drop=victim == "the receiving server"
    )  # fmt: skip
    await check(scene, f"kill -9 of {victim}, {ROUNDS} times", VICTIMS[victim], is_logged=scene.drop is not None)


@pytest.mark.parametrize("cases", [[case] for case in CASES] if is_reporting() else [ALWAYS])
async def test_nothing_is_lost(cases: list[tuple[str, str]], rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    folders = folders_in(tmp_path, len(cases))
    async with asyncio.TaskGroup() as group:
        for (victim, broker), folder in zip(cases, folders, strict=True):
            group.create_task(kill_in_a_run(victim, broker, rabbitmq, folder))


@pytest.mark.skipif(not is_reporting(), reason="takes a minute: make test-faults")
async def test_nothing_is_lost_with_the_broker(own_rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    await check(Scene(tmp_path, own_rabbitmq, MESSAGES), f"kill -9 of RabbitMQ, {ROUNDS} times", kill_brokers)
