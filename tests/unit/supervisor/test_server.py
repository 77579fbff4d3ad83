"""What the supervisor says about itself while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from relayq.config import load, parse_options
from relayq.supervisor import server
from tests.support.fleet import until


async def test_that_it_delivers_is_said_also_when_it_counted_as_ready_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READY_SECONDS", 0.0)
    log, ready = tmp_path / "log", asyncio.Event()
    settings = load(
        parse_options(
            [
                f"--rabbitmq-address=embedded://{tmp_path}/q.db",
                f"--application-log={log}",
                "--hostname=a.test",
                "--journal-directory=",
                "--smtp-threads=1",
            ]
        ),
        environ={},
        no_default_config=True,
    )
    running = asyncio.ensure_future(server.supervise(settings, lambda: settings, ready.set))
    await until(lambda: log.exists() and "delivering from 'outbox'" in log.read_text(), "the start")
    assert ready.is_set()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await running == 0
    assert log.read_text().count("delivering from") == 1
