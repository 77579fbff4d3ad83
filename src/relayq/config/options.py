"""Settings on the command line (spec config.md 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relayq.config.compatibility import ALIASES
from relayq.config.entry import Entry, Source
from relayq.config.names import is_known, nearest_key, normalise_key
from relayq.config.problems import Report, UsageError, one_line, quote
from relayq.config.table import TABLE
from relayq.config.value_types import is_truth_value

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_options(words: Sequence[str]) -> tuple[Entry, ...]:
    """Read command line words that are settings.

    Forms: ``--key=value``, ``--key value``, and for switches ``--key`` and ``--no-key``. A switch takes the next word
    only when it is a truth value.

    Raises:
        UsageError: A word is no option, an option is unknown or lacks its value.
    """
    report = Report()
    entries = []
    queue = list(reversed(words))
    while queue and not report.is_full:
        word = queue.pop()
        entry = _parse_option(word, queue, report)
        if entry is not None:
            entries.append(entry)
    if report.problems:
        raise UsageError(report.problems)
    return tuple(entries)


def _parse_option(word: str, rest: list[str], report: Report) -> Entry | None:
    """One option; takes its value from the end of ``rest`` when it stands there."""
    name, equals, text = word.removeprefix("--").partition("=")
    where = f"option --{one_line(name)}"
    if not word.startswith("--") or not name:
        report.error(f"argument {quote(name)}", "", "is no option", "--key=value")
        return None
    key = normalise_key(name)
    if not is_known(key):
        return _parse_negation(key, equals, where, report)
    if not equals:
        found = _following(key, rest)
        if found is None:
            report.error(where, "", "needs a value", f"--{key}=value")
            return None
        text = found
    return Entry(name=key, key=key, text=text, where=where, source=Source.COMMAND_LINE)


def _parse_negation(key: str, equals: str, where: str, report: Report) -> Entry | None:
    positive = key.removeprefix("no-")
    if positive != key and not equals and _is_flag(positive):
        return Entry(name=positive, key=positive, text="false", where=where, source=Source.COMMAND_LINE)
    meant = nearest_key(key)
    report.error(where, "", "unknown option" + (f", did you mean --{meant}?" if meant else ""))
    return None


def _following(key: str, rest: list[str]) -> str | None:
    """The value behind an option without ``=``, taken off ``rest``; ``None`` when there is none."""
    if _is_flag(key):
        return rest.pop() if rest and is_truth_value(rest[-1]) else "true"
    if not rest or rest[-1].startswith("--"):
        return None
    return rest.pop()


def _is_flag(key: str) -> bool:
    setting = TABLE.get(ALIASES.get(key, key))
    return setting is not None and setting.type.is_flag
