"""What an operator sees of several workers: start, HTTP, signals, reload, service manager, stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from relayq.ports import Broker, OutboxItem
from tests.support.fleet import CountingSink, collect, message, opened, settings_for, until, workers_of
from tests.support.ports import free_port
from tests.support.relayq_process import RelayqProcess

START_SECONDS = 60.0
"""A bound for a machine that does other things meanwhile; ``benchmarks/workers.py`` measures the figure."""


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


def _has_room(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a process has not received a signal yet: until then another one of that kind is the same one."""
    (pending,) = re.findall(r"^ShdPnd:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(pending, 16) >> (number - 1) & 1)


def totals(text: str) -> dict[str, float]:
    """Sum of each family over its labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def test_health_readiness_metrics_and_status(tmp_path: Path) -> None:
    count, port = 100, free_port()
    async with CountingSink() as sink, opened(tmp_path) as broker:
        started = time.monotonic()
        await broker.publish([message(number) for number in range(count)])
        settings = settings_for(tmp_path, sink, www_port=port)
        with RelayqProcess(tmp_path, settings) as relayq:
            await until(lambda: bool(sink.messages), "the first delivery")
            assert time.monotonic() - started < START_SECONDS
            await collect(broker, count)
            await until(lambda: "delivering from" in relayq.log, "the second worker")
            assert await get(port, "/health") == (200, "ok\n")
            assert await get(port, "/ready") == (200, "2 consuming\n")
            assert (await get(port, "/nothing"))[0] == 404
            figures: dict[str, float] = {}
            async with asyncio.timeout(20):
                while figures.get("relayq_deliveries_total") != count:  # pushed once a second
                    status, text = await get(port, "/metrics")
                    assert status == 200
                    figures = totals(text)
                    await asyncio.sleep(0.05)
            assert figures["relayq_attempts_total"] == figures["relayq_delivery_seconds_count"] == count
            assert f'relayq_attempts_total{{state="message",result="accepted",code="2xx"}} {count}\n' in text
            assert 'relayq_workers{state="consuming"} 2\n' in text
            assert 'relayq_process_cpu_seconds_total{process="worker 2"}' in text
            os.kill(relayq.pid, signal.SIGUSR2)
            await until(lambda: "[status] worker 2 (process" in relayq.log, "the status")
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
    assert "message/accepted" in relayq.log


async def test_reload(tmp_path: Path) -> None:
    async with CountingSink() as sink, opened(tmp_path) as broker:
        settings = settings_for(tmp_path, sink, log_level="info")
        with RelayqProcess(tmp_path, settings) as relayq:
            config = tmp_path / "config.txt"
            await until(lambda: "delivering from" in relayq.log, "the start")
            # Bad values: all of them are named, and nothing changes (spec operations.md 26, check 17).
            before = config.read_text()
            config.write_text(f"{before}ip-maxconnections: many\nretry-interval: soon\nrabbitmq-results: other\n")
            os.kill(relayq.pid, signal.SIGHUP)
            await until(lambda: "nothing was changed" in relayq.log, "the refusal")
            assert "ip-maxconnections" in relayq.log
            assert "retry-interval" in relayq.log
            await broker.publish([message(1)])
            assert set(await collect(broker, 1)) == {1}
            # Good ones: applied by every worker, and what needs a restart is named.
            config.write_text(
                before.replace("rabbitmq-results: results", "rabbitmq-results: renamed") + "server-id: x\n"
            )
            os.kill(relayq.pid, signal.SIGHUP)
            await until(lambda: "applied: rabbitmq-results" in relayq.log, "the reload")
            assert "needs restart, not applied: server-id" in relayq.log
            await until_all_results_are_in(broker, "renamed", before="results")
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log


async def until_all_results_are_in(broker: Broker, queue: str, *, before: str) -> None:
    """The supervisor says that settings are applied when it has told the workers: a busy one hears a moment later."""
    places: dict[int, str] = {}

    def note(place: str, item: OutboxItem) -> None:
        places[json.loads(item.body)["id"]] = place

    consumptions = [await broker.consume(place, 1000, functools.partial(note, place)) for place in (queue, before)]
    for start in range(2, 802, 40):
        batch = range(start, start + 40)
        await broker.publish([message(number) for number in batch])
        await until(lambda batch=batch: places.keys() >= set(batch), "the results")  # type: ignore[misc]
        if {places[number] for number in batch} == {queue}:
            break
    else:
        pytest.fail(f"results still go to {before!r}")
    for consumption in consumptions:
        await consumption.cancel()


async def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        heard: list[str] = []

        def has_heard(text: str) -> bool:
            while True:
                try:
                    heard.extend(systemd.recv(4096).decode().split("\n"))
                except BlockingIOError:
                    return text in heard

        async with CountingSink() as sink:
            with RelayqProcess(tmp_path, settings_for(tmp_path, sink)) as relayq:
                await until(lambda: has_heard("READY=1"), "READY")
                await until(lambda: has_heard("STATUS=workers: 2 consuming"), "the status")
                await until(lambda: heard.count("WATCHDOG=1") >= 3 or has_heard(""), "WATCHDOG")
                heard.clear()
                os.kill(relayq.pid, signal.SIGHUP)
                await until(lambda: has_heard("READY=1"), "the end of the reload")
                assert "RELOADING=1" in heard
                assert any(line.startswith("MONOTONIC_USEC=") for line in heard)
                assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
                assert has_heard("STOPPING=1")


async def test_a_stop_under_load_keeps_its_time_and_sends_nothing_twice(tmp_path: Path) -> None:
    count = 300
    async with CountingSink("message * slow=0.1 250 ok") as sink, opened(tmp_path) as broker:
        await broker.publish([message(number) for number in range(count)])
        # Few connections: seconds pass between the signal and the last mail there would be.
        settings = settings_for(tmp_path, sink, shutdown_timeout=30, ip_maxconnections=4)
        with RelayqProcess(tmp_path, settings) as relayq:
            await until(lambda: len(sink.messages) >= 50, "the first mails")
            began = time.monotonic()
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
            assert time.monotonic() - began < 30 + 20
        sent = len(sink.messages)
        assert sent < count
        with RelayqProcess(tmp_path, settings_for(tmp_path, sink)) as relayq:
            assert set(await collect(broker, count)) == set(range(count))
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
    assert len(sink.messages) == count, f"{len(sink.messages) - count} of {sent} were sent again"


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with CountingSink("message * slow=20 250 ok") as sink, opened(tmp_path) as broker:
        await broker.publish([message(number) for number in range(4)])
        with RelayqProcess(tmp_path, settings_for(tmp_path, sink, shutdown_timeout=60)) as relayq:
            await until(lambda: sink.sink.open_connections > 0, "a connection")
            workers = workers_of(relayq.pid)
            os.kill(relayq.pid, signal.SIGTERM)
            await until(lambda: not is_pending(relayq.pid, signal.SIGTERM), "the first signal")
            os.kill(relayq.pid, signal.SIGTERM)
            assert await asyncio.to_thread(relayq.wait, 40) == -signal.SIGTERM
            await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers), "the end of the workers")


def test_what_keeps_every_worker_from_starting_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "no-database").write_text("text")
    settings = {"rabbitmq-address": f"embedded://{tmp_path}/no-database", "smtp-threads": "3", "hostname": "a.test"}
    with RelayqProcess(tmp_path, settings) as relayq:
        assert relayq.wait() == 78
    assert "is not a queue file of relayq" in relayq.log
    assert "Traceback" not in relayq.log


def test_two_with_one_lock(tmp_path: Path) -> None:
    base = {"hostname": "a.test", "lock": str(tmp_path / "lock"), "smtp-threads": "2"}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with RelayqProcess(tmp_path / "one", {**base, "rabbitmq-address": f"embedded://{tmp_path}/one/q.db"}) as first:
        first.wait_for_log("delivering from")
        assert (tmp_path / "lock").read_text() == f"{first.pid}\n"
        with RelayqProcess(tmp_path / "two", {**base, "rabbitmq-address": f"embedded://{tmp_path}/two/q.db"}) as second:
            assert second.wait() == 73
        assert f"held by process {first.pid}" in second.log
        assert first.stop() == 0
    assert not (tmp_path / "lock").exists()


def test_a_port_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"hostname": "a.test", "www-port": str(port), "rabbitmq-address": f"embedded://{tmp_path}/q.db"}
        with RelayqProcess(tmp_path, settings) as relayq:
            assert relayq.wait() == 71
    assert f"cannot listen on 127.0.0.1 port {port}" in relayq.log


async def test_it_leaves_the_terminal_once_it_is_ready(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    settings = {
        "hostname": "a.test",
        "daemon": "true",
        "lock": str(lock),
        "smtp-threads": "2",
        "application-log": str(tmp_path / "relayq.log"),
        "rabbitmq-address": f"embedded://{tmp_path}/q.db",
    }
    with RelayqProcess(tmp_path, settings) as relayq:
        assert await asyncio.to_thread(relayq.wait) == 0
        pid = int(lock.read_text())
        assert pid != relayq.pid
        # A start that takes long counts as ready before.
        await until(lambda: "delivering from" in (tmp_path / "relayq.log").read_text(), "the delivery")
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not lock.exists(), "the end")
        settings["rabbitmq-address"] = f"embedded://{tmp_path}/log.txt"
    with RelayqProcess(tmp_path, settings) as relayq:
        assert relayq.wait() == 78


async def test_too_many_connections_are_refused(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "hostname": "a.test",
        "www-port": str(port),
        "www-connections": "2",
        "rabbitmq-address": f"embedded://{tmp_path}/q.db",
    }
    with RelayqProcess(tmp_path, settings) as relayq:
        await until(lambda: "delivering from" in relayq.log, "the start")
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert (await get(port, "/health"))[0] == 503
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        await until(lambda: _has_room(port), "room for one more")
