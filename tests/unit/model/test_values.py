"""Value types of known properties (spec messages.md 3)."""

from __future__ import annotations

from typing import Any

import pytest

from relayq.model.values import as_bool, as_integer, as_key, as_queue_name, as_text, as_timestamp, parse_ip

ZERO: list[Any] = [False, 0, 0.0, -0.0, "", "0", "false", "FALSE", "no", "No", "off"]
ONE: list[Any] = [True, 1, -1, 2, 0.5, 10**400, float("inf"), "1", "true", "TRUE", "yes", "YeS", "on", "ON"]
NO_BOOLEAN: list[Any] = [None, "perhaps", " true", "true ", "2", "t", "y", "null", [], {}, [True], {"a": 1}]


@pytest.mark.parametrize("value", ZERO)
def test_false_has_many_spellings(value: object) -> None:
    assert as_bool(value) is False


@pytest.mark.parametrize("value", ONE)
def test_true_has_many_spellings(value: object) -> None:
    assert as_bool(value) is True


@pytest.mark.parametrize("value", NO_BOOLEAN)
def test_anything_else_is_no_boolean(value: object) -> None:
    with pytest.raises(ValueError, match="expected true or false"):
        as_bool(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (3, 3), (3.0, 3), (-0.0, 0), ("3", 3), ("007", 7), ("0" * 600 + "7", 7), (10**30, 10**30), (1e15, 10**15)],
)
def test_integers_come_as_number_integral_number_or_digits(value: object, number: int) -> None:
    result = as_integer(value, 0)

    assert result == number
    assert type(result) is int


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, -1, 0.5, -1.0, float("inf"), "", "+3", "-3", "3.0", "1e3", " 3", "3 ", "٣", "0x3", "3_0",
        "9" * 5000, [], [3], {},
    ],
)  # fmt: skip
def test_anything_else_is_no_integer(value: object) -> None:
    with pytest.raises(ValueError, match="expected an integer from 0"):
        as_integer(value, 0)


def test_bounds_of_integers_are_inclusive() -> None:
    assert [as_integer(value, 1, 65535) for value in (1, "65535")] == [1, 65535]
    for value in (0, 65536, "65536", 1e400):
        with pytest.raises(ValueError, match="expected an integer from 1 to 65535"):
            as_integer(value, 1, 65535)


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
def test_only_strings_are_text(value: object) -> None:
    with pytest.raises(ValueError, match="expected a string"):
        as_text(value)


def test_keys_have_up_to_1024_octets() -> None:
    assert as_key("k") == "k"
    assert as_key("ü" * 512) == "ü" * 512


@pytest.mark.parametrize("value", ["", "ü" * 512 + "a", 5, {}, None])
def test_anything_else_is_no_key(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        as_key(value)


def test_queue_names_have_up_to_255_octets() -> None:
    assert as_queue_name("ü" * 127 + "a") == "ü" * 127 + "a"
    assert as_queue_name(" ") == " "
    assert as_queue_name(None) is None
    assert as_queue_name("") is None


@pytest.mark.parametrize("value", ["ü" * 128, "a\nb", "a\x00", "a\x7f", "a\x85", 5, True, [], {}])
def test_anything_else_is_no_queue_name(value: object) -> None:
    with pytest.raises(ValueError, match="expected a queue name"):
        as_queue_name(value)


@pytest.mark.parametrize("value", [None, 0, 1935392400, "2031-05-01T08:00:00Z", ["2031-05-01 08:00:00"]])
def test_instants_come_in_one_form_only(value: object) -> None:
    with pytest.raises(ValueError, match=r"timestamp|form"):
        as_timestamp(value)


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:db8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("0000:0000:0000:0000:0000:ffff:192.168.100.200", "192.168.100.200"),
    ],
)
def test_addresses_are_compared_by_value(text: str, ip: str) -> None:
    assert parse_ip(text) == ip


@pytest.mark.parametrize(
    "text",
    [
        "", "x.test", "192.0.2", "192.0.2.01", "192.0.2.0/24", "[2001:db8::1]", "fe80::1%eth0", " 192.0.2.1",
        "192.0.2.1 ", "3221225985", "2001:db8::1::", "x" * 1_000_000,
    ],
)  # fmt: skip
def test_names_networks_zones_and_brackets_are_no_addresses(text: str) -> None:
    assert parse_ip(text) is None
