"""``result-format: extended`` (spec results.md 10): what a result tells besides the nine properties."""

from __future__ import annotations

from tests.support.engine import Engine, mail
from tests.support.scripted_server import Expect, Send, data, mailfrom, message, opening, rcptto, transaction
from tests.support.secure import secure_engine, smarthost, starttls
from tests.support.tls import MX, expired, self_signed, trusted

EXTENDED = "result-format=extended"
BASIC = {"state", "result", "time", "from", "to", "messages", "code", "status", "description"}


async def test_nothing_of_it_without_the_setting() -> None:
    async with secure_engine("smtp-out-security=required") as engine:
        await engine.serve([*starttls(trusted()), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).last.keys() == BASIC


async def test_a_session_in_clear() -> None:
    async with Engine(EXTENDED) as engine:
        await engine.serve([*opening("DSN", "PIPELINING"), *transaction()])
        await engine.send(mail("m1"))
        attempt = (await engine.outcome("m1")).last

    content = b"From: n@shop.test\r\nSubject: hello\r\n\r\nHello.\r\n"
    commands = b"EHLO mta.test\r\nMAIL FROM:<b@shop.test>\r\nRCPT TO:<anna@example.test>\r\nDATA\r\n"
    assert list(attempt)[9:] == ["mta", "dsn", "sent", "attempt"]
    assert {name: attempt[name] for name in ("mta", "dsn", "sent", "attempt")} == {
        "mta": "mx.test",
        "dsn": True,
        "sent": {"connection": len(commands + content + b".\r\n"), "data": len(content)},
        "attempt": 1,
    }


async def test_a_session_under_tls_with_a_login() -> None:
    async with secure_engine(EXTENDED, "smtp-out-security=required", details=True) as engine:
        await engine.serve([
            *starttls(self_signed(), "AUTH PLAIN"), Expect(rb"AUTH PLAIN [^\r\n]+\r\n"), Send(b"235 ok\r\n"),
            *transaction(),
        ])  # fmt: skip
        await engine.send(mail("m1", smarthost=smarthost(engine.port)))
        attempt = (await engine.outcome("m1")).last

    assert list(attempt)[9:] == ["mta", "dsn", "authentication", "cipher", "certificate", "sent", "attempt"]
    assert attempt["dsn"] is False
    assert attempt["authentication"] == "plain"
    assert attempt["cipher"] == {
        "name": "TLS_AES_256_GCM_SHA384", "bits": 256, "algbits": 256, "version": "TLSv1.3", "id": 0x1302,
    }  # fmt: skip
    assert attempt["certificate"] == {
        "notbefore": "2026-01-01 00:00:00",
        "notafter": "2125-12-08 00:00:00",
        "version": 3,
        "verified": False,
        "result": "not checked",
        "self-signed": True,
        "subject": {"common": MX, "country": "NL", "organization": "Own word"},
        "issuer": {"common": MX, "country": "NL", "organization": "Own word"},
        "altnames": [MX],
    }


async def test_a_certificate_that_was_checked() -> None:
    async with secure_engine(EXTENDED, "smtp-out-security=verified", details=True) as engine:
        await engine.serve([*starttls(trusted()), *transaction()])
        await engine.send(mail("m1"))
        certificate = (await engine.outcome("m1")).last["certificate"]

    assert (certificate["verified"], certificate["result"], certificate["self-signed"]) == (True, "ok", False)


async def test_a_failure_tells_what_was_known_by_then() -> None:
    async with secure_engine(EXTENDED, "smtp-out-security=opportunistic", details=True) as engine:
        await engine.serve([*starttls(expired(), "DSN"), *mailfrom("550 5.1.0 No")])
        await engine.send(
            mail("m1", results=[{"state": "connect", "result": "timeout", "time": "2026-01-01 00:00:00"}])
        )
        attempt = (await engine.outcome("m1")).last

    assert list(attempt)[9:] == ["mta", "cipher", "certificate", "sent", "attempt"]
    assert attempt["sent"]["data"] == 0
    assert attempt["attempt"] == 2


async def test_octets_add_up_over_a_connection() -> None:
    async with Engine(EXTENDED) as engine:
        await engine.serve([*opening(), *transaction(), *mailfrom(), *rcptto(), *data(), *message("451 4.0.0 Later")])
        await engine.send(mail("m1", mime="Subject: 1\r\n\r\n.\r\n"))
        first = (await engine.outcome("m1")).last["sent"]
        await engine.send(mail("m2", mime="Subject: 22\r\n\r\n"))
        second = (await engine.outcome("m2")).last["sent"]

    assert first["data"] == len("Subject: 1\r\n\r\n.\r\n")
    assert second["data"] == first["data"] + len("Subject: 22\r\n\r\n")
    assert second["connection"] > first["connection"] + 15


async def test_failures_without_a_connection_are_counted_too() -> None:
    earlier = [{"state": "connect", "result": "timeout", "time": "2026-01-01 00:00:00"}] * 2
    async with Engine(EXTENDED) as engine:
        await engine.send(
            mail("m1", recipient="anna@nowhere.test", results=earlier), mail("m2", recipient="nobody", results=earlier),
            mail("m3", mime=None, results=earlier),
        )  # fmt: skip
        for ident in ("m1", "m2", "m3"):
            attempt = (await engine.outcome(ident, attempts=3)).last
            assert list(attempt) == ["state", "result", "time", "attempt"]
            assert attempt["attempt"] == 3


async def test_a_body_that_is_no_json_is_a_first_attempt() -> None:
    async with Engine(EXTENDED) as engine:
        await engine.send(b"no JSON")
        attempt = (await engine.outcome()).last

    assert list(attempt) == ["state", "result", "time", "attempt"]
    assert attempt["attempt"] == 1


async def test_the_copy_of_a_failure_says_that_nothing_was_tried() -> None:
    async with Engine(EXTENDED) as engine:
        await engine.serve([Send(b"554 5.7.1 Go away\r\n")])
        await engine.send(mail("m1"))
        assert "tried" not in (await engine.outcome("m1")).last
        await engine.send(mail("m2"))
        attempt = (await engine.outcome("m2")).last

    assert list(attempt) == ["state", "result", "time", "code", "status", "description", "attempt", "tried"]
    assert attempt["tried"] is False
