"""Settings are told from arguments, wherever they stand."""

from __future__ import annotations

import pytest

from relayq.cli.configuration import split_words


@pytest.mark.parametrize(
    ("words", "settings", "others"),
    [
        (["a.json", "b.json"], [], ["a.json", "b.json"]),
        (["--hostname=a.test", "a.json"], ["--hostname=a.test"], ["a.json"]),
        (["a.json", "--hostname", "a.test", "b.json"], ["--hostname", "a.test"], ["a.json", "b.json"]),
        (["--rabbitmq-lazy", "a.json"], ["--rabbitmq-lazy"], ["a.json"]),
        (["--rabbitmq-lazy", "false", "a.json"], ["--rabbitmq-lazy", "false"], ["a.json"]),
        (["--no-rabbitmq-lazy", "a.json"], ["--no-rabbitmq-lazy"], ["a.json"]),
        (["--hostname", "--rabbitmq-lazy"], ["--hostname", "--rabbitmq-lazy"], []),
        (["--nonsense", "a.json"], ["--nonsense"], ["a.json"]),
        (["-", "-x"], ["-x"], ["-"]),
        (["--config-file", "/a", "--config-file=/b"], ["--config-file", "/a", "--config-file=/b"], []),
    ],
)
def test_split(words: list[str], settings: list[str], others: list[str]) -> None:
    assert split_words(words) == (settings, others)
