"""Results are printed one per line, and let go of only after that."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, MemoryChannel, MemoryItem
from relayq.cli.results import ResultPrinter, ResultsOptions, render_json, render_row
from relayq.ports import OutboxItem, Properties, Publication, QueueRole

SUCCESS = (
    b'{"recipient": "anna@b.test",\n "order":\r\n 1.10, "results":[{"state":"rcptto","result":"error"},'
    b'{"state":"message","result":"accepted","time":"2031-03-01 09:00:05","code":250,"description":"Ok: queued"}]}'
)


def a_publication(body: bytes, queue: str = "results") -> Publication:
    return Publication(queue=queue, body=body, properties=Properties(), role=QueueRole.RESULT)


class Output:
    """Collects what is written; fails once ``limit`` writes were made."""

    def __init__(self, limit: int | None = None) -> None:
        self.octets = b""
        self.limit = limit
        self.wrote = asyncio.Event()

    async def __call__(self, octets: bytes) -> None:
        if self.limit == 0:
            raise BrokenPipeError
        if self.limit is not None:
            self.limit -= 1
        self.octets += octets
        self.wrote.set()


def options(**changes: object) -> ResultsOptions:
    values: dict[str, object] = {
        "queues": ("results",),
        "follow": False,
        "count": None,
        "peek": False,
        "render": render_json,
        "idle_time": 0.02,
    }
    return ResultsOptions(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
async def broker() -> MemoryBroker:
    broker = MemoryBroker(ManualClock())
    await broker.publish([a_publication(b'{"n":%d}' % number) for number in range(5)])
    return broker


@dataclass(frozen=True)
class Item:
    """A consumed message that is only looked at."""

    body: bytes
    properties: Properties
    redelivered: bool = False
    consumed_at: float = 0.0
    is_held: bool = True
    origin: MemoryChannel = field(default_factory=MemoryChannel)
    identity: bytes = b""


def render(body: bytes, how: Callable[[OutboxItem], bytes], encoding: str | None = None) -> bytes:
    return how(Item(body, Properties(content_encoding=encoding)))


async def test_everything_is_printed_and_acknowledged(broker: MemoryBroker) -> None:
    output = Output()
    assert await ResultPrinter(broker, options(), output).print() == 5
    assert output.octets == b"".join(b'{"n":%d}\n' % number for number in range(5))
    assert not broker.ready("results")
    assert not broker.unsettled


async def test_count_leaves_the_rest_in_the_queue(broker: MemoryBroker) -> None:
    output = Output()
    assert await ResultPrinter(broker, options(count=2), output).print() == 2
    assert output.octets == b'{"n":0}\n{"n":1}\n'
    assert len(broker.ready("results")) == 3
    assert not broker.unsettled


async def test_count_holds_over_several_queues(broker: MemoryBroker) -> None:
    await broker.publish([a_publication(b"{}", queue="failure") for _ in range(5)])
    output = Output()
    assert await ResultPrinter(broker, options(queues=("results", "failure"), count=7), output).print() == 7
    assert output.octets.count(b"\n") == 7
    assert len(broker.ready("results")) + len(broker.ready("failure")) == 3
    assert not broker.unsettled


async def test_peek_gives_everything_back(broker: MemoryBroker) -> None:
    output = Output()
    assert await ResultPrinter(broker, options(peek=True, count=4), output).print() == 4
    assert len(broker.ready("results")) == 5
    assert not broker.settled


async def test_what_could_not_be_written_is_not_acknowledged(broker: MemoryBroker) -> None:
    with pytest.raises(BrokenPipeError):
        await ResultPrinter(broker, options(), Output(limit=0)).print()
    assert len(broker.ready("results")) == 5
    assert not broker.settled


async def test_follow_goes_on_until_cancelled(broker: MemoryBroker) -> None:
    output = Output()
    printing = asyncio.ensure_future(ResultPrinter(broker, options(follow=True), output).print())
    await output.wrote.wait()
    output.wrote.clear()
    await broker.publish([a_publication(b'{"late":true}')])
    async with asyncio.timeout(60):
        await output.wrote.wait()
    assert output.octets.endswith(b'{"late":true}\n')
    printing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await printing
    assert not broker.unsettled


class SlowOutput(Output):
    """Writes when it is allowed to, like a pipe that is full."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.allowed = asyncio.Event()

    async def __call__(self, octets: bytes) -> None:
        self.asked.set()
        await self.allowed.wait()
        await super().__call__(octets)


async def test_what_is_being_written_when_the_command_ends_is_acknowledged(broker: MemoryBroker) -> None:
    output = SlowOutput()
    printing = asyncio.ensure_future(ResultPrinter(broker, options(follow=True, grace_time=60.0), output).print())
    await output.asked.wait()
    printing.cancel()
    await asyncio.sleep(0)
    output.allowed.set()
    with pytest.raises(asyncio.CancelledError):
        await printing
    assert output.octets.count(b"\n") == 5
    assert not broker.ready("results")
    assert not broker.unsettled


async def test_an_output_that_nobody_reads_does_not_keep_the_command(broker: MemoryBroker) -> None:
    output = SlowOutput()
    printing = asyncio.ensure_future(ResultPrinter(broker, options(follow=True, grace_time=0.01), output).print())
    await output.asked.wait()
    printing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await printing
    assert output.octets == b""
    assert len(broker.ready("results")) == 5
    assert not broker.settled


async def test_nothing_there_is_no_error() -> None:
    output = Output()
    assert await ResultPrinter(MemoryBroker(ManualClock()), options(), output).print() == 0
    assert output.octets == b""


def test_a_line_is_one_line_with_its_values_untouched() -> None:
    line = render(SUCCESS, render_json)
    assert line.count(b"\n") == 1
    assert b"1.10" in line
    assert json.loads(line) == json.loads(SUCCESS)


def test_gzip_is_unpacked() -> None:
    assert render(gzip.compress(b'{"a":1}'), render_json, "gzip") == b'{"a":1}\n'


@pytest.mark.parametrize(
    ("body", "encoding", "described"),
    [
        (b"no json\n", None, {"invalid-body": "no json\n"}),
        (b"[1]", None, {"invalid-body": "[1]"}),
        (b"\xff\x00", None, {"invalid-body": "/wA=", "invalid-encoding": "base64"}),
        (b"{}", "zstd", {"invalid-body": "{}"}),
        (b"x" * 70_000, None, {"invalid-body": "x" * 65_536, "invalid-truncated": True}),
    ],
)
def test_what_is_no_object_is_still_a_json_line(
    body: bytes, encoding: str | None, described: dict[str, object]
) -> None:
    line = render(body, render_json, encoding)
    assert json.loads(line) == described
    assert line.count(b"\n") == 1


def test_a_row_shows_the_last_attempt() -> None:
    row = render(SUCCESS, render_row).decode()
    assert row.split() == ["2031-03-01", "09:00:05", "anna@b.test", "message", "accepted", "250", "Ok:", "queued"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"no json",
        b'{"results":{}}',
        b'{"results":[]}',
        b'{"results":[7]}',
        b'{"recipient":7,"results":[{"code":{}}]}',
        b'{"results":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_row_survives_whatever_is_in_the_queue(body: bytes) -> None:
    row = render(body, render_row)
    assert row.endswith(b"\n")
    assert row.count(b"\n") == 1


def test_a_row_cannot_steer_the_terminal() -> None:
    body = b'{"recipient":"a\\u001b[2J@b.test","results":[{"description":"x\\u009b31m\\r\\n\\u202ey"}]}'
    row = render(body, render_row).decode()
    assert all(char.isprintable() for char in row.removesuffix("\n"))


async def test_items_are_settled_with_nothing_to_publish(broker: MemoryBroker) -> None:
    await ResultPrinter(broker, options(), Output()).print()
    assert all(isinstance(item, MemoryItem) for item in broker.settled)
    assert len(broker.published) == 5
