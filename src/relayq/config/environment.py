"""Settings in environment variables, ``RELAYQ_KEY`` and ``RELAYQ_KEY_FILE`` (spec config.md 1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relayq.config.compatibility import ALIASES
from relayq.config.entry import Entry, Source
from relayq.config.files import MAX_LINE_OCTETS
from relayq.config.names import is_known, name_today, nearest_key, normalise_key
from relayq.config.problems import Report, one_line, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "RELAYQ_"

_FOREIGN_PREFIX = "MAILERQ_"
_FILE_SUFFIX = "_FILE"
_SERVICE_ENDINGS = ("_SERVICE_HOST", "_SERVICE_PORT")
_SERVICE_SCHEMES = ("tcp://", "udp://")


def read_environment(environ: Mapping[str, str], report: Report) -> list[Entry]:
    """Pick the variables that are settings, in alphabetical order."""
    entries = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or _is_service_variable(variable, environ[variable]):
            continue
        key, text = _read_variable(variable, environ, report)
        if key is None or text is None:
            continue
        entries.append(Entry(name=key, key=key, text=text, where=_environment(variable), source=Source.ENVIRONMENT))
    _report_twice(entries, report)
    return entries


def _read_variable(variable: str, environ: Mapping[str, str], report: Report) -> tuple[str | None, str | None]:
    """Key and text of a variable, ``(None, None)`` when there is nothing to use."""
    key = _variable_key(variable.removeprefix(PREFIX))
    if key is not None:
        return key, environ[variable]
    key = _variable_key(variable.removeprefix(PREFIX).removesuffix(_FILE_SUFFIX))
    if key is None or not variable.endswith(_FILE_SUFFIX):
        meant = nearest_key(normalise_key(variable.removeprefix(PREFIX)))
        advice = f", did you mean {variable_of(meant)}?" if meant else ""
        report.warn(_environment(variable), "", f"unknown setting{advice}")
        return None, None
    return key, _read_secret(variable, environ[variable], key, report)


def _read_secret(variable: str, path: str, key: str, report: Report) -> str | None:
    """Content of the file a ``RELAYQ_KEY_FILE`` variable names, without one line end."""
    where = _environment(variable)
    try:
        with Path(path).open("rb") as file:
            octets = file.read(MAX_LINE_OCTETS + 2)
        text = octets.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        report.error(where, key, f"the content of {quote(path)} is not UTF-8")
        return None
    except OSError as error:
        report.error(where, key, f"cannot read {quote(path)}: {error.strerror}", "the path of a readable file")
        return None
    except ValueError:
        report.error(where, key, f"{quote(path)} is no file name", "the path of a readable file")
        return None
    if len(octets) > MAX_LINE_OCTETS + 1:
        report.error(where, key, f"the content of {quote(path)} is longer than {MAX_LINE_OCTETS} bytes")
        return None
    return text


def _report_twice(entries: list[Entry], report: Report) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        meant = ALIASES.get(entry.key, entry.key)
        if meant in first:
            report.error(
                entry.where, entry.name, f"is set by {first[meant].where.removeprefix('environment ')} as well"
            )
        first[meant] = entry


def _variable_key(rest: str) -> str | None:
    key = normalise_key(rest)
    return key if rest == rest.upper() and "-" not in rest and is_known(key) else None


def variable_of(key: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{key.upper().replace('-', '_')}"


def _environment(variable: str) -> str:
    return f"environment {one_line(variable)}"


def _is_service_variable(variable: str, value: str) -> bool:
    """Whether a container platform made this variable out of a service called ``relayq`` (spec config.md 1)."""
    if variable.endswith(_SERVICE_ENDINGS):
        return True
    shaped = "_PORT_" in variable or variable.endswith("_PORT")
    return shaped and value.startswith(_SERVICE_SCHEMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A variable of MailerQ's, which is not read; ``use_instead`` is ``None`` when nothing corresponds."""

    variable: str
    use_instead: str | None


def leftover_variables(environ: Mapping[str, str]) -> tuple[Leftover, ...]:
    """Variables starting with ``MAILERQ_``, for ``check-config``, in alphabetical order."""
    found = []
    for variable in sorted(environ):
        if variable.startswith(_FOREIGN_PREFIX):
            key = name_today(normalise_key(variable.removeprefix(_FOREIGN_PREFIX)))
            found.append(Leftover(variable=one_line(variable), use_instead=variable_of(key) if key else None))
    return tuple(found)
