"""TLS from the first octet, on the port for it (RFC 8314, spec delivery.md 10)."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.support.engine import Engine, mail
from tests.support.ports import free_port
from tests.support.scripted_server import Close, Expect, ScriptedServer, Send, Stall, opening, transaction
from tests.support.secure import secure_engine, smarthost
from tests.support.tap import Tap
from tests.support.tls import self_signed, trusted

PORT = 465
LEVELS = ("optional", "opportunistic", "required", "verified")
RELAY = "relay.test"


def engine_for(port: int, *options: str) -> Engine:
    engine = secure_engine(*options, ports={PORT: port})
    engine.resolver.set_addresses(RELAY, "127.0.0.1")
    return engine


def to_relay(**members: Any) -> dict[str, Any]:
    return mail("m1", smarthost=smarthost(PORT, RELAY, user=None), **members)


@pytest.mark.parametrize("level", LEVELS)
async def test_every_level_starts_with_tls(level: str) -> None:
    async with (
        ScriptedServer([*opening("PIPELINING"), *transaction()], tls=trusted(RELAY)) as server,
        engine_for(server.port, f"smtp-out-security={level}") as engine,
    ):
        await engine.send(to_relay())

        assert (await engine.outcome("m1")).kind == "success"
        assert b"STARTTLS" not in server.connections[0].received


@pytest.mark.parametrize(
    ("level", "certificate", "kind"),
    [
        ("opportunistic", self_signed, "success"),
        ("required", self_signed, "success"),
        ("verified", self_signed, "retry"),
        ("verified", lambda: trusted("other.test"), "retry"),
    ],
)
async def test_certificates(level: str, certificate: Any, kind: str) -> None:
    context: ssl.SSLContext = certificate()
    async with (
        ScriptedServer([*opening("PIPELINING"), *transaction()], tls=context, strict=False) as server,
        engine_for(server.port, f"smtp-out-security={level}") as engine,
    ):
        await engine.send(to_relay())
        outcome = await engine.outcome("m1")

        assert outcome.kind == kind
        if kind == "retry":
            assert outcome.cell == ("starttls", "error")


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ([*opening(), *transaction()], "invalid"),
        ([Stall()], "timeout"),
        ([Close()], "lost"),
        ([Expect(rb"\x16\x03"), Send(b"\x15\x03\x03\x00\x02\x02\x28")], "error"),
    ],
    ids=["greets in clear", "silent", "closes", "alert"],
)
@pytest.mark.parametrize("level", LEVELS)
async def test_there_is_no_way_back_to_clear_text(level: str, script: Any, result: str) -> None:
    patience = 0.3 if result == "timeout" else 60
    async with (
        ScriptedServer(script, strict=False) as server,
        engine_for(server.port, f"smtp-out-security={level}", f"smtp-out-timeout-starttls={patience}") as engine,
    ):
        await engine.send(to_relay())
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", ("starttls", result))
        assert outcome.last["messages"] == 1
        assert server.count == 1
        for word in (b"EHLO", b"MAIL", b"anna@"):
            assert word not in server.connections[0].received


async def test_nothing_can_be_read_on_the_wire() -> None:
    port = free_port("127.0.0.1")
    async with (
        ScriptedServer([*opening("PIPELINING"), *transaction()], tls=trusted(RELAY)) as server,
        Tap("127.0.0.1", port, server.port) as tap,
        engine_for(port) as engine,
    ):
        await engine.send(to_relay())

        assert (await engine.outcome("m1")).kind == "success"
        assert tap.in_clear.startswith(b"\x16\x03")
        assert b"EHLO" not in tap.in_clear
