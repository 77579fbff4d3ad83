"""Reports to senders, as a whole worker publishes them (spec delivery.md 16)."""

from __future__ import annotations

import email
import email.policy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flufl.bounce import all_failures, scan_message

from relayq.adapters.memory import MemoryBroker, MemoryStore
from relayq.app import rabbitmq_options
from relayq.config import load, parse_options
from relayq.ports import QueueRole
from tests.support.engine import DOMAIN, MIME, OUTBOX, Engine, eventually, mail, parse_at
from tests.support.scripted_server import data, ehlo, greeting, mailfrom, message, opening, rcptto, transaction

ACCEPT = [*opening(), *transaction() * 5]
ACCEPT_WITH_DSN = [*opening("DSN"), *transaction() * 5]
REFUSE = [*opening(), *mailfrom(), *rcptto("550 5.1.1 No such user here")]
BUSY = [*opening(), *mailfrom(), *rcptto("451 4.2.1 come back later")] * 3
QUEUE = "rabbitmq-dsn=dsn"
EVERYTHING = {"notify": "SUCCESS,FAILURE,DELAY"}


class Report:
    """A published report."""

    def __init__(self, engine: Engine, queue: str = "dsn") -> None:
        found = [copy for copy in engine.broker.published if copy.queue == queue and b'"NEVER"' in copy.body]
        assert len(found) == 1, found
        self.copy = found[0]
        self.json: dict[str, Any] = json.loads(self.copy.body)
        self.mime = self.json.get("mime", "").encode()
        self.mail: Any = email.message_from_bytes(self.mime, policy=email.policy.default)

    @property
    def types(self) -> list[str]:
        return [part.get_content_type() for part in self.mail.get_payload()]

    @property
    def fields(self) -> dict[str, str]:
        return {name: value for block in self.mail.get_payload(1).get_payload() for name, value in block.items()}

    @property
    def returned(self) -> bytes:
        """The third part, a header block or a message."""
        part = self.mail.get_payload(2)
        if part.get_content_maintype() == "text":
            octets: bytes = part.get_payload(decode=True)
            return octets
        whole: bytes = part.get_payload(0).as_bytes(policy=email.policy.SMTP)
        return whole


def reports(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(copy.body) for copy in engine.broker.published if copy.queue == "dsn"]


async def test_a_failure_is_reported_with_its_results() -> None:
    async with Engine(QUEUE) as engine:
        await engine.serve(REFUSE)
        dsn = {"notify": "FAILURE,DELAY", "envid": "order+42", "orcpt": "rfc822;first@example.test"}
        given = mail("m1", dsn=dsn, ips=["127.0.0.1"], queues={"failure": "f"}, custom=1, priority=9)
        await engine.send(given)
        await engine.outcome("m1")
        report = Report(engine)
        failure = engine.published("m1").body("f")["results"][-1]

        assert list(report.json) == ["envelope", "recipient", "mime", "dsn"]
        assert (report.json["envelope"], report.json["recipient"]) == ("", "b@shop.test")
        assert report.json["dsn"] == {"notify": "NEVER"}
        assert report.copy.role is QueueRole.RESULT
        assert report.copy.properties.priority is None
        assert report.mail["From"] == "Mail Delivery System <mailer-daemon@mta.test>"
        assert report.mail["Auto-Submitted"] == "auto-replied"
        assert report.types == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
        at = parse_at(failure["time"]).strftime("%a, %d %b %Y %H:%M:%S +0000")
        assert report.fields["Arrival-Date"]
        assert {name: value for name, value in report.fields.items() if name != "Arrival-Date"} == {
            "Reporting-MTA": "dns; mta.test",
            "Original-Envelope-Id": "order+42",
            "Original-Recipient": "rfc822; first@example.test",
            "Final-Recipient": f"rfc822; anna@{DOMAIN}",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.test",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user here",
            "Last-Attempt-Date": at,
        }
        assert report.returned == b"From: n@shop.test\r\nSubject: hello\r\n"
        assert scan_message(email.message_from_bytes(report.mime)) == {b"first@example.test"}


async def test_all_of_it_goes_out_in_one_settlement() -> None:
    async with Engine(QUEUE) as engine:
        await engine.serve(REFUSE)
        await engine.send(mail("m1"))
        await engine.outcome("m1")

        assert [copy.queue for copy in engine.broker.published[1:]] == ["dsn", "results", "failure"]


@pytest.mark.parametrize(
    "given", [{"envelope": ""}, {"envelope": None}, {"dsn": {"notify": "NEVER"}}, {"dsn": {"notify": "DELAY"}}]
)
async def test_who_does_not_want_a_report_gets_none(given: dict[str, Any]) -> None:
    async with Engine(QUEUE) as engine:
        await engine.serve(REFUSE)
        await engine.send(mail("m1", **given))
        await engine.outcome("m1")

        assert reports(engine) == []


async def test_without_a_queue_there_are_no_reports() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto("550 no"), *mailfrom(), *rcptto("550 no")])
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).queues == {"results": 1, "failure": 1}
        await engine.send(mail("m2", queues={"dsn": "mine"}))
        await eventually(lambda: any(copy.queue == "mine" for copy in engine.broker.published), "a report")
        engine.may_lose = True


@pytest.mark.parametrize("name", ["outbox.delay.600", "outbox.park.x", "outbox.poison", "amq.direct"])
async def test_a_reserved_queue_gets_no_report(name: str) -> None:
    async with Engine(QUEUE) as engine:
        await engine.serve(REFUSE)
        await engine.send(mail("m1", queues={"results": "mine", "dsn": name}))

        assert (await engine.outcome("m1")).queues == {"mine": 1}
        assert len(engine.broker.published) == 2
        assert name in engine.observer.warnings[0].text


async def test_a_report_on_the_outbox_is_delivered_and_never_reported_about() -> None:
    async with Engine("rabbitmq-dsn=outbox") as engine:
        engine.route("shop.test", (10, "mx.shop.test", "127.0.0.2"))
        await engine.serve(REFUSE)
        sender_side = await engine.serve([*opening(), *mailfrom(), *rcptto("550 5.1.1 gone")], address="127.0.0.2")
        await engine.send(mail("m1"))
        await eventually(lambda: len(engine.observer.attempts) == 2, "message and report are done")

        assert Report(engine, OUTBOX).copy.role is QueueRole.OUTBOX
        assert b"MAIL FROM:<>" in bytes(sender_side.connections[0].received)
        assert len([copy for copy in engine.broker.published if copy.queue == OUTBOX]) == 2


async def test_the_sender_of_reports_can_be_set() -> None:
    options = ("dsn-envelope=r@shop.test", "dsn-from=postmaster@shop.test", "dsn-mta=out.shop.test")
    async with Engine(QUEUE, *options) as engine:
        await engine.serve(REFUSE)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        report = Report(engine)

        assert report.json["envelope"] == "r@shop.test"
        assert report.mail["From"].addresses[0].addr_spec == "postmaster@shop.test"
        assert report.fields["Reporting-MTA"] == "dns; out.shop.test"


@pytest.mark.parametrize(("script", "is_reported"), [(ACCEPT, True), (ACCEPT_WITH_DSN, False)])
@pytest.mark.parametrize("notify", ["FAILURE", "SUCCESS"])
async def test_success_is_reported_where_the_server_will_not(script: Any, notify: str, *, is_reported: bool) -> None:
    async with Engine(QUEUE, f"dsn-notify={notify}", "result-format=extended") as engine:
        await engine.serve(script)
        await engine.send(mail("m1", dsn={"envid": "e1"}))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "success"
        assert outcome.last["dsn"] is not is_reported
        if notify == "FAILURE" or not is_reported:
            assert reports(engine) == []
            return
        report = Report(engine)
        assert report.fields["Action"] == "relayed"
        assert report.fields["Status"] == "2.0.0"
        assert report.fields["Diagnostic-Code"] == "smtp; 250 2.0.0 queued"
        assert report.fields["Remote-MTA"] == "dns; mx.test"
        assert scan_message(email.message_from_bytes(report.mime)) == set()


def seen(age: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%d %H:%M:%S")


async def test_a_delay_is_reported_once() -> None:
    raw = b'{"envelope":"b@shop.test","recipient":"anna@example.test","id":"m1","seen":"%s",' % seen(20_000).encode()
    raw += b'"dsn": {"x": [1.0,  2e5], "notify" :"delay" },"mime":"Subject: x\\r\\n\\r\\nx\\r\\n"}'
    async with Engine(QUEUE) as engine:
        await engine.serve(*[[*opening(), *mailfrom(), *rcptto("451 4.2.1 later")]] * 2)
        await engine.send(raw)
        outcome = await engine.outcome("m1")
        report = Report(engine)

        again = outcome.copies[OUTBOX][0].body
        assert b'"dsn":{"x":[1.0,  2e5],"notify":"delay","delay-sent":true}' in again
        assert b'"delay-sent":true' in outcome.copies["retry"][0].body
        assert report.fields["Action"] == "delayed"
        assert report.fields["Status"] == "4.2.1"
        until = parse_at(json.loads(raw)["seen"]) + timedelta(days=1)
        assert report.fields["Will-Retry-Until"] == until.strftime("%a, %d %b %Y %H:%M:%S +0000")
        temporary, permanent = all_failures(email.message_from_bytes(report.mime))
        assert (set(temporary), set(permanent)) == ({b"anna@example.test"}, set())

        due = json.loads(again)
        await engine.send({name: value for name, value in due.items() if name != "delayed"})
        await eventually(lambda: len(engine.observer.attempts) == 2, "the second attempt")
        await eventually(lambda: len(engine.published("m1").copies["retry"]) == 2, "the second retry")
        assert len(reports(engine)) == 1


@pytest.mark.parametrize(
    ("age", "given"), [(14_000, {"dsn": {"notify": "DELAY"}}), (20_000, {}), (20_000, {"envelope": ""})]
)
async def test_no_delay_is_reported_early_or_unasked(age: float, given: dict[str, Any]) -> None:
    async with Engine(QUEUE) as engine:
        await engine.serve(BUSY)
        await engine.send(mail("m1", seen=seen(age), **given))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "retry"
        assert reports(engine) == []
        assert "delay-sent" not in json.dumps(outcome.body(OUTBOX))


async def test_a_delay_can_be_wanted_by_the_configuration() -> None:
    async with Engine(QUEUE, "dsn-notify=DELAY", "dsn-delay-after=10") as engine:
        await engine.serve(BUSY)
        await engine.send(mail("m1", seen=seen(12)))
        outcome = await engine.outcome("m1")

        assert Report(engine).fields["Action"] == "delayed"
        assert list(outcome.body(OUTBOX))[-1] == "dsn"
        assert outcome.body(OUTBOX)["dsn"] == {"delay-sent": True}


async def test_failures_of_our_own_have_codes_of_our_own() -> None:
    async with Engine(QUEUE) as engine:
        engine.resolver.set_mx("none.test", [(0, "")])
        await engine.send(mail("m1", recipient="anna@none.test"))
        await engine.outcome("m1")
        report = Report(engine)

        assert report.fields["Status"] == "5.1.10"
        assert "Diagnostic-Code" not in report.fields
        assert "Remote-MTA" not in report.fields
        assert "5.1.10 domain accepts no mail" in report.mail.get_payload(0).get_content()


@pytest.mark.parametrize("options", [(), ("result-local-codes=true",)])
@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"maxdelivertime": "2001-01-01 00:00:00"}, "4.4.7"),
        ({"mime": None, "key": "k"}, "5.6.0"),
        ({"mime": "a\0b"}, "5.6.5"),
    ],
)
async def test_a_message_that_was_never_sent(options: tuple[str, ...], given: dict[str, Any], status: str) -> None:
    async with Engine(QUEUE, *options) as engine:
        await engine.send(mail("m1", **given))
        await engine.outcome("m1")
        report = Report(engine)

        assert (report.fields["Action"], report.fields["Status"]) == ("failed", status)
        assert "Diagnostic-Code" not in report.fields
        assert set(scan_message(email.message_from_bytes(report.mime))) == {f"anna@{DOMAIN}".encode()}


@pytest.mark.parametrize(
    ("given", "status"),
    [({"maxattempts": "many"}, "5.6.0"), ({"dsn": {"notify": 3}, "retries": []}, "5.6.0"), ({"mime": None}, "5.6.0"),
     ({"queues": 3}, "5.6.0")],
)  # fmt: skip
async def test_an_unusable_message_is_reported_if_its_addresses_are_usable(given: dict[str, Any], status: str) -> None:
    async with Engine(QUEUE) as engine:
        await engine.send(mail("m1", **given))
        await engine.outcome("m1")

        assert Report(engine).fields["Status"] == status


@pytest.mark.parametrize("given", [{"recipient": "nobody"}, {"envelope": "nobody"}, {"recipient": None}])
async def test_an_unusable_address_ends_it(given: dict[str, Any]) -> None:
    async with Engine(QUEUE) as engine:
        await engine.send(mail("m1", **given))
        await engine.outcome("m1")

        assert reports(engine) == []


@pytest.mark.parametrize("options", [("dsn-ret=FULL",), ()])
async def test_the_whole_message_as_it_was_sent(options: tuple[str, ...]) -> None:
    async with Engine(QUEUE, *options) as engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto(), *data(), *message("554 5.7.1 spam")])
        bare = "Subject: x\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n"
        await engine.send(mail("m1", mime=bare, dsn={} if options else {"ret": "full"}))
        await engine.outcome("m1")
        report = Report(engine)

        assert report.types[2] == "message/rfc822"
        assert b"base64" in report.returned  # the server takes no 8-bit content


async def test_stored_content_is_loaded_for_the_report() -> None:
    store = MemoryStore()
    async with Engine(QUEUE, store=store) as engine:
        await store.save("k1", MIME.encode(), datetime.now(UTC) + timedelta(days=1))
        await engine.serve(REFUSE)
        await engine.send(mail("m1", mime=None, key="k1"))
        await engine.outcome("m1")

        key = Report(engine).json["key"]
        stored = await store.load(key)
        assert stored is not None
        report = email.message_from_bytes(stored)
        assert report.get_payload(2).get_payload() == "From: n@shop.test\r\nSubject: hello\r\n"  # type: ignore[union-attr]


async def test_an_international_recipient() -> None:
    async with Engine(QUEUE) as engine:
        await engine.serve([*greeting(), *ehlo()])
        await engine.send(mail("m1", recipient=f"аня@{DOMAIN}"))
        await engine.outcome("m1")
        report = Report(engine)

        assert report.types[1] == "message/global-delivery-status"
        assert f"Final-Recipient: utf-8; аня@{DOMAIN}\r\n".encode() in report.mime
        assert b"Status: 5.6.7\r\n" in report.mime


async def test_a_report_that_is_too_large_returns_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryBroker, "max_publish_bytes", 20_000)
    async with Engine(QUEUE) as engine:
        await engine.serve(REFUSE)
        await engine.send(mail("m1", mime=MIME + "x\r\n" * 8000, dsn={"ret": "FULL"}))
        await engine.outcome("m1")

        assert Report(engine).returned == b"From: n@shop.test\r\nSubject: hello\r\n"


async def test_the_same_message_gives_the_same_report_identifier() -> None:
    found = set()
    for _ in range(2):
        async with Engine(QUEUE) as engine:
            engine.resolver.set_mx(DOMAIN, [(0, "")])
            await engine.send(mail("m1"))
            await engine.outcome("m1")
            found.add(Report(engine).mail["Message-ID"])
    assert len(found) == 1


async def test_trouble_with_a_report_costs_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.delivery.reporter.compose_report", lambda facts: 1 / 0)
    async with Engine(QUEUE) as engine:
        engine.may_crash = True
        await engine.serve(ACCEPT)
        await engine.send(mail("m1", dsn=EVERYTHING))

        assert (await engine.outcome("m1")).kind == "success"
        assert [crash.component for crash in engine.observer.crashes] == ["reporter"]


async def test_the_queue_is_declared_with_the_others() -> None:
    settings = load(
        parse_options([f"--{QUEUE}", "--rabbitmq-outbox=outbox", "--hostname=mta.test"]),
        environ={},
        no_default_config=True,
    )

    assert "dsn" in rabbitmq_options(settings, (), None, "worker 1", is_worker=True).queues
    assert "dsn" not in rabbitmq_options(settings, (), None, "inject", is_worker=False).queues
