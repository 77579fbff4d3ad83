from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relayq.adapters.send_log import DownloadLog, LogFileError

NOON = datetime(2031, 3, 1, 12, 0, 5, tzinfo=UTC)
URL = "https://web.test/a?b=c"


def written(folder: Path, form: str | None, *urls: str) -> tuple[list[str], list[str]]:
    """Lines of the file, and what was told about trouble."""
    told: list[str] = []
    log = DownloadLog(folder / "d.log", form, lambda level, text: told.append(f"{level} {text}"), lambda: NOON)
    for url in urls:
        log.write(url)
    log.close()
    return (folder / "d.log").read_text().splitlines(), told


def test_the_usual_fields(tmp_path: Path) -> None:
    lines, told = written(tmp_path, None, URL, "http://x.test/\r\n2031-03-01 forged")
    assert lines == [
        f"2031-03-01 12:00:05 1930132805 {URL}",
        "2031-03-01 12:00:05 1930132805 http://x.test/  2031-03-01 forged",
    ]
    assert told == []


def test_json(tmp_path: Path) -> None:
    lines, _ = written(tmp_path, " JSON ", URL)
    assert [json.loads(line) for line in lines] == [{"date": "2031-03-01 12:00:05", "time": 1930132805, "url": URL}]


def test_a_template(tmp_path: Path) -> None:
    lines, _ = written(tmp_path, "{$time}|{$url}|{$none}|{$date}", URL)
    assert lines == [f"1930132805|{URL}||2031-03-01 12:00:05"]


def test_a_template_that_fails_is_told_once(tmp_path: Path) -> None:
    lines, told = written(tmp_path, "{1/0}", URL, URL)
    assert lines == [f"2031-03-01 12:00:05 1930132805 {URL}"] * 2
    assert len(told) == 1
    assert told[0].startswith("warning download-log-format: ")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="cannot open"):
        written(tmp_path / "nowhere", None)
