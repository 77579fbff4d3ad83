"""Injection over the memory broker: what is published, in which order, and what is told when input is bad."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker
from relayq.cli import inject
from relayq.cli.endings import CommandFailed
from relayq.cli.inject import InjectOptions, Injector
from relayq.cli.main import main
from relayq.cli.mime_input import Injection
from relayq.ports import Broker, BrokerUnavailableError, Publication, QueueRole


def an_injection(**changes: object) -> Injection:
    values: dict[str, object] = {
        "recipients": (),
        "extract": True,
        "envelope": None,
        "command": "relayq inject",
        "arguments": ("-t",),
        "user": "carl",
        "hostname": "host.example",
        "server_id": "",
        "now": datetime(2031, 3, 1, 9, 0, tzinfo=UTC),
        "random_octets": lambda count: b"\x01" * count,
    }
    return Injection(**(values | changes))  # type: ignore[arg-type]


async def inject_files(
    broker: Broker, *paths: Path | str, format_: str | None = None, queue: str | None = "outbox"
) -> int:
    injector = Injector(broker, queue)
    options = InjectOptions(files=tuple(map(str, paths)), format=format_, injection=an_injection())
    await injector.inject(options)
    return injector.confirmed


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(ManualClock())


async def test_json_objects_are_published_byte_for_byte_in_order(broker: MemoryBroker, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_bytes(b'\n{"a": 1.10,\n  "b": []}{"c":1}\n')
    two.write_bytes('\ufeff{"d":"Zoë"}'.encode())
    assert await inject_files(broker, one, two) == 3
    assert broker.bodies("outbox") == [b'{"a": 1.10,\n  "b": []}', b'{"c":1}', '{"d":"Zoë"}'.encode()]
    assert {publication.role for publication in broker.published} == {QueueRole.OUTBOX}


async def test_more_than_one_read_is_published_in_order(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inject, "READ_OCTETS", 1000)
    path = tmp_path / "many.json"
    path.write_bytes(b"".join(b'{"number": %d}\n' % number for number in range(2000)))
    assert await inject_files(broker, path) == 2000
    assert [json.loads(body)["number"] for body in broker.bodies("outbox")] == list(range(2000))


async def test_a_damaged_line_is_named_with_the_number_confirmed(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inject, "READ_OCTETS", 700)
    path = tmp_path / "damaged.json"
    lines = [b'{"number": %d}' % number for number in range(1, 1001)]
    lines[499] = b'{"number": 500'
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(CommandFailed) as caught:
        await inject_files(broker, path)
    assert caught.value.exit_code == 65
    assert caught.value.lines[0].startswith(f"{path}, line 500: ")
    assert caught.value.lines[1] == "499 messages were confirmed before"
    assert len(broker.bodies("outbox")) == 499


@pytest.mark.parametrize("octets", [b"[1]", b'"x"', b'{"a":1} 7', b'{"a":'])
async def test_json_that_is_no_object_is_refused(broker: MemoryBroker, tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(octets)
    with pytest.raises(CommandFailed, match="line 1: ") as caught:
        await inject_files(broker, path, format_="json")
    assert caught.value.exit_code == 65


async def test_anything_else_is_mime(broker: MemoryBroker, tmp_path: Path) -> None:
    path = tmp_path / "letter.eml"
    path.write_bytes(b"To: a@b.test, c@d.test\nSubject: x\n\nhi\n")
    assert await inject_files(broker, path) == 2
    assert [json.loads(body)["recipient"] for body in broker.bodies("outbox")] == ["a@b.test", "c@d.test"]


async def test_mime_without_recipient_is_refused(broker: MemoryBroker, tmp_path: Path) -> None:
    path = tmp_path / "letter.eml"
    path.write_bytes(b"Subject: x\n\nhi\n")
    with pytest.raises(CommandFailed, match="no recipient") as caught:
        await inject_files(broker, path)
    assert caught.value.exit_code == 65
    assert not broker.published


async def test_mime_that_begins_with_a_brace_needs_the_format(broker: MemoryBroker, tmp_path: Path) -> None:
    path = tmp_path / "letter.eml"
    path.write_bytes(b"{: odd\nTo: a@b.test\n\nhi\n")
    assert await inject_files(broker, path, format_="mime") == 1


@pytest.mark.parametrize("octets", [b"", b" \n\n", b"\xef\xbb\xbf"])
async def test_empty_input_is_refused(broker: MemoryBroker, tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "empty"
    path.write_bytes(octets)
    with pytest.raises(CommandFailed, match="there is no message"):
        await inject_files(broker, path)


async def test_a_file_that_cannot_be_read_is_named(broker: MemoryBroker, tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_bytes(b"{}")
    for bad in (tmp_path / "missing", tmp_path, "\x00"):
        with pytest.raises(CommandFailed, match=r"(?s)1 messages were confirmed") as caught:
            await inject_files(MemoryBroker(ManualClock()), good, bad)
        assert caught.value.exit_code == 65
        assert caught.value.lines[0].startswith(f"{bad}: ")


async def test_messages_over_the_limit_are_refused(tmp_path: Path) -> None:
    class Small(MemoryBroker):
        @property
        def max_publish_bytes(self) -> int:
            return 400

    broker = Small(ManualClock())
    for octets in (b'{"a":"' + b"x" * 400 + b'"}', b"To: a@b.test\n\n" + b"x" * 500, b"To: a@b.test\n\n" + b"x" * 300):
        path = tmp_path / "big"
        path.write_bytes(octets)
        with pytest.raises(CommandFailed, match="larger than 400 octets"):
            await inject_files(broker, path)
    assert not broker.published


async def test_an_empty_inbox_name_throws_away(broker: MemoryBroker, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(b"{}{}")
    assert await inject_files(broker, path, queue=None) == 2
    assert not broker.published


async def test_no_confirm_in_time_asks_to_try_again(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inject, "TIME_LIMIT", 0.02)
    broker.set_blocked(blocked=True)
    path = tmp_path / "one.json"
    path.write_bytes(b"{}")
    with pytest.raises(CommandFailed, match="did not confirm") as caught:
        await inject_files(broker, path)
    assert caught.value.exit_code == 75


async def test_unconfirmed_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(MemoryBroker):
        running = most = 0

        async def publish(self, publications: Sequence[Publication]) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            await super().publish(publications)
            self.running -= 1

    monkeypatch.setattr(inject, "READ_OCTETS", 10)
    broker = Counting(ManualClock())
    path = tmp_path / "many.json"
    path.write_bytes(b"{}" * 1000)
    assert await inject_files(broker, path) == 1000
    assert 1 <= broker.most <= inject.BATCHES_IN_FLIGHT


async def test_a_failing_broker_leaves_no_task_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(MemoryBroker):
        async def publish(self, publications: Sequence[Publication]) -> None:
            raise BrokerUnavailableError("gone")

    monkeypatch.setattr(inject, "READ_OCTETS", 10)
    path = tmp_path / "many.json"
    path.write_bytes(b"{}" * 1000)
    with pytest.raises(BrokerUnavailableError):
        await inject_files(Failing(ManualClock()), path)
    assert len(asyncio.all_tasks()) == 1


async def test_what_a_pipe_delivers_is_published_before_it_ends(tmp_path: Path) -> None:
    class Telling(MemoryBroker):
        something = asyncio.Event()

        async def publish(self, publications: Sequence[Publication]) -> None:
            await super().publish(publications)
            self.something.set()

    broker = Telling(ManualClock())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    injecting = asyncio.ensure_future(inject_files(broker, pipe))
    writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)
    os.write(writer, b'{"a":1}\n{"b"')
    async with asyncio.timeout(60):
        await broker.something.wait()
    assert broker.bodies("outbox") == [b'{"a":1}']
    os.write(writer, b":2}")
    os.close(writer)
    assert await injecting == 2


@pytest.mark.parametrize(("words", "code"), [(["inject"], 75), (["results", "--queue", "x"], 69)])
def test_a_broker_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    closed: list[bool] = []

    class Unreachable(MemoryBroker):
        async def open(self) -> None:
            raise BrokerUnavailableError("nobody there")

        async def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr("relayq.app.open_broker", lambda *_, **__: Unreachable(ManualClock()))
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)
    assert main([*words, "--no-default-config", "--hostname=a.test"]) == code
    assert capsys.readouterr().err.endswith("relayq: nobody there\n")
    assert closed == [True]
