"""Policies that domains publish over HTTPS (RFC 8461), from the web server to the result."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

import relayq.app.sending
from relayq.adapters.memory import TlsFailed
from relayq.adapters.mta_sts import HttpsPolicies
from relayq.adapters.policy_fetcher import PolicyFetcher
from relayq.config import Settings
from relayq.model import TlsaRecord
from relayq.ports import Clock, DomainPolicies, Resolver
from tests.support.engine import DOMAIN, Engine, eventually, mail
from tests.support.ports import free_port
from tests.support.scripted_server import opening, transaction
from tests.support.secure import secure_engine, starttls
from tests.support.tls import MX, ca_file, self_signed, trusted

HOST = f"mta-sts.{DOMAIN}"
ENFORCE = f"version: STSv1\r\nmode: enforce\r\nmx: {MX}\r\nmax_age: 86400\r\n"


class PolicyHost:
    """The web server of a domain.

    Attributes:
        text: Its policy file.
        status: Of its answers.
        requests: Paths asked for.
    """

    def __init__(self) -> None:
        self.text = ENFORCE
        self.status = 200
        self.content_type = "text/plain"
        self.requests: list[str] = []
        self.port = free_port("127.0.0.1")
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.host} {request.path}")
        await self.gate.wait()
        headers = {"Location": "https://elsewhere.test/"} if self.status in {301, 302} else None
        return web.Response(text=self.text, status=self.status, content_type=self.content_type, headers=headers)


@pytest.fixture
async def policy_host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PolicyHost]:
    async with serve_policy(lambda: trusted(HOST), monkeypatch) as host:
        yield host


def serve_policy(context: Callable[[], ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> _Serving:
    return _Serving(context(), monkeypatch)


class _Serving:
    """The web server while it runs, and the product told to look for it on its port."""

    def __init__(self, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        self._context = context
        self._monkeypatch = monkeypatch
        self._runner: web.AppRunner

    async def __aenter__(self) -> PolicyHost:
        host = PolicyHost()

        def policies(settings: Settings, resolver: Resolver, clock: Clock) -> DomainPolicies | None:
            if settings.session.mta_sts == "never":
                return None
            fetcher = PolicyFetcher(resolver, port=host.port, ca_file=ca_file(), may_connect=lambda _: True)
            return HttpsPolicies(resolver, fetcher, clock)

        self._monkeypatch.setattr(relayq.app.sending, "_domain_policies", policies)
        app = web.Application()
        app.router.add_get("/{path:.*}", host.answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", host.port, ssl_context=self._context).start()
        return host

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def engine_for(*options: str) -> Engine:
    engine = secure_engine("mta-sts=auto", *options)
    engine.resolver.set_txt(f"_mta-sts.{DOMAIN}", "v=STSv1; id=20310301;")
    engine.resolver.set_addresses(HOST, "127.0.0.1")
    return engine


async def test_a_host_of_the_policy_with_a_good_certificate_gets_the_mail(policy_host: PolicyHost) -> None:
    async with engine_for("smtp-out-security=optional") as engine:
        await engine.serve([*starttls(trusted()), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert policy_host.requests == [f"{HOST}:{policy_host.port} /.well-known/mta-sts.txt"]


@pytest.mark.parametrize(
    ("certificate", "kind"),
    [
        (self_signed, "certificate-not-trusted"),
        (lambda: trusted("other.test"), "certificate-host-mismatch"),
        (lambda: trusted(DOMAIN), "certificate-host-mismatch"),
    ],
)
async def test_a_host_with_another_certificate_gets_none(
    policy_host: PolicyHost, certificate: Callable[[], ssl.SSLContext], kind: str
) -> None:
    del policy_host
    async with engine_for() as engine:
        peer = await engine.serve([*starttls(certificate()), *transaction()], strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", ("starttls", "error"))
        assert b"MAIL" not in peer.connections[0].received
        assert engine.observer.all_of(TlsFailed) == [TlsFailed(DOMAIN, MX, "sts", kind)]


async def test_a_host_without_tls_gets_none(policy_host: PolicyHost) -> None:
    del policy_host
    async with engine_for("smtp-out-security=opportunistic") as engine:
        peer = await engine.serve([*opening("SIZE"), *transaction()], strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")
        assert b"MAIL" not in peer.connections[0].received


async def test_a_host_the_policy_does_not_name_is_not_even_connected(policy_host: PolicyHost) -> None:
    policy_host.text = ENFORCE.replace(MX, "*.mail.test")
    async with engine_for() as engine:
        peer = await engine.serve([*starttls(trusted()), *transaction()])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", ("starttls", "error"))
        assert "from" not in outcome.last
        assert peer.count == 0


async def test_the_hosts_it_names_are_tried(policy_host: PolicyHost) -> None:
    policy_host.text = ENFORCE.replace(MX, "*.mail.test")
    async with engine_for() as engine:
        engine.route(DOMAIN, (10, "mx1.elsewhere.test", "127.0.0.1"), (20, "mx2.mail.test", "127.0.0.2"))
        await engine.serve([*starttls(trusted("mx2.mail.test")), *transaction()], address="127.0.0.2")
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"


@pytest.mark.parametrize("mode", ["testing", "none"])
async def test_other_modes_stop_nothing(policy_host: PolicyHost, mode: str) -> None:
    policy_host.text = ENFORCE.replace("enforce", mode).replace(MX, "other.test")
    async with engine_for() as engine:
        await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert len(engine.observer.all_of(TlsFailed)) == (mode == "testing")


@pytest.mark.parametrize(
    ("status", "content_type", "text"),
    [
        (404, "text/plain", ENFORCE),
        (301, "text/plain", ENFORCE),
        (200, "text/html", ENFORCE),
        (200, "text/plain", "version: STSv1\nmode: enforce\n"),
        (200, "text/plain", ENFORCE + "x" * 70_000),
        (200, "text/plain", ""),
    ],
    ids=["not found", "redirect", "HTML", "incomplete", "endless", "empty"],
)
async def test_a_policy_that_cannot_be_had_is_none(
    policy_host: PolicyHost, status: int, content_type: str, text: str
) -> None:
    policy_host.status, policy_host.content_type, policy_host.text = status, content_type, text
    async with engine_for() as engine:
        await engine.serve([*opening("SIZE"), *transaction(), *transaction()])
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "success"
        await engine.send(mail("m2"))

        assert (await engine.outcome("m2")).kind == "success"
        assert len(policy_host.requests) == 1


@pytest.mark.parametrize("context", [self_signed, lambda: trusted(DOMAIN)])
async def test_a_web_server_must_prove_its_name(
    monkeypatch: pytest.MonkeyPatch, context: Callable[[], ssl.SSLContext]
) -> None:
    async with serve_policy(context, monkeypatch) as host, engine_for() as engine:
        await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert host.requests == []


async def test_many_messages_ask_once(policy_host: PolicyHost) -> None:
    policy_host.gate.clear()
    async with engine_for() as engine:
        await engine.serve([*starttls(trusted()), *transaction() * 20])
        await engine.send(*(mail(f"m{number}") for number in range(10)))
        await eventually(lambda: bool(policy_host.requests), "the policy is asked for")
        policy_host.gate.set()
        for number in range(10):
            assert (await engine.outcome(f"m{number}")).kind == "success"

    assert len(policy_host.requests) == 1


async def test_without_the_setting_nobody_asks(policy_host: PolicyHost) -> None:
    async with secure_engine() as engine:
        engine.resolver.set_txt(f"_mta-sts.{DOMAIN}", "v=STSv1; id=1;")
        await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert policy_host.requests == []
        assert not [kind for kind, _ in engine.resolver.questions if kind == "TXT"]


async def test_dane_has_the_last_word(policy_host: PolicyHost) -> None:
    """A policy neither saves a host that fails its TLSA records, nor is it asked about one that has any."""
    policy_host.text = ENFORCE.replace(MX, "other.test")
    async with engine_for() as engine:
        engine.resolver.set_mx(DOMAIN, [(10, MX)], authentic=True)
        engine.resolver.set_addresses(MX, "127.0.0.1", authentic=True)
        engine.resolver.set_tlsa(f"_{engine.port}._tcp.{MX}", TlsaRecord(3, 1, 1, bytes(32)))
        peer = await engine.serve([*starttls(trusted()), *transaction()], strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")
        assert peer.count == 1
        assert [event.policy for event in engine.observer.all_of(TlsFailed)] == ["tlsa"]
