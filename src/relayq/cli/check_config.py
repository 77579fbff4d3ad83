"""``relayq check-config``: read the configuration, say what is wrong with it, connect to nothing (spec config.md 4)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings
from relayq.cli.endings import printable, say

if TYPE_CHECKING:
    from relayq.config import Settings


@click.command(
    "check-config",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq check-config
  relayq check-config --config-file /etc/relayq/second.txt --show

Exit code 0: usable; 78: not usable, every problem is told on its own line. {SETTINGS_NOTE}""",
)
@click.option("--show", "--show-config", is_flag=True, help="Print every setting with its value and source.")
@takes_settings()
def command(words: Sequence[str], no_default_config: bool, show: bool) -> None:
    """Check the configuration without connecting to anything."""
    from relayq.config import ConfigurationError

    try:
        settings = load_settings_alone(words, no_default_config=no_default_config)
    except ConfigurationError as error:
        _tell_leftovers()
        say(*(f"warning: {warning}" for warning in error.warnings))
        raise
    _tell_leftovers()
    say(*(f"warning: {warning}" for warning in settings.warnings))
    _check_libraries(settings)
    if show:
        _print(settings)


def _tell_leftovers() -> None:
    """Variables of MailerQ are never read; who moves over from it should know (spec config.md 1)."""
    from relayq.config import leftover_variables

    for leftover in leftover_variables(os.environ):
        advice = f"use {leftover.use_instead}" if leftover.use_instead else "nothing corresponds to it"
        say(f"warning: environment {leftover.variable}: is not read; {advice}")


def _check_libraries(settings: Settings) -> None:
    """What ``run`` would not start without."""
    from relayq.adapters.store import UnusableAddressError, check_engine
    from relayq.config import ConfigurationError, Problem

    problems: list[Problem] = []
    addresses = {
        "storage-address": settings.store.address,
        "download-cache": settings.downloads.cache,
        "database-address": settings.database.address,
    }
    for key, address in addresses.items():
        try:
            if address is not None:
                check_engine(address)
        except UnusableAddressError as error:
            problems.append(Problem(where=settings.effective[key].where, key=key, text=str(error)))
    if problems:
        raise ConfigurationError(problems)


def _print(settings: Settings) -> None:
    from relayq.config import show

    lines = show(settings)
    width = max(len(line.where) for line in lines)
    for line in lines:
        click.echo(printable(f"{line.where:<{width}}  {line.key}: {line.value}".rstrip()))
