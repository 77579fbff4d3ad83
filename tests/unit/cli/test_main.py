"""Every way a command can end has its exit code, and nothing shows a trace."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from relayq import __version__
from relayq.adapters.store.open import _ENGINES
from relayq.cli import main as main_module
from relayq.cli.endings import CommandFailed, printable
from relayq.cli.main import COMMANDS, main
from relayq.config import ConfigurationError, ExitCode, Problem, UsageError
from relayq.ports import BrokerRefusedError, BrokerStorageError, BrokerUnavailableError, TopologyError

PROBLEM = Problem(where="config.txt:3", key="rabbitmq-qos", text='"x" is not a whole number')


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command("fail")
    def command() -> None:
        raise error

    monkeypatch.setattr(main_module.CommandGroup, "get_command", lambda *_: command)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigurationError([PROBLEM, PROBLEM]), 78, f"relayq: {PROBLEM}\nrelayq: {PROBLEM}\n"),
        (UsageError([PROBLEM]), 64, f"relayq: {PROBLEM}\n"),
        (BrokerRefusedError("no"), 77, "relayq: no\n"),
        (TopologyError("differs"), 78, "relayq: differs\n"),
        (BrokerUnavailableError("gone"), 69, "relayq: gone\n"),
        (BrokerStorageError("full", 73), 73, "relayq: full\n"),
        (BrokerStorageError("damaged", 71), 71, "relayq: damaged\n"),
        (OSError(28, "No space left on device"), 71, "relayq: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/x"), 71, "relayq: /x: Permission denied\n"),
        (CommandFailed(75, "one", "two\x1b[2J"), 75, "relayq: one\nrelayq: two\\x1b[2J\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_endings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    fail_with(monkeypatch, error)
    assert main(["fail"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", text)


def test_a_bug_is_one_line_that_names_the_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, RuntimeError("oops\nsecond line"))
    assert main(["fail"]) == ExitCode.INTERNAL
    error = capsys.readouterr().err
    assert error.startswith("relayq: internal error: RuntimeError: oops\\nsecond line (")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Usage: relayq"),
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option"),
        (["check-config", "--no-default-config", "word"], "unexpected argument 'word'"),
        (["check-config", "--no-default-config", "--nonsense=1"], "unknown option"),
        (["check-config", "--no-default-config", "--hostname"], "needs a value"),
        (["results", "--count", "0"], "Invalid value for '--count'"),
        (["results", "--peek", "--follow"], "--peek"),
        (["inject", "--format", "xml"], "Invalid value for '--format'"),
        (["run", "--no-default-config", "word"], "unexpected argument 'word'"),
    ],
)
def test_usage_errors_are_64_on_standard_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err


def test_check_config_refuses_a_store_whose_library_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_ENGINES, "redis", ("of_tomorrow", "TomorrowStore", "redis"))
    arguments = ["check-config", "--no-default-config", "--hostname=mta.test", "--show"]
    assert main([*arguments, "--storage-address=redis://u:hunter2@h/0"]) == ExitCode.CONFIGURATION
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "relayq: option --storage-address: storage-address: stores at redis:// are not supported" in captured.err
    assert "hunter2" not in captured.err
    assert main([*arguments, "--storage-address=dir:///var/spool/bodies"]) == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"relayq {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: relayq {name}" in text
    assert f"\n    relayq {name}" in text


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_help_imports_nothing_it_does_not_need() -> None:
    code = (
        "import sys; from relayq.cli.main import main; main(['--help']); "
        "print(sorted({'rich','uvloop','aiohttp','msgspec','asyncio','dns','relayq.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]"


def test_escaping() -> None:
    assert printable("Zoë says hi") == "Zoë says hi"
    assert printable("a\nb\x9bc") == "a\\nb\\x9bc"
