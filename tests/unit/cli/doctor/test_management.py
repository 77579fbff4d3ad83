"""The management plugin: answers as RabbitMQ 3.10 gives them, and everything else a web server may say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from relayq.adapters.rabbitmq import Endpoint
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.cli.doctor.management import (
    BadManagementUrlError,
    ManagementAddress,
    judge_offset,
    look_at_management,
    parse_management_url,
)

NODE = {"name": "rabbit@a", "running": True, "mem_alarm": False, "disk_free_alarm": False, "partitions": []}
QUEUE: dict[str, object] = {
    "name": "outbox",
    "type": "classic",
    "arguments": {},
    "policy": None,
    "effective_policy_definition": [],
}


class Plugin:
    """A web server with two answers.

    Attributes:
        nodes: Body of ``/api/nodes``.
        queue: Body of the queue, ``None`` = there is none.
        authorization: Header of the last request.
    """

    def __init__(self) -> None:
        self.nodes: object = [NODE]
        self.queue: object = QUEUE
        self.raw: bytes | None = None
        self.status = 200
        self.hangs = False
        self.authorization = ""
        self.address = ManagementAddress(url="", user="guest", password="secret")

    async def handle(self, request: web.Request) -> web.Response:
        self.authorization = request.headers.get("Authorization", "")
        if self.hangs:
            await asyncio.Event().wait()
        answer = self.nodes if request.path == "/api/nodes" else self.queue
        if request.raw_path not in {"/api/nodes", "/api/queues/a%2Fb/outbox"} or answer is None:
            return web.Response(status=404)
        body = json.dumps(answer).encode() if self.raw is None else self.raw
        return web.Response(status=self.status, body=body, headers={"Location": "/elsewhere"})

    async def look(self) -> list[Finding]:
        return await look_at_management(self.address, "a/b", "outbox", 2.0 if not self.hangs else 0.1)


@pytest.fixture
async def plugin() -> AsyncIterator[Plugin]:
    plugin = Plugin()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", plugin.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    plugin.address = ManagementAddress(url=f"http://127.0.0.1:{port}", user="guest", password="secret")
    yield plugin
    await runner.cleanup()


async def test_all_well(plugin: Plugin) -> None:
    nodes, clock, policy = await plugin.look()
    assert {nodes.verdict, clock.verdict, policy.verdict} == {Verdict.OK}
    assert plugin.authorization == "Basic Z3Vlc3Q6c2VjcmV0"


async def test_alarms_and_nodes_that_are_gone(plugin: Plugin) -> None:
    plugin.nodes = [NODE | {"mem_alarm": True}, {"name": "rabbit@b", "running": False}, NODE | {"partitions": ["b"]}]
    nodes = (await plugin.look())[0]
    assert nodes.verdict is Verdict.WRONG
    assert nodes.found == "rabbit@a has a memory alarm; rabbit@b does not run; rabbit@a is cut off from b"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"policy": "cut", "effective_policy_definition": {"max-length": 5}}, "policy cut sets max-length 5"),
        ({"policy": "old", "effective_policy_definition": {"message-ttl": 5}}, "policy old sets message-ttl 5"),
        (
            {"type": "quorum", "policy": "dl", "effective_policy_definition": {"delivery-limit": 7}},
            "dropped after 7 deliveries",
        ),
        ({"type": "quorum", "policy": None, "arguments": {"x-delivery-limit": 3}}, "dropped after 3 deliveries"),
    ],
)
async def test_policies_that_lose_mail(plugin: Plugin, change: dict[str, object], text: str) -> None:
    plugin.queue = QUEUE | change
    policy = (await plugin.look())[-1]
    assert (policy.verdict, text in policy.found) == (Verdict.WRONG, True)


async def test_what_is_not_known_yet(plugin: Plugin) -> None:
    plugin.queue = {"type": "classic", "arguments": {}}
    assert (await plugin.look())[-1].verdict is Verdict.UNKNOWN
    plugin.queue = None
    assert (await plugin.look())[-1].found == "the queue is not there yet"


@pytest.mark.parametrize("status", [401, 302, 500])
async def test_refusals(plugin: Plugin, status: int) -> None:
    plugin.status = status
    (finding,) = await plugin.look()
    assert finding.verdict is Verdict.WARNING
    assert str(status) in finding.found
    assert "secret" not in str(finding)


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[1]", b'{"a": 1', b"[" * 100_000, b"\xff\xfe"])
async def test_answers_that_are_none(plugin: Plugin, raw: bytes) -> None:
    plugin.raw = raw
    (finding,) = await plugin.look()
    assert finding.verdict is Verdict.WARNING


async def test_one_that_hangs(plugin: Plugin) -> None:
    plugin.hangs = True
    (finding,) = await plugin.look()
    assert "no answer in time" in finding.found


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [(0.0, Verdict.OK), (-1.5, Verdict.OK), (10.0, Verdict.WARNING), (-300.0, Verdict.WRONG)],
)
def test_clocks(offset: float, verdict: Verdict) -> None:
    assert judge_offset(offset).verdict is verdict


def test_addresses() -> None:
    endpoint = Endpoint(user="u", password="p")
    parsed = parse_management_url("http://h.example:15672/", endpoint)
    assert (parsed.url, parsed.user, parsed.password) == ("http://h.example:15672", "u", "p")
    parsed = parse_management_url("https://a%40b:c%2Fd@[2001:db8::1]:1/prefix", endpoint)
    assert (parsed.url, parsed.user, parsed.password) == ("https://[2001:db8::1]:1/prefix", "a@b", "c/d")
    assert "c/d" not in repr(parsed)
    for text in ("", "h.example", "ftp://h", "http://", "http://h:x", "http://h/?q=1", "http://[::1"):
        with pytest.raises(BadManagementUrlError):
            parse_management_url(text, endpoint)
