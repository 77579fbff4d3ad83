from __future__ import annotations

from pathlib import Path

import pytest

from relayq.adapters.log_observer import LogObserver
from relayq.app.log_files import LogFiles
from relayq.config import Settings
from tests.support.engine import settings_for

URL = "https://web.test/"


class Log:
    """What was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, level: str, component: str, text: str, error: BaseException | None = None) -> None:
        del error
        self.lines.append(f"{level} {component}: {text}")


def settings(**files: Path) -> Settings:
    return settings_for(25, [f"{name}-log-file={path}" for name, path in files.items()], {})


async def test_files_are_opened_changed_and_closed(tmp_path: Path) -> None:
    log = Log()
    observer = LogObserver(log)
    observer.resource_fetched(URL)  # nobody writes
    files = LogFiles(log, observer)
    first, second = settings(download=tmp_path / "1", send=tmp_path / "s"), settings(download=tmp_path / "2")
    assert files.open(first)
    observer.resource_fetched(URL)
    files.reconfigure(first, second)
    assert observer.write_attempt is None
    observer.resource_fetched(URL)
    files.reconfigure(second, settings())
    assert observer.write_download is None
    await files.close()
    assert files.open(settings(download=tmp_path / "2"))
    observer.resource_fetched(URL)
    await files.close()
    assert len((tmp_path / "2").read_text().splitlines()) >= 1
    assert (tmp_path / "s").read_text() == ""
    assert log.lines == []


@pytest.mark.parametrize("name", ["send", "download"])
async def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    log = Log()
    observer = LogObserver(log)
    files = LogFiles(log, observer)
    known, wrong = settings(**{name: tmp_path / "a"}), settings(**{name: tmp_path / "nowhere" / "a"})
    assert not files.open(wrong)
    assert files.open(known)
    writers = (observer.write_attempt, observer.write_download)
    files.reconfigure(known, wrong)
    assert (observer.write_attempt, observer.write_download) == writers
    await files.close()
    assert log.lines[0].startswith(f"critical {name} log: {name}-log-file: cannot open ")
    assert log.lines[1].endswith("; the old one is still used")
