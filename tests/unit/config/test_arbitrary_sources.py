"""Whatever a source contains, the answer is a configuration or a report; never a crash, never a secret."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis
from hypothesis import strategies as st

from relayq.config import load, parse_broker_addresses, parse_options
from relayq.config.table import TABLE
from tests.unit.config.loading import HOSTNAME, load_text, report_of

TEXT = st.text(max_size=40)
KEYS = st.sampled_from(sorted(TABLE))
LINES = st.tuples(KEYS, st.one_of(TEXT, st.from_regex(r"\A[-0-9a-z:/.,;@%\[\]]{0,20}\Z"))).map(": ".join)
FILES = st.one_of(
    st.binary(max_size=300),
    st.lists(LINES, max_size=8).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogateescape")),
)


@hypothesis.given(octets=FILES)
def test_any_file(octets: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = report_of(lambda: load_text(Path(folder), octets))

    assert all(line.isprintable() for line in report)


@hypothesis.given(variables=st.dictionaries(KEYS, TEXT, max_size=5), names=st.lists(TEXT, max_size=3))
def test_any_environment(variables: dict[str, str], names: list[str]) -> None:
    environ = {f"RELAYQ_{name}": "hunter2" for name in names}
    environ |= {f"RELAYQ_{key.upper().replace('-', '_')}": text for key, text in variables.items()}

    report = report_of(lambda: load(environ=environ, no_default_config=True, system_hostname=lambda: HOSTNAME))

    assert all(line.isprintable() for line in report)
    assert "hunter2" not in "".join(report)


@hypothesis.given(words=st.lists(st.one_of(TEXT, KEYS.map("--{}".format), LINES.map("--{}".format)), max_size=5))
def test_any_command_line(words: list[str]) -> None:
    assert all(line.isprintable() for line in report_of(lambda: parse_options(words)))


@hypothesis.given(text=st.one_of(TEXT, st.from_regex(r"\Aamqps?://[a-z0-9:;@%/?=&\[\],.#]{0,30}\Z")))
def test_any_broker_address(text: str) -> None:
    assert all(line.isprintable() for line in report_of(lambda: parse_broker_addresses(text)))


@hypothesis.given(before=st.text(":/@%?#;,[]. 0a", max_size=6), after=st.text(":/@%?#;,[]. 0a", max_size=6))
def test_nothing_shows_the_password_of_an_address(before: str, after: str) -> None:
    address = f"amqp://user:{before}hunter2{after}@host/vhost"
    with tempfile.TemporaryDirectory() as folder:
        loaded: list[object] = []
        report = report_of(
            lambda: loaded.append(load_text(Path(folder), f"rabbitmq-address: {address}\nproxy-server: {address}"))
        )

    assert "hunter2" not in "".join(report)
    assert not loaded
