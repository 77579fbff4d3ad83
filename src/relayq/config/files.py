"""Configuration files: ``key: value`` lines (spec config.md 2)."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from relayq.config.compatibility import ALIASES
from relayq.config.entry import Entry, Source
from relayq.config.names import normalise_key
from relayq.config.problems import Report, one_line

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINE_OCTETS = 64 * 1024
MAX_FILE_OCTETS = 4 * 1024 * 1024

_BLANKS = " \t\r\v\f"


def read_file(path: Path, source: Source, report: Report) -> list[Entry]:
    """Read one configuration file; what cannot be read goes to ``report``.

    A missing default file is no problem, any other missing file is.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_OCTETS + 1)
    except FileNotFoundError:
        if source is not Source.DEFAULT_FILE:
            report.error(one_line(str(path)), "", "the file does not exist")
        return []
    except OSError as error:
        report.error(one_line(str(path)), "", f"the file cannot be read: {error.strerror}")
        return []
    except ValueError:
        report.error(one_line(str(path)), "", "this is no file name")
        return []
    if len(octets) > MAX_FILE_OCTETS:
        report.error(one_line(str(path)), "", f"the file is larger than {MAX_FILE_OCTETS} bytes")
        return []
    return parse_file(octets, one_line(str(path)), source, report)


def parse_file(octets: bytes, name: str, source: Source, report: Report) -> list[Entry]:
    """Split the content of a file into entries, first line first; of two with the same key the later one counts."""
    entries = []
    lines: dict[str, int] = {}
    for number, line in enumerate(octets.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if report.is_full:
            break
        entry = _parse_line(line, f"{name}:{number}", source, report)
        if entry is None:
            continue
        meant = ALIASES.get(entry.key, entry.key)
        if meant in lines:
            report.warn(entry.where, entry.name, f"is set again, line {lines[meant]} no longer counts")
        lines[meant] = number
        entries.append(entry)
    return entries


def _parse_line(line: bytes, where: str, source: Source, report: Report) -> Entry | None:
    if len(line.removesuffix(b"\r")) > MAX_LINE_OCTETS:
        report.error(where, "", f"the line is longer than {MAX_LINE_OCTETS} bytes")
        return None
    try:
        text = line.decode("utf-8").strip(_BLANKS)
    except UnicodeDecodeError:
        report.error(where, "", "the line is not UTF-8")
        return None
    if not text or text.startswith("#"):
        return None
    name, colon, value = text.partition(":")
    name = name.strip(_BLANKS)
    if not colon or not name:
        # The line is not shown: it may be a password that lost its key.
        report.error(where, "", "the line has no setting", "key: value")
        return None
    return Entry(name=name, key=normalise_key(name), text=value.strip(_BLANKS), where=where, source=source)
