"""Logins at a smarthost: mechanisms, fallbacks, and that nobody else sees a password (spec delivery.md 11)."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import logging

import pytest

from relayq.trial import Sink
from tests.support.engine import Engine, eventually, mail
from tests.support.scripted_server import (
    Expect,
    RecordingSink,
    ScriptedServer,
    Send,
    StartTls,
    Step,
    ehlo,
    opening,
    transaction,
)
from tests.support.secure import PASSWORD, USER, secure_engine, smarthost, starttls
from tests.support.tap import Tap
from tests.support.tls import trusted

CHALLENGE = b"<1896.697170952@mx.test>"
PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
NAME, WORD = base64.b64encode(USER.encode()), base64.b64encode(PASSWORD.encode())
DIGEST = hmac.new(PASSWORD.encode(), CHALLENGE, "md5").hexdigest()
RESPONSE = base64.b64encode(f"{USER} {DIGEST}".encode())

WELCOME = Send(b"235 2.7.0 Welcome\r\n")
CRAM: list[Step] = [
    Expect(rb"AUTH CRAM-MD5\r\n"),
    Send(b"334 " + base64.b64encode(CHALLENGE) + b"\r\n"),
    Expect(RESPONSE + rb"\r\n"),
]
PLAIN_LINE: list[Step] = [Expect(rb"AUTH PLAIN " + PLAIN + rb"\r\n")]
LOGIN: list[Step] = [
    Expect(rb"AUTH LOGIN\r\n"), Send(b"334 whatever\r\n"), Expect(NAME + rb"\r\n"), Send(b"334 dGhpcyBvciB0aGF0\r\n"),
    Expect(WORD + rb"\r\n"),
]  # fmt: skip


def refuse(code: int) -> Send:
    return Send(b"%d 5.7.8 No\r\n" % code)


ACCEPTED: dict[str, tuple[str, list[Step]]] = {
    "cram-md5": ("CRAM-MD5", [*CRAM, WELCOME]),
    "plain": ("PLAIN", [*PLAIN_LINE, WELCOME]),
    "plain, asked for": ("PLAIN", [*PLAIN_LINE, Send(b"334 \r\n"), Expect(PLAIN + rb"\r\n"), WELCOME]),
    "login": ("LOGIN", [*LOGIN, WELCOME]),
    "the one that hides the password": ("LOGIN PLAIN CRAM-MD5", [*CRAM, WELCOME]),
    "plain before login": ("LOGIN PLAIN", [*PLAIN_LINE, WELCOME]),
    "plain after a wrong digest": ("PLAIN CRAM-MD5", [*CRAM, refuse(535), *PLAIN_LINE, WELCOME]),
    "plain after 504": ("PLAIN CRAM-MD5", [Expect(rb"AUTH CRAM-MD5\r\n"), refuse(504), *PLAIN_LINE, WELCOME]),
    "login after 534": ("PLAIN LOGIN", [*PLAIN_LINE, refuse(534), *LOGIN, WELCOME]),
    "login after 538": ("PLAIN LOGIN", [*PLAIN_LINE, refuse(538), *LOGIN, WELCOME]),
    "all in turn": (
        "PLAIN LOGIN CRAM-MD5", [*CRAM, refuse(535), *PLAIN_LINE, refuse(504), *LOGIN, WELCOME]
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", ACCEPTED)
async def test_a_login_under_tls(how: str) -> None:
    offered, script = ACCEPTED[how]
    async with (
        secure_engine("result-format=extended") as engine,
        ScriptedServer([*starttls(trusted(), f"AUTH {offered}"), *script, *transaction()]) as server,
        Tap("127.0.0.1", engine.port, server.port) as tap,
    ):
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "success"
        assert outcome.last["authentication"] in {"cram-md5", "plain", "login"}
        assert b"AUTH" not in tap.in_clear


REFUSED: dict[str, tuple[str, list[Step], str]] = {
    "535 to plain is the last word": ("PLAIN LOGIN", [*PLAIN_LINE, refuse(535)], "authplain"),
    "535 to login": ("LOGIN", [*LOGIN, refuse(535)], "authpassword"),
    "535 to a digest, nothing else offered": ("CRAM-MD5", [*CRAM, refuse(535)], "authresponse"),
    "535 to the user name": ("LOGIN", [*LOGIN[:3], refuse(535)], "authusername"),
    "4xx": ("PLAIN LOGIN", [*PLAIN_LINE, Send(b"454 4.7.0 Temporary\r\n")], "authplain"),
}


@pytest.mark.parametrize("how", REFUSED)
async def test_a_refused_login(how: str) -> None:
    offered, script, state = REFUSED[how]
    async with secure_engine() as engine:
        server = await engine.serve([*starttls(trusted(), f"AUTH {offered}"), *script, *transaction()], strict=False)
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", (state, "error"))
        assert b"MAIL" not in server.connections[0].received


async def test_a_wrong_password_is_not_shown_to_the_next_address_nor_again() -> None:
    """A refused login must not lock the account (spec delivery.md 11)."""
    async with secure_engine() as engine:
        engine.resolver.set_addresses("relay.test", "127.0.0.1", "127.0.0.2")
        script = [*starttls(trusted(), "AUTH PLAIN"), *PLAIN_LINE, refuse(535)]
        servers = [await engine.serve(script, address=address) for address in ("127.0.0.1", "127.0.0.2")]
        relay = smarthost(engine.port, "relay.test")
        await engine.send(mail("m1", smarthost=relay))
        assert (await engine.outcome("m1")).cell == ("authplain", "error")
        assert sum(server.count for server in servers) == 1
        for ident in ("m2", "m3"):
            await engine.send(mail(ident, smarthost=relay))
            assert (await engine.outcome(ident)).cell == ("authplain", "error")
        # Which of the two a later message asks is random; the one that refused is not asked again.
        assert all(server.count <= 1 for server in servers)


async def test_another_user_is_not_held_responsible() -> None:
    async with secure_engine() as engine:
        await engine.serve(
            [*starttls(trusted(), "AUTH PLAIN"), Expect(rb"AUTH PLAIN [^\r\n]+\r\n"), refuse(535)],
            [*starttls(trusted(), "AUTH PLAIN"), *PLAIN_LINE, WELCOME, *transaction()],
        )
        await engine.send(mail("m1", smarthost=smarthost(engine.port, user="somebody")))
        assert (await engine.outcome("m1")).kind == "retry"
        await engine.send(mail("m2", smarthost=smarthost(engine.port)))

        assert (await engine.outcome("m2")).kind == "success"


@pytest.mark.parametrize("offered", ["PLAIN", "LOGIN", "PLAIN LOGIN", "XOAUTH2", "GSSAPI"])
async def test_no_password_goes_out_in_clear(offered: str) -> None:
    async with (
        secure_engine("smtp-out-security=opportunistic") as engine,
        ScriptedServer([*opening(f"AUTH {offered}"), *transaction()], strict=False) as server,
        Tap("127.0.0.1", engine.port, server.port) as tap,
    ):
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", ("authplain", "error"))
        assert "code" not in outcome.last
        assert tap.in_clear.strip() in {b"EHLO mta.test", b"EHLO mta.test\r\nQUIT"}


async def test_the_operator_may_allow_it() -> None:
    async with secure_engine("auth-plaintext=true") as engine:
        await engine.serve([*opening("AUTH LOGIN"), *LOGIN, WELCOME, *transaction()])
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))

        assert (await engine.outcome("m1")).kind == "success"


async def test_a_digest_may_go_out_in_clear() -> None:
    async with secure_engine() as engine:
        await engine.serve([*opening("AUTH CRAM-MD5 PLAIN"), *CRAM, WELCOME, *transaction()])
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))

        assert (await engine.outcome("m1")).kind == "success"


async def test_with_a_login_tls_is_used_whenever_it_is_offered() -> None:
    async with secure_engine("smtp-out-security=optional") as engine:
        server = await engine.serve([*starttls(trusted(), "AUTH PLAIN"), *PLAIN_LINE, WELCOME, *transaction()])
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))

        assert (await engine.outcome("m1")).kind == "success"
        assert b"STARTTLS" in server.connections[0].received


async def test_the_password_that_goes_out_under_tls_is_not_sent_in_clear_when_the_handshake_fails() -> None:
    """An attacker who breaks the handshake gains nothing."""
    async with (
        secure_engine("smtp-out-security=opportunistic") as engine,
        ScriptedServer(
            [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\nnot TLS\r\n")],
            opening("STARTTLS", "AUTH PLAIN LOGIN"),
            strict=False,
        ) as server,
        Tap("127.0.0.1", engine.port, server.port) as tap,
    ):
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))

        assert (await engine.outcome("m1")).cell == ("authplain", "error")
        assert len(tap.sent) == 2
        for secret in (PLAIN, WORD, NAME, PASSWORD.encode()):
            assert secret not in tap.in_clear


async def test_real_names_and_passwords_reach_the_server() -> None:
    user, password = "bücher@relay.test", "päss wörd 😀"
    async with RecordingSink(tls=trusted()) as sink, secure_engine() as engine:
        relay = smarthost(sink.port, user=user, password=password)
        await engine.send(mail("m1", smarthost=relay))
        await engine.outcome("m1")

        assert [(message.user, message.is_tls) for message in sink.messages] == [(user, True)]


async def test_the_password_of_the_configuration_stays_with_its_host() -> None:
    """A message's smarthost replaces the configured one as a whole (spec messages.md 4.16)."""
    async with ScriptedServer([*opening("AUTH PLAIN"), *transaction()]) as other:
        options = ("smarthost=127.0.0.1", f"smarthost-username={USER}", f"smarthost-password={PASSWORD}")
        engine = secure_engine("auth-plaintext=true", *options)
        async with _with_smarthost_port(engine):
            mine = await engine.serve([*opening("AUTH PLAIN"), *PLAIN_LINE, WELCOME, *transaction()])
            await engine.send(mail("m1"), mail("m2", smarthost={"hostname": "127.0.0.1", "port": other.port}))

            assert (await engine.outcome("m1")).kind == "success"
            assert (await engine.outcome("m2")).kind == "success"
            assert b"AUTH" in mine.connections[0].received
            assert b"AUTH" not in other.connections[0].received


def _with_smarthost_port(engine: Engine) -> Engine:
    """The port is known only now."""
    settings = engine._settings
    relay = dataclasses.replace(settings.smarthost, port=engine.port)
    engine._settings = dataclasses.replace(settings, smarthost=relay)
    return engine


async def test_nothing_that_is_logged_shown_or_published_by_the_engine_holds_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with secure_engine() as engine:
        await engine.serve([*starttls(trusted(), "AUTH PLAIN"), *PLAIN_LINE, refuse(535)])
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))
        outcome = await engine.outcome("m1")
        ((route, lane),) = engine.worker.scheduler._pool._lanes.items()
        shown = "\n".join([
            repr(engine.observer.events), *(str(attempt.error) for attempt in engine.observer.attempts),
            repr(route), str(route), repr(vars(lane)), str(outcome.last), repr(engine._settings), caplog.text,
        ])  # fmt: skip

    assert "relay-user" in shown
    for secret in (PASSWORD, PLAIN.decode(), WORD.decode()):
        assert secret not in shown


async def test_the_sink_has_a_login_of_its_own() -> None:
    """Every connection goes to the sink, with its credentials and without demands (spec delivery.md 6)."""
    async with RecordingSink(tls=trusted("elsewhere.test")) as sink:
        options = (
            "smtp-sink-address=127.0.0.1", f"smtp-sink-port={sink.port}", "smtp-sink-username=tester",
            "smtp-sink-password=for-tests", "smtp-out-security=verified",
        )  # fmt: skip
        async with secure_engine(*options) as engine:
            await engine.send(mail("m1"), mail("m2", smarthost=smarthost(engine.port), security="required"))
            for ident in ("m1", "m2"):
                assert (await engine.outcome(ident)).kind == "success"

    assert [message.user for message in sink.messages] == ["tester", "tester"]


@pytest.mark.parametrize("level", ["required", "verified"])
async def test_a_sink_needs_no_tls(level: str) -> None:
    async with Sink() as sink:
        options = ("smtp-sink-address=127.0.0.1", f"smtp-sink-port={sink.port}", f"smtp-out-security={level}")
        async with secure_engine(*options) as engine:
            await engine.send(mail("m1"))

            assert (await engine.outcome("m1")).kind == "success"


async def test_credentials_of_a_message_do_not_reach_the_sink() -> None:
    async with RecordingSink() as sink:
        options = ("smtp-sink-address=127.0.0.1", f"smtp-sink-port={sink.port}", "auth-plaintext=true")
        async with secure_engine(*options) as engine:
            await engine.send(mail("m1", smarthost=smarthost(engine.port)))
            await engine.outcome("m1")

    assert [message.user for message in sink.messages] == [None]


async def test_a_slow_login_holds_up_nobody_else() -> None:
    async with secure_engine("auth-plaintext=true") as engine:
        slow = await engine.serve([*opening("AUTH PLAIN"), *PLAIN_LINE], address="127.0.0.2")
        await engine.serve([*opening(), *transaction()])
        await engine.send(mail("m1", smarthost=smarthost(engine.port, "127.0.0.2")))
        connection = await slow.connection(0)
        await eventually(lambda: b"AUTH" in connection.received, "the login begins")
        await engine.send(mail("m2"))

        assert (await engine.outcome("m2")).kind == "success"
        await slow.__aexit__(None, None, None)
        assert (await engine.outcome("m1")).cell == ("authplain", "lost")


async def test_an_answer_of_two_ehlos_is_that_of_the_second() -> None:
    """AUTH announced in clear only is not believed under TLS."""
    async with secure_engine() as engine:
        await engine.serve([
            *opening("STARTTLS", "AUTH PLAIN"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\n"), StartTls(trusted()),
            *ehlo("SIZE"),
        ])  # fmt: skip
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))

        assert (await engine.outcome("m1")).cell == ("authplain", "error")
