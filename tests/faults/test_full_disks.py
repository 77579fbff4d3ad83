"""No space for the queues of the embedded broker, or for the notes of the journal.

A small file system is filled. Where none may be mounted, the workers may not make files any larger (``RLIMIT_FSIZE``):
the same calls fail, with another number. `make test-faults` does both.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.report import is_reporting
from tests.faults.scene import Scene, check, folders_in
from tests.support.disk import Disk, small_disk
from tests.support.fleet import until

MESSAGES = 400 if is_reporting() else 60
OBSERVED = 0.5
"""Seconds of a full disk: a dozen mails, were they sent."""
DISK = "48m"
"""Three times what the log of SQLite takes before it is written into the file."""
NO_SPACE = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def file_limit(scene: Scene) -> AsyncIterator[None]:
    """Nothing the workers write may lie behind the first octet of a file."""
    workers = await scene.workers()
    limits = {worker: resource.prlimit(worker, resource.RLIMIT_FSIZE) for worker in workers}
    for worker, (_, hard) in limits.items():
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        for worker, limit in limits.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(worker, resource.RLIMIT_FSIZE, limit)


def full(disk: Disk) -> NO_SPACE:
    @asynccontextmanager
    async def filled(scene: Scene) -> AsyncIterator[None]:
        async with scene.standing_still():
            await asyncio.to_thread(disk.fill)
        try:
            yield
        finally:
            disk.free()

    return filled


async def no_space_for_queues(folder: Path, no_space: NO_SPACE, place: Path, how: str) -> None:
    async def strike(scene: Scene) -> None:
        await scene.more_mails(MESSAGES // 4)
        async with no_space(scene):
            await scene.until_figure("relayq_broker_blocked", lambda count: count >= 1)
            assert (await scene.get("/health"))[0] == 200
            await asyncio.sleep(OBSERVED)
            assert scene.outcome.received.total() < MESSAGES, "mail was started whose result cannot be stored"

    scene = Scene(folder, None, MESSAGES, queue_file=place / "queues.db")
    outcome = await check(scene, f"no space for the queues ({how})", strike, is_logged=no_space is not file_limit)
    assert outcome.doubled == []
    assert "the embedded broker cannot write" in outcome.log


async def no_space_for_notes(folder: Path, no_space: NO_SPACE, place: Path, how: str) -> None:
    async def strike(scene: Scene) -> None:
        await scene.more_mails(MESSAGES // 4)
        async with no_space(scene):
            await until(lambda: "cannot be written" in scene.relayq.log, "the line that tells of it")

    settings = {"journal-directory": str(place / "journal")}
    scene = Scene(folder, None, MESSAGES, settings=settings)
    outcome = await check(
        scene, f"no space for the journal ({how})", strike, is_logged=no_space is not file_limit
    )  # fmt: skip
    assert outcome.doubled == []
    assert outcome.log.count("cannot be written") <= 2, "once for each worker"


@pytest.mark.parametrize("way", ["a full disk", "a limit of file sizes"] if is_reporting() else ["a full disk"])
async def test_nothing_is_lost(way: str, tmp_path: Path) -> None:
    first, second = folders_in(tmp_path, 2)
    with small_disk(tmp_path / "one", DISK) as one, small_disk(tmp_path / "two", DISK) as two:
        is_mounted = one is not None and two is not None and way == "a full disk"
        how = way if is_mounted else "a limit of file sizes"
        async with asyncio.TaskGroup() as group:
            for run, folder, disk in ((no_space_for_queues, first, one), (no_space_for_notes, second, two)):
                no_space = full(disk) if is_mounted and disk is not None else file_limit
                group.create_task(run(folder, no_space, disk.folder if disk else folder, how))
