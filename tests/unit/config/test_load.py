from __future__ import annotations

from pathlib import Path

import pytest

from relayq.config import ConfigurationError, Settings, load, parse_options, show


def load_text(tmp_path: Path, text: str, *words: str, **variables: str) -> Settings:
    file = tmp_path / "config.txt"
    file.write_text(text)
    environ = {"RELAYQ_HOSTNAME": "mta.example", **variables}
    return load(parse_options(words), environ=environ, default_file=file)


def test_smallest_useful_file(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "rabbitmq-address: amqp://user:password@broker/vhost\nrabbitmq-results: results\n")

    (address,) = settings.broker.address  # type: ignore[misc]
    assert address.hosts == (("broker", 5672),)
    assert (settings.queues.outbox, settings.queues.results, settings.queues.inbox) == ("outbox", "results", "outbox")
    assert settings.warnings == ()


def test_secrets_are_in_no_repr_and_no_report(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "rabbitmq-address: amqp://user:hunter2@broker/\n")

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(show(settings))
    assert "amqp://user:***@broker:5672/" in {row.value for row in show(settings)}


def test_every_problem_of_every_source_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, "smtp-out-port: 0\nnonsense\n", "--max-attempts=x", RELAYQ_DNS_ATTEMPTS="21")

    where = [problem.where for problem in caught.value.problems]
    assert where == [
        f"{tmp_path}/config.txt:2",
        f"{tmp_path}/config.txt:1",
        "environment RELAYQ_DNS_ATTEMPTS",
        "option --max-attempts",
    ]
