"""Composing in processes beside the worker: what is made there, and what becomes of processes that end or hang."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from relayq.adapters import workshop as adapter
from relayq.adapters.workshop import ProcessWorkshop
from relayq.compose.making import Conversion, Failed, Made, MakingRules, Order
from relayq.model import parse_address
from relayq.ports import WorkshopUnavailableError
from tests.support.engine import eventually

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
STYLED = b"Content-Type: text/html\r\n\r\n<style>p:hover{top:0} p{color:red}</style><p>Hi</p>\r\n"
INLINED = b"<style>p:hover{top:0!important}</style>"


def order(mime: bytes = STYLED, **facts: Any) -> Order:
    sender = parse_address("shop@x.test")
    return Order(recipient="ann@x.test", sender=sender, now=NOW, seen_at=NOW, mime=mime, inline_css=True, **facts)


class Watched(ProcessWorkshop):
    """Knows its processes, and what it warned of."""

    def __init__(self, size: int = 1, rules: MakingRules | None = None, **options: Any) -> None:
        self.warnings: list[str] = []
        loop = asyncio.get_running_loop()
        super().__init__(rules or MakingRules(), size, loop, lambda component, text: self.warn(text), **options)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def pids(self) -> list[int]:
        transports = [process._transport for process in self._processes]
        return [transport.get_pid() for transport in transports if transport is not None]


@pytest.fixture
async def workshops() -> AsyncIterator[list[Watched]]:
    """Whatever is put in here gets closed, and its processes end."""
    opened: list[Watched] = []
    yield opened
    for one in opened:
        one.close()
    for one in opened:
        await eventually(lambda: not one.pids and not one._starting, "processes that end")  # noqa: B023 - called here


async def stopped(one: Watched) -> int:
    """Start a process by giving it something to do, and stop it while it has nothing to do."""
    await one.make(order())
    (pid,) = one.pids
    os.kill(pid, signal.SIGSTOP)
    return pid


async def test_messages_are_made_by_the_rules_and_the_process_is_kept(workshops: list[Watched]) -> None:
    one = Watched(rules=MakingRules(inline_important=False))
    workshops.append(one)
    assert one.pids == []  # not before it is needed
    for _ in range(3):
        made = await one.make(order())
        assert made == Made(STYLED.replace(b" p{color:red}", b"").replace(b"<p>", b'<p style="color:red">'))
        pids = one.pids
    assert one.pids == pids
    assert one.warnings == []
    failed = await one.make(order(b"Subject: {if $x}\r\n\r\n", data=b"{}"))
    assert failed == Failed("subject: line 1: unclosed if")


async def test_large_messages_come_back_whole(workshops: list[Watched]) -> None:
    one = Watched()
    workshops.append(one)
    mime = STYLED + b"<p>line of text</p>\r\n" * 50_000
    made = await one.make(order(mime))
    assert isinstance(made, Made)
    assert made.octets.count(b'<p style="color:red">') == 50_001


async def test_what_a_connection_is_held_for_goes_first(workshops: list[Watched]) -> None:
    one = Watched()
    workshops.append(one)
    pid = await stopped(one)
    done: list[str] = []
    waiting = [asyncio.ensure_future(one.make(order())) for _ in range(3)]
    for task in waiting:
        task.add_done_callback(lambda _: done.append("order"))
    octets = b"Subject: x\r\n\r\n\xff" + b"line of text\r\n" * 50_000
    converting = asyncio.ensure_future(one.make(Conversion(octets=octets, to_seven_bit=True)))
    converting.add_done_callback(lambda _: done.append("conversion"))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGCONT)
    converted, *_ = await asyncio.gather(converting, *waiting)
    assert done == ["order", "conversion", "order", "order"]  # the first one had begun
    assert isinstance(converted, Made)
    assert (converted.octets.isascii(), converted.octets.count(b"line of text\r\n")) == (True, 50_000)


async def test_large_orders_are_made_one_at_a_time(workshops: list[Watched]) -> None:
    one = Watched(size=2)
    workshops.append(one)
    await asyncio.gather(*(one.make(order()) for _ in range(20)))
    for pid in one.pids:
        os.kill(pid, signal.SIGSTOP)
    large = order(STYLED + b"x" * adapter.LARGE_OCTETS)
    converted = Conversion(octets=b"x" * adapter.LARGE_OCTETS)
    made = [asyncio.ensure_future(one.make(what)) for what in (large, large, converted, order(), order())]
    await asyncio.sleep(0)
    assert [job.is_large for job in one._jobs][:2] == [True, True]  # a small one may have passed them
    assert sum(process.has_large for process in one._processes) == 1
    made[1].cancel()
    for pid in one.pids:
        os.kill(pid, signal.SIGCONT)
    outcomes = await asyncio.gather(*made, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Made, asyncio.CancelledError, Made, Made, Made]


@pytest.mark.parametrize("work", ["personalised", "composed", "converted"])
async def test_large_content_goes_there_and_back_in_pieces_of_its_own(workshops: list[Watched], work: str) -> None:
    """And nothing of it is lost when the process ends in between."""
    one = Watched()
    workshops.append(one)
    pid = await stopped(one)
    text = b"line of text\r\n" * 200_000
    if work == "personalised":
        what: Order | Conversion = order(b"Subject: {$n}\r\n\r\n" + text, data=b'{"n": 1}')
    elif work == "composed":
        what = order(b"", mime_object=msgspec.json.encode({"from": "a@x.test", "text": text.decode()}))
    else:
        what = Conversion(octets=b"Subject: x\r\n\r\n\xff" + text, to_seven_bit=True)
    making = asyncio.ensure_future(one.make(what))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    made = await making
    assert isinstance(made, Made)
    assert made.octets.count(b"line of text\r\n") == 200_000
    assert one.warnings == ["a composing process ended with status -9"]


async def test_orders_are_spread_over_the_processes(workshops: list[Watched]) -> None:
    one = Watched(size=2)
    workshops.append(one)
    outcomes = await asyncio.gather(*(one.make(order()) for _ in range(20)))
    assert all(isinstance(outcome, Made) for outcome in outcomes)
    assert len(one.pids) == 2


async def test_an_order_whose_process_ends_gets_another_one(workshops: list[Watched]) -> None:
    one = Watched()
    workshops.append(one)
    pid = await stopped(one)
    making = asyncio.ensure_future(one.make(order()))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(await making, Made)
    assert one.warnings == ["a composing process ended with status -9"]
    assert pid not in one.pids


async def test_an_order_that_ends_every_process_fails_alone(
    workshops: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_MAX_TRIES", 1)
    one = Watched()
    workshops.append(one)
    pid = await stopped(one)
    making = asyncio.gather(one.make(order()), one.make(order()))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    fatal, other = await making
    assert fatal == Failed("mime: the process composing it ended with status -9")
    assert isinstance(other, Made)


async def test_an_order_that_never_ends_is_given_up(workshops: list[Watched]) -> None:
    one = Watched(max_seconds=0.2)
    workshops.append(one)
    await stopped(one)
    assert await one.make(order()) == Failed("mime: the process composing it took too long")
    assert one.warnings == ["a composing process took too long"]


async def test_who_no_longer_waits_disturbs_nobody(workshops: list[Watched]) -> None:
    one = Watched()
    workshops.append(one)
    pid = await stopped(one)
    running, waiting, last = (asyncio.ensure_future(one.make(order())) for _ in range(3))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    os.kill(pid, signal.SIGCONT)
    assert isinstance(await last, Made)
    assert one.pids == [pid]


async def test_signals_for_the_worker_do_not_end_its_processes(workshops: list[Watched]) -> None:
    one = Watched()
    workshops.append(one)
    await one.make(order())
    (pid,) = one.pids
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    assert isinstance(await one.make(order()), Made)
    assert one.pids == [pid]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("/nowhere/python",), "no process can be started: No such file or directory"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "a composing process ended with status 3 before it was ready"),
        (
            (sys.executable, "-c", "print('x' * 16, flush=True); input()"),
            "a composing process ended with status -9 before it was ready",
        ),
    ],
)
async def test_without_a_process_nothing_can_be_made_for_now(
    workshops: list[Watched], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], reason: str
) -> None:
    monkeypatch.setattr(adapter, "_COMMAND", command)
    one = Watched()
    workshops.append(one)
    with pytest.raises(WorkshopUnavailableError, match=f"^{reason}$"):
        await one.make(order())
    monkeypatch.undo()
    assert isinstance(await one.make(order()), Made)


async def test_an_answer_that_makes_no_sense_counts_as_none(
    workshops: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import sys
source, target = sys.stdin.buffer, sys.stdout.buffer
for answer in (bytes(8), bytes((0, 0, 0, 1, 0, 0, 0, 0, 1))):
    record, octets = source.read(4), source.read(4)
    source.read(int.from_bytes(record, "big") + int.from_bytes(octets, "big"))
    target.write(answer)
    target.flush()
source.read()
"""
    monkeypatch.setattr(adapter, "_COMMAND", (sys.executable, "-c", code))
    one = Watched()
    workshops.append(one)
    outcome = await one.make(order())
    assert outcome == Failed("mime: the process composing it ended with status -9")


async def test_closing_gives_up_what_is_made_and_what_waits(workshops: list[Watched]) -> None:
    one = Watched()
    workshops.append(one)
    await stopped(one)
    making = [asyncio.ensure_future(one.make(order())) for _ in range(2)]
    await asyncio.sleep(0)
    one.close()
    done = await asyncio.gather(*making, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in done)


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x09\0\0\0\0x", b"\0\0\0\x01\0\0\0\x02\x80x"])
def test_a_process_ends_with_its_input(sent: bytes) -> None:
    done = subprocess.run(adapter._COMMAND, input=sent, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_process_whose_worker_is_gone_ends_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    rules = b"\0\0\0\x01\0\0\0\0\x80"
    done = subprocess.run(adapter._COMMAND, input=rules, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
