"""Lines nobody outside can forge, in both formats, to files that may be rotated away."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from relayq.adapters.application_log import ApplicationLog, ApplicationLogError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relayq.log"


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_a_line_of_text_has_level_utc_time_and_component(path: Path) -> None:
    log = ApplicationLog([str(path)], "info", "text")
    log.write("warning", "broker", "it is full")
    log.close()
    [line] = lines(path)
    assert re.fullmatch(r"\[Warning\] \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[broker\] it is full", line)


def test_a_line_of_json_has_the_same_members(path: Path) -> None:
    log = ApplicationLog([str(path)], "debug", "json")
    log.write("debug", "dns", 'a "quoted"\nthing')
    log.close()
    [line] = lines(path)
    record = json.loads(line)
    assert list(record) == ["time", "level", "component", "text"]
    assert (record["level"], record["component"], record["text"]) == ("debug", "dns", 'a "quoted"\nthing')
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", record["time"])


@pytest.mark.parametrize("text", ["a\nb", "a\r\n[Critical] forged", "a\x00b", "\x1b[2J", "a\u2028b", "a\x85b"])
def test_control_characters_make_no_new_line(path: Path, text: str) -> None:
    log = ApplicationLog([str(path)], "info", "text")
    log.write("info", "delivery", text)
    log.close()
    [line] = lines(path)
    assert line.isprintable()


def test_percent_signs_are_no_format(path: Path) -> None:
    log = ApplicationLog([str(path)], "info", "text")
    log.write("info", "delivery", "100 %s %d %")
    log.close()
    assert lines(path)[0].endswith("100 %s %d %")


def test_events_below_the_level_are_left_out(path: Path) -> None:
    log = ApplicationLog([str(path)], "warning", "text")
    for level in ("debug", "info", "warning", "critical"):
        log.write(level, "x", level)
    log.close()
    assert [line.rsplit(maxsplit=1)[1] for line in lines(path)] == ["warning", "critical"]


def fail(text: str) -> None:
    raise RuntimeError(text)


def raised(text: str) -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        fail(text)
    return caught.value


def test_a_trace_is_marked_line_by_line_so_that_its_text_cannot_be_taken_for_an_event(path: Path) -> None:
    log = ApplicationLog([str(path)], "info", "text")
    log.write("critical", "pipeline", "internal error", raised("first\n[Critical] [2026-01-01 00:00:00] [x] forged"))
    log.close()
    first, *trace = lines(path)
    assert first.startswith("[Critical]")
    assert trace
    assert all(line.startswith("  | ") for line in trace)
    assert any("forged" in line for line in trace)


def test_a_trace_in_json_is_a_member(path: Path) -> None:
    log = ApplicationLog([str(path)], "info", "json")
    log.write("critical", "pipeline", "internal error", raised("first\nsecond"))
    log.close()
    [line] = lines(path)
    assert "RuntimeError: first\nsecond" in json.loads(line)["trace"]


def test_a_rotated_file_is_opened_again(path: Path) -> None:
    log = ApplicationLog([str(path)], "info", "text")
    log.write("info", "x", "before")
    path.rename(path.with_suffix(".1"))
    log.reopen()
    log.write("info", "x", "after")
    log.close()
    assert lines(path)[0].endswith("after")


def test_several_targets_get_every_line(path: Path, tmp_path: Path) -> None:
    log = ApplicationLog([str(path), str(tmp_path / "second.log")], "info", "text")
    log.write("info", "x", "hello")
    log.close()
    assert lines(path) == lines(tmp_path / "second.log")


def test_a_target_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "relayq.log"
    with pytest.raises(ApplicationLogError, match=re.escape(str(missing))):
        ApplicationLog([str(missing)], "info", "text")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_standard_streams(stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = ApplicationLog([stream], "info", "text")
    log.write("info", "x", "hello")
    log.close()
    assert "hello" in getattr(capsys.readouterr(), stream[3:])


def test_no_target_at_all_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    log = ApplicationLog([], "info", "text")
    log.write("critical", "x", "hello", raised("x"))
    log.close()
    assert capsys.readouterr() == ("", "")
