"""Fixtures and settings every test folder shares: event loop, hypothesis profile, private servers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NoReturn

import hypothesis
import pytest
import uvloop

from tests.support.servers import RabbitMqNode, SmtpSink
from tests.support.stores.databases import DatabaseServer, MariaDbServer, PostgreSqlServer, RedisServer
from tests.support.stores.moto import Moto
from tests.support.stores.secantus import Secantus

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# The machines that run tests are shared and slow at times: a deadline would only report that. Random examples are for
# `HYPOTHESIS_PROFILE=explore`; everywhere else a run must give the same verdict twice.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

LOOPS: Mapping[str, LoopFactory] = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
CHOSEN_LOOP = os.environ.get("RELAYQ_TEST_LOOP", "uvloop")
SERVER_FIXTURES = frozenset(
    {
        "rabbitmq",
        "rabbitmq_vhost",
        "own_rabbitmq",
        "smtp_sink",
        "smtp_sink_factory",
        "postgresql",
        "mariadb",
        "redis",
        "moto",
        "secantus",
    }
)


def pytest_configure() -> None:
    """Refuse a loop nobody knows before anything is collected."""
    if CHOSEN_LOOP not in {*LOOPS, "both"}:
        raise pytest.UsageError(f"RELAYQ_TEST_LOOP is {CHOSEN_LOOP!r}; possible are {', '.join(LOOPS)} and both")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Run async tests on uvloop, or on the loop named by ``RELAYQ_TEST_LOOP`` (``asyncio``, ``uvloop``, ``both``)."""
    return LOOPS if CHOSEN_LOOP == "both" else {CHOSEN_LOOP: LOOPS[CHOSEN_LOOP]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever uses a server fixture, so that ``-m 'not server'`` is right without anybody remembering."""
    for item in items:
        if SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


def missing_server(what: str) -> NoReturn:
    """Skip on a laptop; in CI a server that is not there is a failure, or its tests would never run unnoticed."""
    message = f"{what} is not installed; scripts/install-test-servers installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMqNode]:
    """A private RabbitMQ node, one per test session; take a virtual host of it with ``rabbitmq.new_vhost()``."""
    if not RabbitMqNode.is_installed():
        missing_server("rabbitmq-server")
    with RabbitMqNode() as node:
        yield node


@pytest.fixture
def rabbitmq_vhost(rabbitmq: RabbitMqNode) -> str:
    """AMQP address of an empty virtual host of this test's own."""
    return rabbitmq.new_vhost()


@pytest.fixture
def own_rabbitmq() -> Iterator[RabbitMqNode]:
    """A node for one test alone, ten seconds to start; for tests that leave a node in a state of their own."""
    if not RabbitMqNode.is_installed():
        missing_server("rabbitmq-server")
    with RabbitMqNode() as node:
        yield node


@pytest.fixture
def smtp_sink_factory() -> Iterator[Callable[..., SmtpSink]]:
    """Start any number of sinks; takes the arguments of `SmtpSink`, stops them all at the end of the test."""
    if not SmtpSink.is_installed():
        missing_server("postfix")
    with ExitStack() as stack:

        def start(*options: str, **arguments: Any) -> SmtpSink:
            return stack.enter_context(SmtpSink(*options, **arguments))

        yield start


@pytest.fixture
def smtp_sink(smtp_sink_factory: Callable[..., SmtpSink]) -> SmtpSink:
    """One sink on 127.0.0.1 that accepts everything and keeps what it got."""
    return smtp_sink_factory(keep=True)


def _running(server: type[DatabaseServer]) -> Iterator[DatabaseServer]:
    if not server.is_installed():
        missing_server(server.package)
    if os.geteuid() != 0:
        missing_server(f"{server.package} in a root directory of its own, which takes root,")
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    """A PostgreSQL server, one per test session, with an empty database."""
    yield from _running(PostgreSqlServer)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """A MariaDB server, one per test session, with an empty database."""
    yield from _running(MariaDbServer)


@pytest.fixture(scope="session")
def redis() -> Iterator[DatabaseServer]:
    """A Redis server, one per test session."""
    yield from _running(RedisServer)


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """A server with Amazon's S3 protocol, one per test session; take a bucket of it with ``moto.new_bucket()``."""
    if not Moto.is_installed():
        missing_server("moto")
    with Moto() as server:
        yield server


@pytest.fixture(scope="session")
def secantus() -> Iterator[Secantus]:
    """A server with MongoDB's protocol, one per test session; every test names a database of its own."""
    if not Secantus.is_installed():
        missing_server("SecantusDB")
    with Secantus() as server:
        yield server
