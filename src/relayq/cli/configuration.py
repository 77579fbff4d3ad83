"""Settings among the words of a command line (spec config.md 1).

``--KEY=VALUE``, ``--KEY VALUE``, and for switches ``--KEY`` and ``--no-KEY``. A command declares its own options to
click and takes everything else as words: settings go to ``relayq.config``, the rest are the command's arguments.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from relayq.config import Settings

PASS_THROUGH: Final[dict[str, Any]] = {"ignore_unknown_options": True, "allow_interspersed_args": True}
"""Context settings of a command that takes settings."""

SETTINGS_NOTE: Final = "Every setting may be given as --KEY=VALUE; see docs/reference/settings.md."

F = TypeVar("F", bound=Callable[..., Any])


def takes_settings(metavar: str = "[--SETTING=VALUE]...") -> Callable[[F], F]:
    """Declare the parameters ``words`` and ``no_default_config`` of a command."""

    def declare(function: F) -> F:
        function = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar=metavar)(function)
        return click.option("--no-default-config", is_flag=True, help="Do not read /etc/relayq/config.txt.")(function)

    return declare


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that are settings with their values, and all others, each in order.

    Unknown options count as settings, so that the error about them comes from where the settings are known.
    """
    settings: list[str] = []
    others: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-":
            others.append(word)
            continue
        settings.append(word)
        if "=" not in word and at < len(words) and _takes_value(word, words[at]):
            settings.append(words[at])
            at += 1
    return settings, others


def _takes_value(word: str, following: str) -> bool:
    """Whether ``following`` is the value of the option in front; a switch takes a truth value only."""
    from relayq.config import UsageError, parse_options

    try:
        return not following.startswith("--") and len(parse_options([word, following])) == 1
    except UsageError:
        return False


def load_settings(
    words: Sequence[str], *, no_default_config: bool, system_hostname: Callable[[], str] = socket.getfqdn
) -> tuple[Settings, list[str]]:
    """Read the configuration; also return the words that are no settings. ``system_hostname`` as for ``load``.

    Raises:
        relayq.config.UsageError: An option is unknown or lacks its value.
        relayq.config.ConfigurationError: The configuration cannot be used.
    """
    from relayq.config import load, parse_options

    options, others = split_words(words)
    settings = load(
        parse_options(options),
        environ=os.environ,
        no_default_config=no_default_config,
        system_hostname=system_hostname,
    )
    return settings, others


def load_settings_alone(
    words: Sequence[str], *, no_default_config: bool, system_hostname: Callable[[], str] = socket.getfqdn
) -> Settings:
    """Read the configuration for a command without arguments of its own. ``system_hostname`` as for ``load``.

    Raises:
        click.UsageError: There are arguments.
    """
    settings, others = load_settings(words, no_default_config=no_default_config, system_hostname=system_hostname)
    if others:
        raise click.UsageError(f"unexpected argument {others[0]!r}", click.get_current_context(silent=True))
    return settings
