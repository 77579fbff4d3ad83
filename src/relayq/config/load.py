"""From the sources to one ``Settings``: merge, read, check, build (spec config.md 1, 4, 7).

Every entry of every source is read, also those a later source replaces, so that all problems show at once. Whether a
value is supported, and how values fit together, is asked of the effective ones only.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from relayq.config.checks import find_conflicts, find_doubts
from relayq.config.compatibility import (
    ALIASES,
    COMPOSED,
    CONVERTED_VALUES,
    NO_EFFECT,
    PARTS,
    REPLACED,
)
from relayq.config.entry import Entry, Source
from relayq.config.environment import read_environment
from relayq.config.files import read_file
from relayq.config.hosts import parse_mail_host
from relayq.config.names import nearest_key
from relayq.config.problems import (
    MASK,
    BadValueError,
    ConfigurationError,
    Report,
    mask_credentials,
    one_line,
    quote,
)
from relayq.config.settings import Effective, Settings, build_settings, with_borrowed
from relayq.config.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relayq.config.compatibility import Composed
    from relayq.config.setting import Setting

DEFAULT_FILE = Path("/etc/relayq/config.txt")

_CONFIG_FILE = "config-file"
_UNNAMED_HOST = "localhost"


def load(
    options: Sequence[Entry] = (),
    config_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    *,
    no_default_config: bool = False,
    default_file: Path = DEFAULT_FILE,
    system_hostname: Callable[[], str] = socket.getfqdn,
) -> Settings:
    """Read the configuration.

    Args:
        options: What ``parse_options`` made of the command line.
        config_files: Values of ``--config-file``, left to right; they replace a file named by the environment.
        environ: Variables, normally ``os.environ``; ``None`` = none.
        no_default_config: Leave the default file out.
        default_file: Where it is.
        system_hostname: Asked when ``hostname`` is not set; may ask DNS, so it may take seconds.

    Raises:
        ConfigurationError: With every problem of every source.
    """
    report = Report()
    sources = [*_given_files(config_files), *options]
    entries = _collect(sources, environ or {}, None if no_default_config else default_file, report)
    reading = _Reading(report)
    for entry in entries:
        if not report.is_full:
            reading.take(entry)
    reading.compose()
    effective = reading.effective()
    if not report.problems:
        effective["hostname"] = _named_host(effective["hostname"], system_hostname)
        return build_settings(effective, tuple(report.warnings))
    raise ConfigurationError(report.problems, report.warnings)


def _given_files(paths: Sequence[Path]) -> list[Entry]:
    where = f"option --{_CONFIG_FILE}"
    return [
        Entry(name=_CONFIG_FILE, key=_CONFIG_FILE, text=str(path), where=where, source=Source.COMMAND_LINE)
        for path in paths
    ]


def _collect(
    options: Sequence[Entry], environ: Mapping[str, str], default_file: Path | None, report: Report
) -> list[Entry]:
    """Entries of all sources, the weakest first."""
    variables = read_environment(environ, report)
    files = _files_of(options) or _files_of(variables)
    entries = [] if default_file is None else read_file(default_file, Source.DEFAULT_FILE, report)
    for path in files:
        entries += read_file(path, Source.FILE, report)
    return [*entries, *variables, *options]


def _files_of(entries: Sequence[Entry]) -> list[Path]:
    return [Path(entry.text.strip()) for entry in entries if entry.key == _CONFIG_FILE and entry.text.strip()]


def _named_host(item: Effective, system_hostname: Callable[[], str]) -> Effective:
    """Fill in the name of this host when no source does."""
    if item.value is not None:
        return item
    try:
        name = parse_mail_host(system_hostname())
    except (OSError, UnicodeError, BadValueError):
        name = _UNNAMED_HOST
    return replace(item, value=name, text=name)


class _Reading:
    """Entries becoming values: the strongest of each key, and which keys have something wrong."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._chosen: dict[str, Effective] = {}
        self._parts: dict[str, Entry] = {}
        self._broken: set[str] = set()
        self._noticed: set[str] = set()

    def take(self, entry: Entry) -> None:
        """Add one entry; later ones are stronger."""
        key, name = entry.key, one_line(entry.name)
        if key in NO_EFFECT:
            if key not in self._noticed:
                self._report.warn(entry.where, name, NO_EFFECT[key])
            self._noticed.add(key)
        elif key in REPLACED:
            self._report.error(entry.where, name, REPLACED[key])
        elif key in PARTS:
            self._parts[key] = entry
        elif key == _CONFIG_FILE and entry.source in {Source.DEFAULT_FILE, Source.FILE}:
            self._report.error(entry.where, name, "belongs on the command line or into the environment")
        else:
            self._take_value(entry, name)

    def _take_value(self, entry: Entry, name: str) -> None:
        setting = TABLE.get(ALIASES.get(entry.key, entry.key))
        if setting is None:
            meant = nearest_key(entry.key)
            self._report.error(entry.where, name, "unknown setting" + (f", did you mean {meant}?" if meant else ""))
            return
        try:
            text = _convert(entry)
            value = setting.read(text)
        except BadValueError as error:
            shown = MASK if setting.secret else quote(mask_credentials(error.item or entry.text))
            self._report.error(entry.where, name, f"{shown} {error.predicate}", setting.type.expected)
            self._broken.add(setting.key)
            return
        self._chosen[setting.key] = Effective(
            setting=setting, value=value, text=text, where=entry.where, source=entry.source
        )

    def compose(self) -> None:
        """Turn old names that are parts of a setting into that setting."""
        for composed in COMPOSED:
            parts = {name: self._parts[name] for name in composed.parts if name in self._parts}
            if parts:
                self._compose_one(composed, parts)

    def _compose_one(self, composed: Composed, parts: Mapping[str, Entry]) -> None:
        last = max(parts.values(), key=lambda entry: entry.source)
        if composed.key in self._chosen:
            self._report.warn(last.where, one_line(last.name), f"does not count, because {composed.key} is set")
            return
        missing = [name for name in composed.needed if name not in parts]
        if missing:
            self._report.error(last.where, one_line(last.name), f"is set without {missing[0]}")
            return
        text = composed.write({name: entry.text for name, entry in parts.items()})
        self._take_value(replace(last, key=composed.key, text=text), one_line(last.name))

    def effective(self) -> dict[str, Effective]:
        """Every key of the table with its value, after the checks that need all of them."""
        result = with_borrowed({key: self._chosen.get(key) or _default(setting) for key, setting in TABLE.items()})
        for key, item in result.items():
            if not item.setting.accepts(item.value) and item.source is not Source.DEFAULT:
                self._refuse_unsupported(item)
                self._broken.add(key)
        self._check_together(result)
        return result

    def _refuse_unsupported(self, item: Effective) -> None:
        supported = item.setting.supported
        words = [item.setting.default or "no value", *(supported if isinstance(supported, tuple) else ())]
        self._report.error(
            item.where,
            item.setting.key,
            f"{item.shown if item.setting.secret else quote(item.shown)} is not supported yet",
            " or ".join(dict.fromkeys(words)),
        )

    def _check_together(self, effective: Mapping[str, Effective]) -> None:
        sound = {key: item.value for key, item in effective.items() if key not in self._broken}
        for key, text in find_conflicts(sound):
            self._report.error(effective[key].where, key, text)
        for key, text in find_doubts(sound):
            self._report.warn(effective[key].where, key, text)


def _default(setting: Setting) -> Effective:
    return Effective(
        setting=setting, value=setting.default_value(), text=setting.default, where="default", source=Source.DEFAULT
    )


def _convert(entry: Entry) -> str:
    """Text of an entry in the words of today.

    Raises:
        BadValueError: It cannot be text of a setting, or is no value of the old one.
    """
    try:
        entry.text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadValueError("is not UTF-8") from None
    words = CONVERTED_VALUES.get(entry.key)
    if words is None or not entry.text.strip():
        return entry.text
    if entry.text.strip() not in words:
        raise BadValueError(f"is no value of {entry.key}, which knows {' and '.join(words)}")
    return words[entry.text.strip()]
