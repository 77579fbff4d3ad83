"""Message stores over TLS: encrypted when asked, and only with a server that is the right one where that is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from relayq.adapters.store import open_store
from relayq.config.store_address import parse_store_address
from relayq.ports import StoreAddress, StoreUnavailableError
from tests.support.stores.databases import LOOPBACK, TLS_NAME, DatabaseServer, RedisServer
from tests.support.tls import ca_file

PATIENCE = 90.0
CA = "the authority of the server"
OTHER_CA = "another authority"

# Engine, name of the server, options → whether it connects.
CASES = [
    ("postgresql", LOOPBACK, {"sslmode": "require"}, True),
    ("postgresql", LOOPBACK, {"sslmode": "verify-ca", "sslrootcert": CA}, True),
    ("postgresql", LOOPBACK, {"sslmode": "verify-ca", "sslrootcert": OTHER_CA}, False),
    ("postgresql", TLS_NAME, {"sslmode": "verify-full", "sslrootcert": CA}, True),
    ("postgresql", LOOPBACK, {"sslmode": "verify-full", "sslrootcert": CA}, False),
    ("postgresql", LOOPBACK, {"sslmode": "verify-full", "sslrootcert": "/nowhere"}, False),
    ("mariadb", LOOPBACK, {"ssl-mode": "required"}, True),
    ("mariadb", LOOPBACK, {"ssl-ca": CA}, True),
    ("mariadb", LOOPBACK, {"ssl-ca": OTHER_CA}, False),
    ("mariadb", LOOPBACK, {"ssl-mode": "VERIFY_CA"}, False),
    ("mariadb", TLS_NAME, {"ssl-mode": "verify_identity", "ssl-ca": CA}, True),
    ("mariadb", LOOPBACK, {"ssl-mode": "verify_identity", "ssl-ca": CA}, False),
    ("mariadb", LOOPBACK, {"ssl-ca": "/nowhere"}, False),
    ("redis", TLS_NAME, {"ssl-ca": CA}, True),
    ("redis", LOOPBACK, {"ssl-ca": CA}, False),
    ("redis", TLS_NAME, {"ssl-ca": OTHER_CA}, False),
    ("redis", TLS_NAME, {}, False),
]


def encrypted(server: DatabaseServer, host: str, options: dict[str, str], other_ca: Path) -> StoreAddress:
    """The address of a store with options for its encryption."""
    address = parse_store_address(server.address)
    files = {CA: ca_file(), OTHER_CA: str(other_ca)}
    port = address.hosts[0][1]
    if isinstance(server, RedisServer):
        address, port = replace(address, scheme="rediss"), server.tls_port
    parameters = tuple((name, files.get(value, value)) for name, value in options.items())
    return replace(address, hosts=((host, port),), parameters=parameters)


@pytest.fixture
def other_ca(tmp_path: Path) -> Path:
    """The certificate of somebody the server has nothing to do with."""
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.mark.server
@pytest.mark.parametrize(("engine", "host", "options", "connects"), CASES, ids=repr)
async def test_encryption(
    request: pytest.FixtureRequest, other_ca: Path, engine: str, host: str, options: dict[str, str], connects: bool
) -> None:
    store = open_store(encrypted(request.getfixturevalue(engine), host, options, other_ca))
    async with asyncio.timeout(PATIENCE):
        if connects:
            await store.probe()
            assert await store.load("nothing") is None
        else:
            with pytest.raises(StoreUnavailableError) as caught:
                await store.probe()
            assert str(caught.value).removeprefix(f"{engine}: ")
    await store.close()


SEE_POSTGRESQL = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND 0 = ?"
SEE_MARIADB = """
SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'ssl_cipher' AND 0 = ?
"""


@pytest.mark.parametrize(("engine", "statement"), [("postgresql", SEE_POSTGRESQL), ("mariadb", SEE_MARIADB)])
@pytest.mark.server
async def test_what_is_encrypted_is_encrypted(
    request: pytest.FixtureRequest, other_ca: Path, engine: str, statement: str
) -> None:
    server = request.getfixturevalue(engine)
    option = {"postgresql": {"sslmode": "require"}, "mariadb": {"ssl-mode": "required"}}[engine]
    for address, expected in ((encrypted(server, LOOPBACK, option, other_ca), True), (server.address, False)):
        store = open_store(address if isinstance(address, StoreAddress) else parse_store_address(address))
        rows = await store._connections.run(lambda connection: connection.fetch(statement, 0))  # type: ignore[attr-defined]
        assert [bool(row[0]) for row in rows] == [expected]
        await store.close()
