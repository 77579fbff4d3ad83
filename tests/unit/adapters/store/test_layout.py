from __future__ import annotations

import hashlib

import pytest

from relayq.adapters.store.layout import expiry_hour, file_name, folder_of, folder_of_name


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("abc-DEF_0.9", "abc-DEF_0.9"),
        ("../../etc/x", "%2E.%2F..%2Fetc%2Fx"),
        ("..", "%2E."),
        (".expire", "%2Eexpire"),
        ("a b%/\\", "a%20b%25%2F%5C"),
        ("\u00fc", "%C3%BC"),
        ("a\0b\n", "a%00b%0A"),
        ("x" * 200, "x" * 200),
    ],
)
def test_file_names(key: str, name: str) -> None:
    assert file_name(key) == name


@pytest.mark.parametrize("key", ["x" * 201, "\u00fc" * 34, "." + "x" * 199])
def test_a_long_key_becomes_its_digest(key: str) -> None:
    assert file_name(key) == "sha256-" + hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize(("depth", "folder"), [(0, ""), (1, "b"), (4, "b/a/7/8"), (8, "b/a/7/8/1/6/b/f")])
def test_folders(depth: int, folder: str) -> None:
    assert folder_of("abc", depth) == folder  # SHA-256 of "abc": ba7816bf…


@pytest.mark.parametrize("key", ["abc", "../../etc/x", ".x", "\u90f5\u4ef6", "x" * 500, "100%", "a b"])
def test_the_folder_can_be_told_from_the_file_name(key: str) -> None:
    assert folder_of_name(file_name(key), 4) == folder_of(key, 4)


@pytest.mark.parametrize(
    ("at", "hour"), [(0, "1970010100"), (1_793_534_399, "2026110111"), (-5.0, "1970010100"), (1e18, "9999123123")]
)
def test_hours(at: float, hour: str) -> None:
    assert expiry_hour(at) == hour
