from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.adapters.store import mysql, postgresql, rows
from relayq.adapters.store.postgresql import encode_key
from relayq.ports import StoreDamagedError
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
