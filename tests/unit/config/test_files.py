from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from relayq.config.entry import Source
from relayq.config.files import MAX_FILE_OCTETS, MAX_LINE_OCTETS, parse_file, read_file
from relayq.config.problems import MAX_LINES, Report


def parse(octets: bytes) -> tuple[list[tuple[str, str, str]], Report]:
    report = Report()
    entries = parse_file(octets, "file", Source.FILE, report)
    return [(entry.key, entry.text, entry.where) for entry in entries], report


@pytest.mark.parametrize(
    ("octets", "key", "text"),
    [
        (b"key: value", "key", "value"),
        (b"key:value\r\n", "key", "value"),
        (b"\t Key_Name \t:\t value \n", "key-name", "value"),
        (codecs.BOM_UTF8 + b"key: value\n", "key", "value"),
        (b"key: amqp://u:p@h:1/\n", "key", "amqp://u:p@h:1/"),
        (b"key: value # no comment\n", "key", "value # no comment"),
        (b'key: "a" \\n ${B}\n', "key", '"a" \\n ${B}'),
        (b"key:\n", "key", ""),
        ("key: r\u00e9sultats\u00a0\n".encode(), "key", "r\u00e9sultats\u00a0"),
        (b"key: " + b"x" * (MAX_LINE_OCTETS - 5) + b"\r\n", "key", "x" * (MAX_LINE_OCTETS - 5)),
    ],
)
def test_line(octets: bytes, key: str, text: str) -> None:
    entries, report = parse(octets)

    assert entries == [(key, text, "file:1")]
    assert not report.problems


def test_blank_lines_and_comments_are_skipped_but_counted() -> None:
    entries, report = parse(b"# a: b\n\n  \t\r\n   # c: d\nkey: value")

    assert entries == [("key", "value", "file:5")]
    assert not report.problems


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"hunter2\n", "file:1: the line has no setting; expected key: value"),
        (b" : hunter2\n", "file:1: the line has no setting; expected key: value"),
        (b"key: \xff\n", "file:1: the line is not UTF-8"),
        (b"key: " + b"x" * (MAX_LINE_OCTETS - 4), f"file:1: the line is longer than {MAX_LINE_OCTETS} bytes"),
    ],
)
def test_unreadable_line_is_reported_without_its_content(octets: bytes, text: str) -> None:
    entries, report = parse(octets)

    assert entries == []
    assert [str(problem) for problem in report.problems] == [text]


def test_a_second_byte_order_mark_is_part_of_the_key() -> None:
    entries, _ = parse(codecs.BOM_UTF8 * 2 + b"key: value\n")

    assert entries[0][0] == "\ufeffkey"


def test_a_key_set_twice_warns_with_both_lines() -> None:
    entries, report = parse(b"max-delivertime: 1\n# between\nMAX_DELIVER_TIME: 2\nmax-delivertime: 3\n")

    assert [text for _, text, _ in entries] == ["1", "2", "3"]
    assert [str(problem) for problem in report.warnings] == [
        "file:3: MAX_DELIVER_TIME: is set again, line 1 no longer counts",
        "file:4: max-delivertime: is set again, line 3 no longer counts",
    ]


@pytest.mark.parametrize("octets", [b"x\n" * 100_000, b"key: value\n" * 100_000])
def test_a_file_full_of_nonsense_gives_a_bounded_report(octets: bytes) -> None:
    _, report = parse(octets)

    lines = report.problems or report.warnings
    assert len(lines) == MAX_LINES
    assert str(lines[-1]) == f"{lines[-1].where}: too much is wrong, the rest was not looked at"


def test_a_missing_default_file_is_no_problem_but_any_other_is(tmp_path: Path) -> None:
    report = Report()

    assert read_file(tmp_path / "config.txt", Source.DEFAULT_FILE, report) == []
    assert report.problems == []
    assert read_file(tmp_path / "config.txt", Source.FILE, report) == []
    assert [str(problem) for problem in report.problems] == [f"{tmp_path}/config.txt: the file does not exist"]


def test_what_is_no_readable_file_is_reported(tmp_path: Path) -> None:
    report = Report()
    too_large = tmp_path / "large"
    with too_large.open("wb") as file:
        file.truncate(MAX_FILE_OCTETS + 1)

    for path in (tmp_path, Path("/a\x00b"), too_large):
        assert read_file(path, Source.DEFAULT_FILE, report) == []

    assert [problem.text for problem in report.problems] == [
        "the file cannot be read: Is a directory",
        "this is no file name",
        f"the file is larger than {MAX_FILE_OCTETS} bytes",
    ]
    assert report.problems[1].where == r"/a\x00b"
