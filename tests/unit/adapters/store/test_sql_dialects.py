from __future__ import annotations

import asyncio
import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.adapters.store import mysql, postgresql, rows
from relayq.adapters.store.postgresql import encode_key
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from tests.support.tls import ca_file

KEYS = st.text(alphabet=st.sampled_from("\0\x01\x0201a"), max_size=6)


@given(KEYS)
def test_a_key_of_postgresql_has_no_nul_and_others_stay_as_they_are(key: str) -> None:
    assert "\0" not in encode_key(key)
    if "\0" not in key and "\x01" not in key:
        assert encode_key(key) == key


@given(KEYS, KEYS)
def test_different_keys_stay_different(one: str, other: str) -> None:
    assert (encode_key(one) == encode_key(other)) == (one == other)


def test_values_are_numbered() -> None:
    assert postgresql._numbered("a = ? AND b < ?") == "a = $1 AND b < $2"
    assert postgresql._numbered("COMMIT") == "COMMIT"


@pytest.mark.parametrize(
    ("options", "verifies", "checks_name"),
    [
        ({"ssl-mode": "required"}, ssl.CERT_NONE, False),
        ({"ssl-mode": "VERIFY_CA"}, ssl.CERT_REQUIRED, False),
        ({"ssl-mode": "Verify_Identity"}, ssl.CERT_REQUIRED, True),
        ({"ssl-ca": ca_file()}, ssl.CERT_REQUIRED, False),
        ({"ssl-ca": ca_file(), "ssl-mode": "verify_identity"}, ssl.CERT_REQUIRED, True),
    ],
)
def test_encryption_of_mysql(options: dict[str, str], verifies: ssl.VerifyMode, checks_name: bool) -> None:
    context = mysql.tls_context(options)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (verifies, checks_name)


@pytest.mark.parametrize("options", [{}, {"ssl-mode": "disabled"}, {"ssl-mode": "DISABLED", "ssl-ca": "/nowhere"}])
def test_no_encryption_of_mysql(options: dict[str, str]) -> None:
    assert mysql.tls_context(options) is None


@pytest.mark.parametrize("number", [-1, 1.5, "3", rows.MOST_PARTS + 1, b"", True + 0.5])
def test_numbers_without_sense(number: object) -> None:
    with pytest.raises(StoreDamagedError):
        rows.parts_of(number)
    assert rows.removable_parts_of(number) == 0


def test_numbers_with_sense() -> None:
    assert [rows.parts_of(number) for number in (None, 0, 7)] == [0, 0, 7]
    rows.check_size(b"abc", None)
    rows.check_size(b"abc", 3)
    with pytest.raises(StoreDamagedError, match="3 octets instead of 4"):
        rows.check_size(b"abc", 4)


@pytest.mark.parametrize("login", [b"mysql_clear_password", b"dialog"])
async def test_a_password_of_mysql_is_not_sent_as_it_is(login: bytes) -> None:
    received = bytearray()

    async def pose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def packet(number: int, payload: bytes) -> bytes:
            return len(payload).to_bytes(3, "little") + bytes([number]) + payload

        capabilities = 0xF7FF | 0x000F << 16  # not TLS
        greeting = b"\x0a8.0.0\0" + bytes(4) + b"saltsalt\0" + struct.pack("<HBHHB", capabilities & 0xFFFF, 45, 2,
            capabilities >> 16, 21) + bytes(10) + b"saltsaltsalt\0" + b"mysql_native_password\0"  # fmt: skip
        writer.write(packet(0, greeting))
        received.extend(await reader.read(1000))
        writer.write(packet(2, b"\xfe" + login + b"\0" + b"\x02Password: "))
        received.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(pose, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = StoreAddress(
        engine="mysql", scheme="mysql", hosts=(("127.0.0.1", port),), username="u", password="hunter2", database="d"
    )
    with pytest.raises(StoreUnavailableError, match=r"plain text, which takes ssl-mode \(2059\)"):
        await mysql.connect(address)
    server.close()
    await server.wait_closed()
    assert b"mysql_native_password" in received
    assert b"hunter2" not in received
