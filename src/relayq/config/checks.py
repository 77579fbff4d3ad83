"""Checks that look at several settings at once (spec config.md 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relayq.config.problems import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Values = Mapping[str, Any]
    Finding = tuple[str, str]

# A result on the outbox would be mailed again, for ever.
NEVER_THE_OUTBOX = (
    "rabbitmq-results",
    "rabbitmq-success",
    "rabbitmq-failure",
    "rabbitmq-retry",
    "rabbitmq-invalid",
    "rabbitmq-local",
    "rabbitmq-reports",
    "rabbitmq-refused",
    "rabbitmq-held",
)
QUEUES = (*NEVER_THE_OUTBOX, "rabbitmq-dsn", "rabbitmq-inbox")
RESULT_QUEUES = NEVER_THE_OUTBOX[:4]


def find_conflicts(values: Values) -> Iterator[Finding]:
    """Key and text of everything that contradicts itself.

    ``values`` may lack keys whose own value was wrong; checks that need them are left out.
    """
    return _run(_ERRORS, values)


def find_doubts(values: Values) -> Iterator[Finding]:
    """Key and text of everything that works but is probably not meant, same rules."""
    return _run(_WARNINGS, values)


def _run(checks: tuple[Callable[[Values], Iterator[Finding]], ...], values: Values) -> Iterator[Finding]:
    for check in checks:
        try:
            yield from check(values)
        except KeyError:
            continue


def _outbox_loops(values: Values) -> Iterator[Finding]:
    for key in NEVER_THE_OUTBOX:
        if values.get(key) == values["rabbitmq-outbox"]:
            yield key, "is the outbox: its messages would be mailed, for ever"


def _reserved_names(values: Values) -> Iterator[Finding]:
    outbox = values["rabbitmq-outbox"]
    reserved = (f"{outbox}.delay.", f"{outbox}.park.")
    for key in QUEUES:
        name = values.get(key)
        if name is not None and (name.startswith(reserved) or name == f"{outbox}.poison"):
            yield key, f"is a name reserved for queues that belong to the outbox: {quote(name)}"


def _prefetch(values: Values) -> Iterator[Finding]:
    lowest, usual = values["rabbitmq-minqos"], values["rabbitmq-qos"]
    if lowest > usual:
        yield "rabbitmq-minqos", f"is {lowest}, above rabbitmq-qos, which is {usual}"


def _acknowledge_in_time(values: Values) -> Iterator[Finding]:
    hold, message, limit = (
        values[key] for key in ("rabbitmq-max-hold", "smtp-out-timeout-message", "rabbitmq-ack-limit")
    )
    needed = hold + message
    if needed > limit:
        text = f"is {limit:g} s, below rabbitmq-max-hold + smtp-out-timeout-message = {needed:g} s"
        yield "rabbitmq-ack-limit", f"{text}: content could never be sent in time"


def _quorum(values: Values) -> Iterator[Finding]:
    if values["rabbitmq-queue-type"] == "quorum" and not values["rabbitmq-durable"]:
        yield "rabbitmq-durable", "is false, but the queues of rabbitmq-queue-type: quorum are always durable"


def _connection_shares(values: Values) -> Iterator[Finding]:
    total = values["smtp-connections"]
    for key in ("smtp-connections-in", "smtp-connections-out"):
        if values.get(key, 0) > total:
            yield key, f"is {values[key]}, above smtp-connections, which is {total}"


def _certificate(certificate: str, private_key: str) -> Callable[[Values], Iterator[Finding]]:
    def check(values: Values) -> Iterator[Finding]:
        if (values[certificate] is None) != (values[private_key] is None):
            present, missing = (certificate, private_key) if values[certificate] else (private_key, certificate)
            yield present, f"is set without {missing}"

    return check


def _login(prefix: str) -> Callable[[Values], Iterator[Finding]]:
    def check(values: Values) -> Iterator[Finding]:
        if values[f"{prefix}-password"] is not None and values[f"{prefix}-username"] is None:
            yield f"{prefix}-password", f"is set without {prefix}-username"

    return check


def _smarthost(values: Values) -> Iterator[Finding]:
    if values["smarthost"] is None:
        for key, unused in (("smarthost-port", 25), ("smarthost-username", None), ("smarthost-password", None)):
            if values[key] != unused:
                yield key, "is set without smarthost"


def _passwords_in_the_clear(values: Values) -> Iterator[Finding]:
    if values["smtp-auth"] and not values["smtp-secure-port"] and not values["smtp-certificate"]:
        yield "smtp-auth", "is set without a TLS listener (smtp-secure-port or smtp-certificate)"


def _console_in_the_clear(values: Values) -> Iterator[Finding]:
    if values["www-auth"] and not values["www-secure-port"]:
        yield "www-auth", "is set without a TLS listener (www-secure-port)"


def _results_go_nowhere(values: Values) -> Iterator[Finding]:
    if all(values[key] is None for key in RESULT_QUEUES):
        yield "rabbitmq-results", "no result queue is configured: results are not published"


def _unverified_broker(values: Values) -> Iterator[Finding]:
    if not values["rabbitmq-verify"]:
        yield "rabbitmq-verify", "certificates of brokers are not checked"


_ERRORS = (
    _outbox_loops,
    _reserved_names,
    _prefetch,
    _acknowledge_in_time,
    _quorum,
    _connection_shares,
    _certificate("smtp-certificate", "smtp-key"),
    _certificate("www-certificate", "www-privatekey"),
    _login("smarthost"),
    _login("smtp-sink"),
    _smarthost,
)
_WARNINGS = (_passwords_in_the_clear, _console_in_the_clear, _results_go_nowhere, _unverified_broker)
