"""/etc/hosts and /etc/resolv.conf as they are found in the wild."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relayq.adapters.dns.options import NameServer
from relayq.adapters.dns.system_files import CHECK_INTERVAL, WatchedFile, parse_hosts, parse_resolv_conf

HOSTS = """
# comment
127.0.0.1   localhost
::1\tlocalhost ip6-localhost # the same again
192.0.2.1 MX.test. alias
192.0.2.2 mx.test mx.test
not-an-address other.test
192.0.2.9
256.1.1.1 broken.test
"""


def test_hosts_by_family() -> None:
    table = parse_hosts(HOSTS)
    assert table == {
        "localhost": (("127.0.0.1",), ("::1",)),
        "ip6-localhost": ((), ("::1",)),
        "mx.test": (("192.0.2.1", "192.0.2.2"), ()),
        "alias": (("192.0.2.1",), ()),
    }


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", [NameServer("127.0.0.1", 53, True)]),
        ("search example.test\n# nameserver 192.0.2.1\n", [NameServer("127.0.0.1", 53, True)]),
        (
            "nameserver 192.0.2.1 ; first\nnameserver 2001:db8::53\nnameserver nonsense\nnameserver\n",
            [NameServer("192.0.2.1"), NameServer("2001:db8::53")],
        ),
        ("nameserver fe80::1%eth0\n", [NameServer("fe80::1%eth0")]),
        ("nameserver 192.0.2.1\noptions edns0 trust-ad\n", [NameServer("192.0.2.1", 53, True)]),
        ("\n".join(f"nameserver 192.0.2.{n}" for n in range(20)), [NameServer(f"192.0.2.{n}") for n in range(8)]),
    ],
)
def test_name_servers_of_the_system(text: str, servers: list[NameServer]) -> None:
    assert parse_resolv_conf(text) == tuple(servers)


def write(path: Path, text: str, at: int) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, (at, at))


def test_a_changed_file_is_read_again_after_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    watched = WatchedFile(path, str.split)
    assert watched.current(0.0) == []
    write(path, "one", 1)
    assert watched.current(CHECK_INTERVAL - 0.001) == []
    assert watched.current(CHECK_INTERVAL) == ["one"]
    write(path, "two", 2)
    assert watched.current(CHECK_INTERVAL * 2 - 0.001) == ["one"]
    assert watched.current(CHECK_INTERVAL * 2) == ["two"]


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    write(path, "one", 1)
    parsed: list[str] = []
    watched = WatchedFile(path, parsed.append)
    for step in range(4):
        watched.current(step * CHECK_INTERVAL)
    assert parsed == ["", "one"]


def test_a_file_that_vanishes_or_is_no_file_keeps_its_last_value(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    write(path, "one", 1)
    watched = WatchedFile(path, str.split)
    assert watched.current(0.0) == ["one"]
    path.unlink()
    assert watched.current(10.0) == ["one"]
    path.mkdir()
    assert watched.current(20.0) == ["one"]


def test_octets_that_are_no_text_are_read_somehow(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"\xff\xfe\n192.0.2.1 mx.test\n")
    assert WatchedFile(path, parse_hosts).current(0.0) == {"mx.test": (("192.0.2.1",), ())}
