"""Receivers and senders, one each for the whole session: every test has recipients of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import missing_server
from tests.integration.receivers import zones
from tests.support.ports import free_port
from tests.support.receivers import exim, haraka, opensmtpd, postfix
from tests.support.receivers.addresses import has_ipv6
from tests.support.receivers.certificates import Certificates
from tests.support.receivers.dovecot import Dovecot
from tests.support.receivers.exim import Exim
from tests.support.receivers.haraka import Haraka
from tests.support.receivers.jail import JailedServer
from tests.support.receivers.knot import Knot
from tests.support.receivers.opensmtpd import OpenSmtpd
from tests.support.receivers.postfix import Postfix
from tests.support.receivers.postgrey import Postgrey
from tests.support.receivers.sender import Sender
from tests.support.receivers.unbound import Unbound

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need real servers."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.server)


def need(server: type[JailedServer]) -> None:
    """Skip the test, or fail it in CI, where the server cannot run."""
    if not server.is_installed():
        missing_server(server.package)
    if os.geteuid() != 0:
        reason = f"{server.package} changes root and user, so it has to be started as root"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def port() -> int:
    """Every receiver listens on this port of its own addresses, so that one sender reaches them all."""
    ipv6 = (postfix.IPV6,) if has_ipv6() else ()
    return free_port(*ipv6, *postfix.ADDRESSES, *exim.ADDRESSES, *opensmtpd.ADDRESSES, *haraka.ADDRESSES)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The authority that senders trust."""
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def dovecot_server() -> Iterator[Dovecot]:
    """A running Dovecot, for Postfix to ask."""
    need(Dovecot)
    with Dovecot() as server:
        yield server


@pytest.fixture(scope="session")
def postgrey_server() -> Iterator[Postgrey]:
    """A running Postgrey, for Postfix to ask."""
    if not Postgrey.is_installed():
        missing_server("postgrey")
    with Postgrey() as server:
        yield server


@pytest.fixture(scope="session")
def postfix_server(
    port: int, certificates: Certificates, dovecot_server: Dovecot, postgrey_server: Postgrey
) -> Iterator[Postfix]:
    """A running Postfix."""
    need(Postfix)
    with Postfix(port, certificates, dovecot_server.sasl_path, postgrey_server.policy_service) as server:
        yield server


@pytest.fixture(scope="session")
def exim_server(port: int, certificates: Certificates) -> Iterator[Exim]:
    """A running Exim."""
    need(Exim)
    with Exim(port, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def opensmtpd_server(port: int, certificates: Certificates) -> Iterator[OpenSmtpd]:
    """A running OpenSMTPD."""
    need(OpenSmtpd)
    with OpenSmtpd(port, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def haraka_server(port: int, certificates: Certificates) -> Iterator[Haraka]:
    """A running Haraka; it needs no root."""
    if not Haraka.is_installed():
        missing_server("Haraka, or the Node.js it needs,")
    with Haraka(port, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def sender(port: int, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    """relayq with default settings, but for the port and how long it waits."""
    with _sender(port, certificates, tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def daring_sender(port: int, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    """The same, but it tells passwords to servers without TLS, and sends content in chunks where it can."""
    more = {"auth-plaintext": "true", "smtp-bdat": "auto"}
    with _sender(port, certificates, tmp_path_factory, more) as running:
        yield running


@pytest.fixture(scope="session")
def signed_zones(port: int, postfix_server: Postfix) -> Iterator[Unbound]:
    """A validating resolver for the zones of `tests.integration.receivers.zones`."""
    need(Knot)
    need(Unbound)
    signed, unsigned = zones.make_zones(port, postfix_server)
    with Knot(signed, unsigned) as knot:
        # The key that signs this zone is not the one that is trusted.
        bogus = knot.trust_anchors["signed.test"].replace("signed.test", "bogus.test")
        anchors = {**knot.trust_anchors, "bogus.test": bogus}
        with Unbound((*signed, *unsigned), f"{knot.address}@{knot.port}", anchors) as unbound:
            yield unbound


@pytest.fixture(scope="session")
def validating_sender(
    port: int, certificates: Certificates, signed_zones: Unbound, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sender]:
    """relayq with default settings that asks a validating resolver on its own host."""
    address = f"{signed_zones.address}:{signed_zones.port}"
    with _sender(port, certificates, tmp_path_factory, nameservers=address) as running:
        yield running


@contextmanager
def _sender(
    port: int,
    certificates: Certificates,
    folders: pytest.TempPathFactory,
    more: Mapping[str, str] | None = None,
    nameservers: str | None = None,
) -> Iterator[Sender]:
    settings = {
        "smtp-out-port": str(port),
        "connection-maxidle": "1500",
        "host-offline-time": "0",
        "host-backoff-time": "1",
        **(more or {}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
        with Sender(folders.mktemp("sender"), settings, nameservers=nameservers) as running:
            yield running
