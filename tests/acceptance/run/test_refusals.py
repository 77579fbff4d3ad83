"""What a broker or a configuration can refuse at startup: exit code and one clear line (spec config.md 4)."""

from __future__ import annotations

from pathlib import Path

from tests.support.ports import free_port
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode


def test_refused_credentials(rabbitmq: RabbitMqNode, base_settings: dict[str, str], tmp_path: Path) -> None:
    settings = base_settings | {"rabbitmq-address": f"amqp://guest:wrong-secret@127.0.0.1:{rabbitmq.port}/"}
    with RelayqProcess(tmp_path, settings) as relayq:
        assert relayq.wait() == 77, relayq.log
    assert "wrong-secret" not in relayq.log
    assert "refused" in relayq.log


def test_unknown_virtual_host(rabbitmq: RabbitMqNode, base_settings: dict[str, str], tmp_path: Path) -> None:
    settings = base_settings | {"rabbitmq-address": f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/nowhere"}
    with RelayqProcess(tmp_path, settings) as relayq:
        assert relayq.wait() == 77, relayq.log
    assert "nowhere" in relayq.log


def test_queue_with_other_arguments(rabbitmq: RabbitMqNode, base_settings: dict[str, str], tmp_path: Path) -> None:
    settings = base_settings | {"rabbitmq-address": rabbitmq.new_vhost()}
    with RelayqProcess(tmp_path, settings) as relayq:
        relayq.wait_for_log("delivering from")
        assert relayq.stop() == 0
    with RelayqProcess(tmp_path, settings | {"rabbitmq-maxpriority": "4"}) as relayq:
        assert relayq.wait() == 78, relayq.log
    assert "outbox" in relayq.log
    assert "x-max-priority" in relayq.log


def test_keeps_trying_while_nobody_listens(base_settings: dict[str, str], tmp_path: Path) -> None:
    settings = base_settings | {"rabbitmq-address": f"amqp://127.0.0.1:{free_port()}/"}
    with RelayqProcess(tmp_path, settings) as relayq:
        relayq.wait_for_log("127.0.0.1")
        assert relayq.stop() == 0
    assert "Traceback" not in relayq.log


def test_unknown_setting(tmp_path: Path) -> None:
    with RelayqProcess(tmp_path, {"rabbitmq-adress": "embedded:"}) as relayq:
        assert relayq.wait() == 78
    assert "config.txt:1" in relayq.log
    assert "rabbitmq-address" in relayq.log
