"""The reference page knows every command, option and word of scripts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from relayq.cli.endings import Ending
from relayq.cli.main import COMMANDS, group
from relayq.cli.mq_headers import read_mq_headers
from relayq.config import ExitCode
from relayq.trial.script import ActionKind, Step

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert section(f"relayq {name}")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "no_default_config":
            assert any(f"`{option}" in section(f"relayq {name}") for option in parameter.opts), parameter.opts


def test_every_exit_code_is_described() -> None:
    codes = section("Exit codes")
    assert all(f"\n| {int(code)} | " in codes for code in (*ExitCode, *Ending))


@pytest.mark.parametrize("word", [*Step, *(kind.value for kind in ActionKind if kind is not ActionKind.REPLY)])
def test_every_word_of_scripts_is_described(word: str) -> None:
    assert f"`{word}" in section("relayq sink")


def test_headers_of_the_page_are_understood() -> None:
    assert read_mq_headers([("x-mq-failure-queue", "f"), ("x-mq-dsn-orcpt", "a@b.test")]).problems == []
