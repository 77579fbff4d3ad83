"""A producer in another language: its message is delivered, and it reads its result."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing_server
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode, SmtpSink

EXAMPLE = Path(__file__).parents[3] / "examples" / "node"


@pytest.fixture(scope="module")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, outside the checkout."""
    if shutil.which("npm") is None:
        missing_server("npm")
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=250, capture_output=True
    )
    return folder


@pytest.mark.server
async def test_node_sends_and_reads_its_result(
    node_example: Path, rabbitmq: RabbitMqNode, smtp_sink: SmtpSink, base_settings: dict[str, str], tmp_path: Path
) -> None:
    url = rabbitmq.new_vhost()
    settings = base_settings | {"rabbitmq-address": url, "smtp-out-port": str(smtp_sink.port)}
    environment = {**os.environ, "AMQP_URL": url, "WAIT_SECONDS": "100"}
    with RelayqProcess(tmp_path, settings) as relayq:
        relayq.wait_for_log("delivering from")
        done = await asyncio.to_thread(
            subprocess.run, ["node", "send-and-wait.js", "anna@example.test"],
            cwd=node_example, env=environment, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr + relayq.log
    found = json.loads(done.stdout)
    assert found["recipient"] == "anna@example.test"
    assert "mime" not in found
    assert [(entry["state"], entry["result"]) for entry in found["results"]] == [("message", "accepted")]
