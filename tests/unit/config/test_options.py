from __future__ import annotations

import pytest

from relayq.config import ExitCode, UsageError, parse_options


def pairs(*words: str) -> list[tuple[str, str]]:
    return [(entry.key, entry.text) for entry in parse_options(words)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-attempts=3"], [("max-attempts", "3")]),
        (["--max-attempts", "3"], [("max-attempts", "3")]),
        (["--Max_Attempts", "-1"], [("max-attempts", "-1")]),
        (["--rabbitmq-results="], [("rabbitmq-results", "")]),
        (["--rabbitmq-results", ""], [("rabbitmq-results", "")]),
        (["--rabbitmq-address=amqp://h/?heartbeat=1"], [("rabbitmq-address", "amqp://h/?heartbeat=1")]),
        (["--daemon"], [("daemon", "true")]),
        (["--daemon", "--paused"], [("daemon", "true"), ("paused", "true")]),
        (["--daemon", "off", "--no-paused"], [("daemon", "off"), ("paused", "false")]),
        (["--daemon=maybe"], [("daemon", "maybe")]),
        (["--max-connections", "5", "--max-attempts", "1"], [("max-connections", "5"), ("max-attempts", "1")]),
        ([], []),
    ],
)
def test_forms(words: list[str], expected: list[tuple[str, str]]) -> None:
    assert pairs(*words) == expected


def test_where() -> None:
    (entry,) = parse_options(["--no-daemon"])

    assert entry.where == "option --no-daemon"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--max-atempts=3"], "option --max-atempts: unknown option, did you mean --max-attempts?"),
        (["--nonsense"], "option --nonsense: unknown option"),
        (["--no-max-attempts"], "option --no-max-attempts: unknown option"),
        (["--no-daemon=true"], "option --no-daemon: unknown option"),
        (["--max-attempts"], "option --max-attempts: needs a value; expected --max-attempts=value"),
        (["--max-attempts", "--daemon"], "option --max-attempts: needs a value; expected --max-attempts=value"),
        (["--daemon", "file"], 'argument "file": is no option; expected --key=value'),
        (["-x"], 'argument "-x": is no option; expected --key=value'),
        (["--"], 'argument "": is no option; expected --key=value'),
        (["--a\nb"], r"option --a\nb: unknown option"),
    ],
)
def test_usage_errors(words: list[str], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(words)

    assert str(caught.value) == line
    assert caught.value.exit_code is ExitCode.USAGE


def test_all_usage_errors_show_at_once_and_never_a_value() -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(["--smtp-pasword=hunter2", "--nonsense=hunter2"])

    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)
