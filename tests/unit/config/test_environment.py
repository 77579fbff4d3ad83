from __future__ import annotations

from pathlib import Path

import pytest

from relayq.config import Leftover, leftover_variables
from relayq.config.environment import read_environment
from relayq.config.files import MAX_LINE_OCTETS
from relayq.config.problems import Report


def read(**variables: str) -> tuple[dict[str, str], Report]:
    report = Report()
    return {entry.key: entry.text for entry in read_environment(variables, report)}, report


def lines(report: Report) -> list[str]:
    return [str(problem) for problem in (*report.problems, *report.warnings)]


def test_settings_are_picked_and_the_rest_is_left() -> None:
    entries, report = read(
        RELAYQ_RABBITMQ_ADDRESS="amqp://h", RELAYQ_8BIT="send", RELAYQ_LOCK="", PATH="/bin", RELAY="x"
    )

    assert entries == {"rabbitmq-address": "amqp://h", "8bit": "send", "lock": ""}
    assert lines(report) == []


def test_old_names_are_settings_too() -> None:
    assert read(RELAYQ_MAX_CONNECTIONS="5", RELAYQ_LICENSE="x")[0] == {"max-connections": "5", "license": "x"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RELAYQ_SERVICE_HOST", "10.0.0.1"),
        ("RELAYQ_SERVICE_PORT", "8485"),
        ("RELAYQ_CONSOLE_SERVICE_HOST", "10.0.0.1"),
        ("RELAYQ_SERVICE_PORT_HTTP", "tcp://10.0.0.1:80"),
        ("RELAYQ_PORT", "tcp://10.0.0.1:80"),
        ("RELAYQ_PORT_8485_TCP", "udp://10.0.0.1:80"),
        ("RELAYQ_WWW_PORT", "tcp://10.0.0.1:80"),
    ],
)
def test_variables_of_container_platforms_are_ignored(variable: str, value: str) -> None:
    entries, report = read(**{variable: value})

    assert entries == {}
    assert lines(report) == []


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("RELAYQ_PORT_8485_TCP_ADDR", ""),
        ("RELAYQ_SMTP_TREADS", ", did you mean RELAYQ_SMTP_THREADS?"),
        ("RELAYQ_rabbitmq_address", ", did you mean RELAYQ_RABBITMQ_ADDRESS?"),
        ("RELAYQ_RABBITMQ-ADDRESS", ", did you mean RELAYQ_RABBITMQ_ADDRESS?"),
        ("RELAYQ_", ""),
        ("RELAYQ_FILE", ""),
        ("RELAYQ_NONSENSE_FILE", ""),
    ],
)
def test_an_unknown_variable_is_a_warning_without_its_value(variable: str, advice: str) -> None:
    entries, report = read(**{variable: "hunter2"})

    assert entries == {}
    assert lines(report) == [f"environment {variable}: unknown setting{advice}"]
    assert not report.problems


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"pass\n", "pass"), (b"pass", "pass"), (b" pass \n\n", " pass \n"), (b"pass\r\n", "pass"), (b"", "")],
)
def test_a_value_from_a_file_loses_one_line_end(tmp_path: Path, octets: bytes, text: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(octets)

    entries, report = read(RELAYQ_SMARTHOST_PASSWORD_FILE=str(file))

    assert entries == {"smarthost-password": text}
    assert lines(report) == []


def test_a_variable_that_spells_a_key_is_that_key() -> None:
    assert read(RELAYQ_SEND_LOG_FILE="/no/such/file")[0] == {"send-log-file": "/no/such/file"}
    assert read(RELAYQ_CONFIG_FILE="/no/such/file")[0] == {"config-file": "/no/such/file"}


def test_unusable_secret_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe9")
    (tmp_path / "long").write_bytes(b"x" * (MAX_LINE_OCTETS + 2))

    entries, report = read(
        RELAYQ_HOSTNAME_FILE=str(tmp_path / "none"),
        RELAYQ_LOCK_FILE="",
        RELAYQ_SERVER_ID_FILE=str(tmp_path / "latin"),
        RELAYQ_SMARTHOST_FILE=str(tmp_path / "long"),
        RELAYQ_USER_FILE="/a\x00",
    )

    assert entries == {}
    assert [problem.text for problem in report.problems] == [
        f'cannot read "{tmp_path}/none": No such file or directory',
        'cannot read "": Is a directory',
        f'the content of "{tmp_path}/latin" is not UTF-8',
        f'the content of "{tmp_path}/long" is longer than {MAX_LINE_OCTETS} bytes',
        r'"/a\x00" is no file name',
    ]


def test_a_key_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("b")

    _, report = read(RELAYQ_SMARTHOST_PASSWORD="a", RELAYQ_SMARTHOST_PASSWORD_FILE=str(file))

    assert lines(report) == [
        "environment RELAYQ_SMARTHOST_PASSWORD_FILE: smarthost-password: is set by RELAYQ_SMARTHOST_PASSWORD as well"
    ]
    assert report.problems


def test_a_setting_and_its_old_name_exclude_each_other() -> None:
    _, report = read(RELAYQ_MAX_DELIVERTIME="1", RELAYQ_MAX_DELIVER_TIME="2")

    assert lines(report) == [
        "environment RELAYQ_MAX_DELIVER_TIME: max-deliver-time: is set by RELAYQ_MAX_DELIVERTIME as well"
    ]


def test_variables_of_mailerq_are_listed_with_the_name_to_use() -> None:
    environ = {
        "MAILERQ_STORAGE": "a",
        "MAILERQ_RABBITMQ_RESULTS": "b",
        "MAILERQ_LICENSE": "c",
        "MAILERQ_NONSENSE": "d",
        "MAILERQ_SMTP_PASSWORD": "e",
        "PATH": "f",
    }

    assert leftover_variables(environ) == (
        Leftover(variable="MAILERQ_LICENSE", use_instead=None),
        Leftover(variable="MAILERQ_NONSENSE", use_instead=None),
        Leftover(variable="MAILERQ_RABBITMQ_RESULTS", use_instead="RELAYQ_RABBITMQ_RESULTS"),
        Leftover(variable="MAILERQ_SMTP_PASSWORD", use_instead="RELAYQ_SMTP_AUTH"),
        Leftover(variable="MAILERQ_STORAGE", use_instead="RELAYQ_STORAGE_ADDRESS"),
    )
