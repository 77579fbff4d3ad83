from __future__ import annotations

import os
from pathlib import Path

import pytest

from relayq.config import (
    BrokerAddress,
    ConfigurationError,
    EmbeddedAddress,
    ExitCode,
    Settings,
    load,
    parse_options,
    show,
)
from relayq.config.store_address import STORE_FORMS
from tests.unit.config.loading import HOSTNAME, load_text, refused, warned


def addresses(settings: Settings) -> tuple[BrokerAddress, ...]:
    assert not isinstance(settings.broker.address, EmbeddedAddress)
    return settings.broker.address


def test_smallest_useful_file(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "rabbitmq-address: amqp://user:password@broker/vhost\nrabbitmq-results: results\n")

    assert [address.hosts for address in addresses(settings)] == [(("broker", 5672),)]
    assert (settings.queues.outbox, settings.queues.results, settings.queues.inbox) == ("outbox", "results", "outbox")
    assert settings.warnings == ()


def test_trial_without_rabbitmq(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "rabbitmq-address: embedded:\nrabbitmq-results: results\n")

    assert settings.broker.address == EmbeddedAddress()


def test_nothing_but_defaults() -> None:
    settings = load(no_default_config=True, system_hostname=lambda: HOSTNAME)

    assert {row.where for row in show(settings)} == {"default"}
    assert [address.user for address in addresses(settings)] == ["guest"]


PHASES = ("auth", "data", "block", "quit", "ehlo", "intro")


def write_timeouts(file: Path, seconds: int, phases: tuple[str, ...]) -> Path:
    file.write_text("".join(f"smtp-out-timeout-{phase}: {seconds}\n" for phase in phases))
    return file


def test_each_source_replaces_the_weaker_ones_key_by_key(tmp_path: Path) -> None:
    default = write_timeouts(tmp_path / "config.txt", 2, PHASES[:5])
    first = write_timeouts(tmp_path / "first", 3, PHASES[:4])
    second = write_timeouts(tmp_path / "second", 4, PHASES[:3])

    settings = load(
        parse_options(["--smtp-out-timeout-auth=6"]),
        [first, second],
        {"RELAYQ_SMTP_OUT_TIMEOUT_DATA": "5", "RELAYQ_SMTP_OUT_TIMEOUT_AUTH": "5"},
        default_file=default,
        system_hostname=lambda: HOSTNAME,
    )

    assert [getattr(settings.timeouts, phase) for phase in PHASES] == [6, 5, 4, 3, 2, 300]
    where = {row.key.removeprefix("smtp-out-timeout-"): row.where for row in show(settings)}
    assert [where[phase] for phase in PHASES] == [
        "option --smtp-out-timeout-auth",
        "environment RELAYQ_SMTP_OUT_TIMEOUT_DATA",
        f"{second}:3",
        f"{first}:4",
        f"{default}:5",
        "default",
    ]


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("embedded:", "embedded:"),
        ("embedded:///a/\u2028b", r"embedded:///a/\u2028b"),
        ("amqp://h,amqps://u:p@h1;h2/v", "amqp://guest:***@h:5672/,amqps://u:***@h1:5671;h2:5671/v"),
    ],
)
def test_how_broker_addresses_are_shown(tmp_path: Path, address: str, value: str) -> None:
    settings = load_text(tmp_path, f"rabbitmq-address: {address}\n")

    assert {row.key: row.value for row in show(settings)}["rabbitmq-address"] == value


def test_the_default_file_can_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "config.txt"
    file.write_text("nonsense")

    load(no_default_config=True, default_file=file, system_hostname=lambda: HOSTNAME)
    with pytest.raises(ConfigurationError):
        load(default_file=file, system_hostname=lambda: HOSTNAME)


def test_the_environment_names_a_file_unless_the_command_line_does(tmp_path: Path) -> None:
    for name in ("from-environment", "from-option"):
        (tmp_path / name).write_text(f"server-id: {name}\n")
    environ = {"RELAYQ_CONFIG_FILE": f"{tmp_path}/from-environment"}

    assert load_text(tmp_path, environ=environ).process.server_id == "from-environment"
    words = [f"--config-file={tmp_path}/from-option"]
    assert load_text(tmp_path, words=words, environ=environ).process.server_id == "from-option"


def test_a_missing_named_file_is_an_error(tmp_path: Path) -> None:
    assert refused(tmp_path, words=[f"--config-file={tmp_path}/none"]) == ["none: the file does not exist"]


def test_named_files_have_absolute_paths() -> None:
    with pytest.raises(ConfigurationError, match=r'option --config-file: config-file: "x" is not an absolute path'):
        load((), [Path("x")], no_default_config=True)


def test_a_file_names_no_further_file(tmp_path: Path) -> None:
    assert refused(tmp_path, "config-file: /etc/hosts") == [
        "config.txt:1: config-file: belongs on the command line or into the environment"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("smtp-out-port: 0", 'smtp-out-port: "0" is not a port between 1 and 65535; expected a port from 1 to 65535'),
        ("SMTP_Out_Port: x", 'SMTP_Out_Port: "x" is not a port number; expected a port from 1 to 65535'),
        (
            "retry-interval: 60,soon",
            'retry-interval: "soon" is not a duration; expected a list of seconds, each 1 or more',
        ),
        (
            "rabbitmq-outbox:",
            'rabbitmq-outbox: "" is empty; expected a queue name of 1 to 255 bytes, not starting with amq.',
        ),
        ("rabbitmq-adress: amqp://u:hunter2@h", "rabbitmq-adress: unknown setting, did you mean rabbitmq-address?"),
        ("nonsense: hunter2", "nonsense: unknown setting"),
        ("rabbitmq-queues: x", "rabbitmq-queues: unknown setting"),
        ("smtp-secure port: 465", "smtp-secure port: unknown setting, did you mean smtp-secure-port?"),
        ("k\x1b[2J: v", r"k\x1b[2J: unknown setting"),
        (
            "rabbitmq-address: amqp://u:hunter2@h:x",
            (
                "rabbitmq-address: *** has a host or port that is not a port number; expected "
                "amqp://user:password@host:port/vhost, amqps://…, several separated by commas, or embedded:"
            ),
        ),
        (
            "proxy-server: ftp://u:hunter2@h",
            (
                'proxy-server: "ftp://***@h" does not start with a known scheme; '
                "expected http://user:pw@host:port or socks://user:pw@host:port"
            ),
        ),
        (
            "rabbitmq-host: broker",
            "rabbitmq-host: was replaced: write rabbitmq-address: amqp://user:password@host:port/vhost",
        ),
        (
            "cluster-host: broker",
            "cluster-host: was replaced: write cluster-address: amqp://user:password@host:port/vhost",
        ),
        (
            "connection-secure: 2",
            (
                'connection-secure: "2" is no value of connection-secure, which knows 0 and 1; '
                "expected optional, opportunistic, required or verified"
            ),
        ),
        ("smtp-username: u", "smtp-username: is set without smtp-password"),
        ("smtp-password: hunter2", "smtp-password: is set without smtp-username"),
        ("send-log-prefix: x", "send-log-prefix: is set without send-log-directory"),
        (
            "storage: mysql://u:hunter2@h",
            f"storage: *** does not have the form host/database; expected one of {STORE_FORMS}",
        ),
        ("www-auth: users://hunter2", "www-auth: *** is not supported yet; expected no value"),
        (
            "smtp-out-security: strict",
            (
                'smtp-out-security: "strict" is not one of the words allowed; '
                "expected optional, opportunistic, required or verified"
            ),
        ),
        (
            "send-log-format: {if $x}",
            'send-log-format: "{if $x}" is no template: line 1: unclosed if; expected json, or a template of one line',
        ),
        (
            "download-proxy: http://",
            (
                'download-proxy: "http://" has nothing behind its scheme; '
                "expected http://user:pw@host:port or socks://user:pw@host:port"
            ),
        ),
        (
            "download-proxy: http://u:hunter2@a b:1",
            (
                'download-proxy: "http://***@a b:1" contains a blank or a control character; '
                "expected http://user:pw@host:port or socks://user:pw@host:port"
            ),
        ),
        (
            "smarthost: m\xe4 il.example",
            (
                'smarthost: "m\xe4 il.example" is no host name: domain is not a valid internationalised name; '
                "expected a host name or IP address"
            ),
        ),
        ("spool-threads: 2", 'spool-threads: "2" is not supported yet; expected 1'),
    ],
)
def test_one_problem_of_a_file(tmp_path: Path, text: str, line: str) -> None:
    assert refused(tmp_path, f"{text}\n") == [f"config.txt:1: {line}"]


@pytest.mark.parametrize(
    "text",
    [
        "www-port:",
        "smtp-out-tls-min: 1.2",
        "smtp-out-security: OPTIONAL",
        "auth-plaintext: off",
        "storage-policy: all",
        "storage-ttl: 1h",
        "smarthost-port: 25",
        "www-ip: 127.0.0.1",
        "license: none",
    ],
)
def test_defaults_of_features_to_come_are_accepted(tmp_path: Path, text: str) -> None:
    load_text(tmp_path, text)


def test_an_unsupported_value_that_is_replaced_does_no_harm(tmp_path: Path) -> None:
    load_text(tmp_path, "www-dir: /srv/console\n", ["--www-dir="])


def test_a_broken_value_is_reported_even_when_it_is_replaced(tmp_path: Path) -> None:
    assert refused(tmp_path, "max-attempts: x\n", ["--max-attempts=1"]) == [
        'config.txt:1: max-attempts: "x" is not a whole number; expected a whole number, 0 or more'
    ]


def test_every_problem_of_every_source_is_reported(tmp_path: Path) -> None:
    lines = refused(
        tmp_path,
        "smtp-out-port: 0\nnonsense\nmax-attempts: -1\n",
        ["--rabbitmq-qos=0"],
        {"RELAYQ_DNS_ATTEMPTS": "21", "RELAYQ_HOSTNAME_FILE": "/no/such/file"},
    )

    assert {line.split(": ")[0] for line in lines} == {
        "config.txt:1",
        "config.txt:2",
        "config.txt:3",
        "option --rabbitmq-qos",
        "environment RELAYQ_DNS_ATTEMPTS",
        "environment RELAYQ_HOSTNAME_FILE",
    }
    assert len(lines) == 6


def test_the_error_ends_the_process_with_78(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, "nonsense")

    assert caught.value.exit_code is ExitCode.CONFIGURATION
    assert int(caught.value.exit_code) == 78


def test_a_file_of_unknown_settings_gives_a_bounded_report(tmp_path: Path) -> None:
    assert len(refused(tmp_path, "".join(f"unknown-setting-number-{number}: x\n" for number in range(2000)))) == 1000


def test_bytes_that_are_no_text_in_the_environment(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, environ={"RELAYQ_RABBITMQ_RESULTS": os.fsdecode(b"caf\xe9")})

    assert r'environment RELAYQ_RABBITMQ_RESULTS: rabbitmq-results: "caf\udce9" is not UTF-8; expected' in line


def test_secrets_are_in_no_repr_and_no_report(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "rabbitmq-address: amqp://user:hunter2@broker/\n")

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(settings.effective)
    assert "hunter2" not in repr(show(settings))
    assert "hunter2" not in repr(parse_options(["--smtp-sink-password=hunter2"]))
    assert "amqp://user:***@broker:5672/" in {row.value for row in show(settings)}


def test_what_is_shown_stays_on_its_line(tmp_path: Path) -> None:
    settings = load_text(tmp_path, environ={"RELAYQ_RETRY_INTERVAL": "60\n120"})

    assert list(settings.delivery.retry_interval) == [60, 120]
    assert {row.key: row.value for row in show(settings)}["retry-interval"] == r"60\n120"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("", None),
        ("proxy-server: http://a", "a"),
        ("proxy-server: http://a\ndownload-proxy: socks://b", "b"),
        ("proxy-server: http://a\ndownload-proxy:", None),
        ("download-proxy: http://b", "b"),
    ],
)
def test_downloads_go_through_the_proxy_of_all_unless_told_otherwise(
    tmp_path: Path, text: str, host: str | None
) -> None:
    proxy = load_text(tmp_path, f"{text}\n").downloads.proxy
    assert (proxy.host if proxy else None) == host


@pytest.mark.parametrize(
    ("text", "inbox"),
    [("", "outbox"), ("rabbitmq-outbox: out", "out"), ("rabbitmq-inbox:", None), ("rabbitmq-inbox: in", "in")],
)
def test_injected_messages_go_to_the_outbox_unless_told_otherwise(tmp_path: Path, text: str, inbox: str | None) -> None:
    assert load_text(tmp_path, text).queues.inbox == inbox


@pytest.mark.parametrize(
    ("name", "known_as"),
    [("host.example.test", "host.example.test"), ("Host", "host"), ("192.0.2.1", "localhost"), ("a_b", "localhost")],
)
def test_the_system_gives_the_host_name_when_no_source_does(name: str, known_as: str) -> None:
    settings = load(no_default_config=True, system_hostname=lambda: name)

    assert settings.process.hostname == settings.session.hostname == known_as
    assert {row.key: row.value for row in show(settings)}["hostname"] == known_as


def test_a_system_without_name_is_localhost() -> None:
    def fail() -> str:
        raise OSError

    assert load(no_default_config=True, system_hostname=fail).process.hostname == "localhost"


def test_the_system_is_not_asked_for_a_configured_name() -> None:
    asked = []

    def ask() -> str:
        asked.append("name")
        return HOSTNAME

    settings = load(parse_options(["--hostname=MTA.example"]), no_default_config=True, system_hostname=ask)

    assert not asked
    assert settings.process.hostname == "mta.example"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("amqp-address: amqp://u:p@h/v", "rabbitmq-address", "amqp://u:***@h:5672/v"),
        ("smtp-defaultips: 192.0.2.1;192.0.2.2", "smtp-default-ips", "192.0.2.1;192.0.2.2"),
        ("smtp-defaultip: 192.0.2.1", "smtp-default-ips", "192.0.2.1"),
        ("smtp-sink-ip: 127.0.0.1", "smtp-sink-address", "127.0.0.1"),
        ("max-connections: 9", "smtp-connections-out", "9"),
        ("max-deliver-time: 9", "max-delivertime", "9"),
        ("connection-secure: 0", "smtp-out-security", "optional"),
        ("connection-secure: 1", "smtp-out-security", "opportunistic"),
        ("error-log: /var/log/relayq", "application-log", "/var/log/relayq"),
        ("send-log-directory: /var/log/\nsend-log-prefix: sent", "send-log-file", "/var/log/sent"),
        ("database: mysql://u:p@h/d", "database-address", "***"),
    ],
)
def test_old_names(tmp_path: Path, text: str, key: str, value: str) -> None:
    assert {row.key: row.value for row in show(load_text(tmp_path, text))}[key] == value


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("smtp-ranges: 10.0.0.0/8", "smtp-range", '"10.0.0.0/8"'),
        ("smtp-privatekey: /k", "smtp-key", '"/k"'),
        ("smtp-username: u\nsmtp-password: p", "smtp-auth", "***"),
        ("www-password: p", "www-auth", "***"),
        ("www-log-directory: /var/log", "www-log-file", '"/var/log/www.log"'),
    ],
)
def test_old_names_of_features_to_come(tmp_path: Path, text: str, key: str, words: str) -> None:
    (line,) = refused(tmp_path, text)

    assert f": {key}: {words} is not supported yet" in line


def test_parts_of_a_setting_do_not_replace_the_setting_itself(tmp_path: Path) -> None:
    assert warned(tmp_path, "send-log-file:\nsend-log-directory: /var/log\n") == [
        "config.txt:3: send-log-directory: does not count, because send-log-file is set"
    ]


def test_settings_without_meaning_are_noticed_once(tmp_path: Path) -> None:
    words = ["--license=y", "--dns-threads=4"]

    assert warned(tmp_path, "license: x\nsend-log-maxsize: 100MB\nwww-bin-log-file: /x\n", words) == [
        "config.txt:2: license: has no effect: there is no licence, no telemetry and no upload of crash reports",
        "config.txt:3: send-log-maxsize: has no effect: logs are rotated by logrotate",
        "config.txt:4: www-bin-log-file: has no effect: the binary log format is private to MailerQ",
        "option --dns-threads: dns-threads: has no effect: lookups need no threads",
    ]


def test_no_result_queue_is_worth_a_warning(tmp_path: Path) -> None:
    (warning,) = load_text(tmp_path).warnings

    assert str(warning) == "default: rabbitmq-results: no result queue is configured: results are not published"


def test_warnings_come_along_with_problems(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, "license: x\nnonsense\n")

    assert "license" in {warning.key for warning in caught.value.warnings}
