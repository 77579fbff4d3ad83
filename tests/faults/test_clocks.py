"""The wall clock is set forward and back by an hour or a day, in the middle of a run.

libfaketime lies to relayq, and to nobody else: the broker's clock and relayq's monotonic one go on as they are. Every
fifth message is greylisted first. Where the clock goes forward some are to be delivered later; a date that a producer
gave is a date, and waits for a clock that was set back. The embedded broker sleeps in a thread of its own, which
libfaketime turns into errors; its unit tests have a clock of their own (`tests/unit/adapters/embedded/test_clock.py`).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relayq.model.timestamp import format_timestamp
from tests.conftest import missing_server
from tests.faults.report import is_reporting
from tests.faults.scene import SCRIPT, Scene, check
from tests.support.servers import RabbitMqNode

MESSAGES = 400
JUMPS = {"an hour forward": 3600, "a day forward": 86400, "an hour back": -3600, "a day back": -86400}
GREYLISTED = "rcptto u*7@* first=1 450 4.2.0 later\nrcptto u*2@* first=1 450 4.2.0 later\n"
AWAY_SECONDS = 3.0
"""How long the clock is wrong: longer than a retry takes."""
PATIENT = {"max-delivertime": str(7 * 86400)}
"""Longer than the jump: retries of a clock that says so are over, as documented."""
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def later(number: int) -> dict[str, Any]:
    """Every tenth one is due two seconds after now."""
    if number % 10 != 4:
        return {}
    return {"delayed": format_timestamp(datetime.now(UTC) + timedelta(seconds=2))}


async def jump(what: str, node: RabbitMqNode | None, folder: Path) -> None:
    stamp = folder / "clock"
    stamp.write_text("+0\n")
    environ = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }

    async def strike(scene: Scene) -> None:
        await scene.more_results(MESSAGES // 4)
        stamp.write_text(f"{JUMPS[what]:+d}\n")
        await asyncio.sleep(AWAY_SECONDS)
        stamp.write_text("+0\n")

    scene = Scene(folder, node, MESSAGES, environ=environ, script=GREYLISTED + SCRIPT, settings=PATIENT)
    if JUMPS[what] > 0:
        scene.extra = later
    outcome = await check(scene, f"the clock jumps {what}, and returns after {AWAY_SECONDS:g} s", strike)
    assert outcome.doubled == []
    most = max(len(result["results"]) for results in outcome.results.values() for result in results)
    assert most <= 2, "more attempts than the receiver asked for"


@pytest.mark.skipif(not is_reporting(), reason="takes a minute: make test-faults")
@pytest.mark.parametrize("what", JUMPS)
async def test_nothing_is_lost(what: str, rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    if not LIBRARIES:
        missing_server("libfaketime")
    await jump(what, rabbitmq, tmp_path)
