"""Which sessions a message may use that others opened (spec delivery.md 8.2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engine import DOMAIN, Engine, mail
from tests.support.scripted_server import Expect, ScriptedServer, Send, opening, transaction
from tests.support.secure import secure_engine, smarthost, starttls
from tests.support.tls import MX, trusted

MANY = transaction() * 5
LEVELS = ("optional", "opportunistic", "required", "verified")


async def deliver(engine: Engine, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Send one after the other; the last result object of each."""
    attempts = []
    for message in messages:
        await engine.send(message)
        attempts.append((await engine.outcome(message["id"])).last)
    return attempts


@pytest.mark.parametrize("level", LEVELS)
async def test_messages_of_one_level_share_a_session(level: str) -> None:
    script = [*opening(), *MANY] if level == "optional" else [*starttls(trusted()), *MANY]
    async with secure_engine(f"smtp-out-security={level}") as engine:
        server = await engine.serve(script)
        attempts = await deliver(engine, mail("m1"), mail("m2"), mail("m3"))

        assert [attempt["messages"] for attempt in attempts] == [1, 2, 3]
        assert server.count == 1


@pytest.mark.parametrize(("first", "second"), [(one, two) for one in LEVELS for two in LEVELS if one != two])
async def test_a_session_serves_no_other_level(first: str, second: str) -> None:
    """Not even a lower one: what was agreed for one message is not what another one asked for."""
    scripts = [
        [*opening(), *MANY] if level == "optional" else [*starttls(trusted()), *MANY] for level in (first, second)
    ]
    async with secure_engine() as engine:
        server = await engine.serve(*scripts)
        attempts = await deliver(engine, mail("m1", security=first), mail("m2", security=second))

        assert [attempt["result"] for attempt in attempts] == ["accepted", "accepted"]
        assert [attempt["messages"] for attempt in attempts] == [1, 1]
        assert server.count == 2


def two_domains(engine: Engine) -> None:
    for domain in ("one.test", "two.test"):
        engine.route(domain, (10, MX, "127.0.0.1"))


async def test_a_certificate_of_the_host_serves_all_its_domains() -> None:
    async with secure_engine("smtp-out-security=verified") as engine:
        two_domains(engine)
        server = await engine.serve([*starttls(trusted(MX)), *MANY])
        attempts = await deliver(engine, mail("m1", recipient="a@one.test"), mail("m2", recipient="b@two.test"))

        assert [attempt["messages"] for attempt in attempts] == [1, 2]
        assert server.count == 1


async def test_a_certificate_of_one_domain_does_not_serve_another() -> None:
    async with secure_engine("smtp-out-security=verified") as engine:
        two_domains(engine)
        server = await engine.serve([*starttls(trusted("one.test")), *MANY], strict=False)
        attempts = await deliver(engine, mail("m1", recipient="a@one.test"), mail("m2", recipient="b@two.test"))

        assert [(attempt["state"], attempt["result"]) for attempt in attempts] == [
            ("message", "accepted"),
            ("starttls", "error"),
        ]
        assert server.count == 2
        assert b"two.test" not in server.connections[0].received + server.connections[1].received


async def test_a_certificate_that_is_wrong_for_one_domain_does_not_stop_another() -> None:
    async with secure_engine("smtp-out-security=verified") as engine:
        two_domains(engine)
        await engine.serve([*starttls(trusted("one.test")), *MANY], strict=False)
        attempts = await deliver(engine, mail("m1", recipient="b@two.test"), mail("m2", recipient="a@one.test"))

        assert [attempt["state"] for attempt in attempts] == ["starttls", "message"]


async def test_hosts_that_share_an_address_share_no_verified_session() -> None:
    async with secure_engine("smtp-out-security=verified") as engine:
        engine.route("one.test", (10, "mx.one.test", "127.0.0.1"))
        engine.route("two.test", (10, "mx.two.test", "127.0.0.1"))
        server = await engine.serve([*starttls(trusted("mx.one.test")), *MANY], strict=False)
        attempts = await deliver(engine, mail("m1", recipient="a@one.test"), mail("m2", recipient="b@two.test"))

        assert [attempt["state"] for attempt in attempts] == ["message", "starttls"]
        assert b"two.test" not in server.connections[0].received


LOGGED_IN = [*opening("AUTH PLAIN"), Expect(rb"AUTH PLAIN [^\r\n]+\r\n"), Send(b"235 2.7.0 Welcome\r\n"), *MANY]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"user": "anna", "password": "a"}, {"user": "otto", "password": "a"}),
        ({"user": "anna", "password": "a"}, {"user": "anna", "password": "b"}),
        ({"user": "anna", "password": "a"}, {"user": None}),
    ],
    ids=["another user", "another password", "no login"],
)
async def test_a_session_serves_no_other_login(first: dict[str, Any], second: dict[str, Any]) -> None:
    async with secure_engine("auth-plaintext=true") as engine:
        server = await engine.serve(LOGGED_IN, [*opening(), *MANY] if second["user"] is None else LOGGED_IN)
        attempts = await deliver(
            engine,
            mail("m1", smarthost=smarthost(engine.port, **first)),
            mail("m2", smarthost=smarthost(engine.port, **second)),
        )

        assert [attempt["messages"] for attempt in attempts] == [1, 1]
        assert server.count == 2


async def test_messages_with_the_same_login_share_a_session() -> None:
    async with secure_engine("auth-plaintext=true") as engine:
        server = await engine.serve(LOGGED_IN)
        relay = smarthost(engine.port)
        attempts = await deliver(
            engine, mail("m1", smarthost=relay), mail("m2", smarthost=relay, recipient="otto@elsewhere.test")
        )

        assert [attempt["messages"] for attempt in attempts] == [1, 2]
        assert server.connections[0].received.count(b"AUTH") == 1


async def test_mail_of_a_domain_never_uses_the_session_of_a_smarthost_at_the_same_address() -> None:
    async with secure_engine("auth-plaintext=true") as engine:
        server = await engine.serve(LOGGED_IN, [*opening(), *MANY])
        await deliver(engine, mail("m1", smarthost=smarthost(engine.port)), mail("m2", recipient=f"anna@{DOMAIN}"))

        assert server.count == 2
        assert b"AUTH" not in server.connections[1].received


async def test_a_host_marked_down_for_those_who_insist_serves_the_others() -> None:
    async with secure_engine() as engine:
        server: ScriptedServer = await engine.serve(opening("SIZE"), [*opening("SIZE"), *MANY])
        attempts = await deliver(engine, mail("m1", security="required"), mail("m2", security="required"), mail("m3"))

        assert [attempt["state"] for attempt in attempts] == ["starttls", "starttls", "message"]
        assert "from" not in attempts[1]  # marked down for this level: not tried again
        assert server.count == 2
