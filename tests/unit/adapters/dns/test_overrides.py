"""Look-ups in the override table."""

from __future__ import annotations

import pytest

from relayq.adapters.dns import Overrides

TABLE = Overrides(
    {
        "Example.test.": ["192.0.2.1", "[2001:db8::1]:26"],
        "*.example.test": ["192.0.2.2:2525"],
        "*.deep.example.test": ["192.0.2.3"],
    }
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.test", (("192.0.2.1", None), ("2001:db8::1", 26))),
        ("mx.example.test", (("192.0.2.2", 2525),)),
        ("a.b.example.test", (("192.0.2.2", 2525),)),
        ("a.deep.example.test", (("192.0.2.3", None),)),
        ("deep.example.test", (("192.0.2.2", 2525),)),
        ("notexample.test", None),
        ("test", None),
        ("", None),
    ],
)
def test_the_nearest_entry_counts(name: str, expected: object) -> None:
    assert TABLE.find(name) == expected


def test_without_entries_it_is_false() -> None:
    assert not Overrides()
    assert not Overrides({})
    assert TABLE
    assert Overrides({"*.test": ["192.0.2.1"]})
    assert Overrides({"a.test": ["192.0.2.1"]}).find("b.test") is None


@pytest.mark.parametrize("table", [{"a.test": []}, {"a.test": ["mx.test"]}, {"a.test": ["192.0.2.1:0"]}])
def test_entries_without_usable_addresses_are_refused(table: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Overrides(table)
