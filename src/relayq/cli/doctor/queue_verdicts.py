"""What a difference between a queue and its declaration means, and what to do about it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from relayq.adapters.rabbitmq.comparison import Difference, ExchangeComparison, QueueComparison
from relayq.adapters.rabbitmq.topology import LAZY_ARGUMENT, BrokerVersion
from relayq.cli.doctor.finding import Finding, Verdict

AREA: Final = "broker"
DELIVERY_LIMIT: Final = "x-delivery-limit"
DEFAULT_DELIVERY_LIMIT: Final = 20
"""Of quorum queues without one of their own, from RabbitMQ 4.0 on."""
SAFE_DELIVERY_LIMIT: Final = 100
"""Every restart of relayq counts for every message it has prefetched (spec amqp.md 16)."""

# What becomes of mail in a queue that has this and should not.
_DANGERS: Final = {
    "durable": "its messages are gone when the broker restarts",
    "auto_delete": "the broker deletes it with all messages when its last consumer leaves",
    "exclusive": "it ends with the connection that made it",
    "x-expires": "the broker deletes it with all messages when nobody has used it for that long",
    "x-message-ttl": "messages older than that many milliseconds vanish",
    "x-max-length": "messages beyond that number are dropped or refused",
    "x-max-length-bytes": "messages beyond that size are dropped or refused",
    DELIVERY_LIMIT: "a message handed out more often is dropped, and every restart of relayq counts for what it held",
}
# Settings that make the declaration fit the queue, and how a value is written there.
_SETTINGS: Final = {
    "x-max-priority": "rabbitmq-maxpriority",
    "x-queue-type": "rabbitmq-queue-type",
    DELIVERY_LIMIT: "rabbitmq-delivery-limit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """What queues are judged by.

    Attributes:
        vhost: Virtual host, for commands.
        outbox: Name of the queue that is consumed.
        declares: Queues are declared at the start, so that differences keep it from starting.
        delivery_limit: Wanted for a quorum outbox.
        version: Of the broker.
        shared: Names of queues other than the outbox and its own.
    """

    vhost: str
    outbox: str
    declares: bool
    delivery_limit: int
    version: BrokerVersion


def judge_queue(comparison: QueueComparison, rules: QueueRules) -> Iterator[Finding]:
    """Everything there is to say about one queue; at least one finding."""
    name = comparison.declaration.name
    subject = f"queue {name}"
    state = comparison.state
    if state.trouble:
        yield _wrong(subject, state.trouble, "a queue this user may use", _permission_fix(rules))
        return
    if not state.exists:
        yield _missing(comparison, rules)
        return
    problems = [
        finding
        for difference in comparison.differences
        if (finding := _judge_difference(subject, difference, comparison, rules)) is not None
    ]
    problems += _judge_delivery_limit(subject, comparison, rules)
    if comparison.trouble:
        problems.append(_not_compared(subject, comparison.trouble, rules))
    yield from problems or (Finding(area=AREA, subject=subject, verdict=Verdict.OK, found=_describe(comparison)),)


def _describe(comparison: QueueComparison) -> str:
    durable = "durable" if comparison.declaration.durable else "not durable"
    return ", ".join(filter(None, (comparison.kind, durable, f"{comparison.state.ready} messages ready")))


def _missing(comparison: QueueComparison, rules: QueueRules) -> Finding:
    subject = f"queue {comparison.declaration.name}"
    if rules.declares:
        return Finding(area=AREA, subject=subject, verdict=Verdict.OK, found="not there yet; made when relayq starts")
    fix = "make it, or set rabbitmq-declare: true"
    verdict = Verdict.WRONG if comparison.declaration.is_required else Verdict.WARNING
    expected = "to exist, because rabbitmq-declare is false"
    return Finding(area=AREA, subject=subject, verdict=verdict, found="does not exist", expected=expected, fix=fix)


def _judge_difference(
    subject: str, difference: Difference, comparison: QueueComparison, rules: QueueRules
) -> Finding | None:
    name = difference.argument
    if name == LAZY_ARGUMENT:
        return None  # relayq declares such a queue as it is
    if name == DELIVERY_LIMIT and comparison.declaration.name == rules.outbox:
        return None  # has a finding of its own
    danger = _DANGERS.get(name) if _is_dangerous(difference) else None
    if not rules.declares and danger is None:
        return None
    is_own = comparison.declaration.name.startswith(rules.outbox)
    verdict = Verdict.WRONG if rules.declares or is_own else Verdict.WARNING
    return Finding(
        area=AREA,
        subject=subject,
        verdict=verdict,
        found=f"{name} is {_shown(difference.existing)}" + (f": {danger}" if danger else ""),
        expected=f"{name} {_shown(difference.wanted)}",
        fix=_fix(difference, comparison, rules),
    )


def _is_dangerous(difference: Difference) -> bool:
    """The queue loses more than what was asked for would."""
    if difference.argument == "durable":
        return difference.existing != "true"
    if difference.argument in {"auto_delete", "exclusive"}:
        return difference.existing == "true"
    return difference.existing is not None


def _shown(value: str | None) -> str:
    return "not set" if value is None else value or "''"


def _fix(difference: Difference, comparison: QueueComparison, rules: QueueRules) -> str:
    delete = delete_command(comparison.declaration.name, rules.vhost)
    empty = "let it run empty"
    if not rules.declares:
        return f"{empty}, then `{delete}`, and make it anew as expected"
    if comparison.declaration.name == rules.outbox:
        # Who cannot start cannot empty it either.
        empty += " (with rabbitmq-declare: false relayq delivers from it as it is)"
    anew = f"{empty}, then `{delete}`; relayq makes it anew"
    setting = _SETTINGS.get(difference.argument)
    is_delay = comparison.declaration.name.startswith(f"{rules.outbox}.delay.")
    if setting is not None and not is_delay and (difference.existing is not None or setting == "rabbitmq-maxpriority"):
        return f"set {setting}: {difference.existing or 0}, or {anew}"
    if difference.argument == "durable" and difference.existing == "true":
        return f"set rabbitmq-durable: true, or {anew}"
    return anew


def _judge_delivery_limit(subject: str, comparison: QueueComparison, rules: QueueRules) -> list[Finding]:
    """A quorum outbox drops what was handed out too often: every restart hands everything out again."""
    if comparison.kind != "quorum" or comparison.declaration.name != rules.outbox:
        return []
    text = comparison.existing(DELIVERY_LIMIT)
    wanted = comparison.declaration.arguments.get(DELIVERY_LIMIT)
    if text is None and rules.version >= BrokerVersion(4, 0):
        found = f"{DELIVERY_LIMIT} is not set, which means {DEFAULT_DELIVERY_LIMIT} unless a policy says otherwise"
    elif text is not None and (text != str(wanted) or int(text) < SAFE_DELIVERY_LIMIT):
        found = f"{DELIVERY_LIMIT} is {text}"
    elif text is None and wanted is not None:
        found = f"{DELIVERY_LIMIT} is not set"
    else:
        return []
    anew = f"let it run empty, then `{delete_command(rules.outbox, rules.vhost)}`"
    fix = (
        f"{anew}; with rabbitmq-queue-type: quorum relayq makes it anew with rabbitmq-delivery-limit: "
        f"{rules.delivery_limit} and a queue for what is over it. A policy can only lower the limit"
    )
    is_low = text is None or not text.isdigit() or int(text) < max(SAFE_DELIVERY_LIMIT, 1)
    return [
        Finding(
            area=AREA,
            subject=subject,
            verdict=Verdict.WRONG if is_low or rules.declares else Verdict.WARNING,
            found=f"{found}: {_DANGERS[DELIVERY_LIMIT]}",
            expected=f"{DELIVERY_LIMIT} {rules.delivery_limit}",
            fix=fix,
        )
    ]


def _not_compared(subject: str, trouble: str, rules: QueueRules) -> Finding:
    if not rules.declares:
        # Without the permission to declare nothing can be compared, and nothing has to be declared either.
        fix = f"look with `rabbitmqctl list_queues --vhost {shlex.quote(rules.vhost)} name durable arguments policy`"
        return Finding(area=AREA, subject=subject, verdict=Verdict.UNKNOWN, found=f"not compared: {trouble}", fix=fix)
    return _wrong(subject, trouble, "that it can be declared", _permission_fix(rules))


def judge_exchange(name: str, comparison: ExchangeComparison, rules: QueueRules) -> Finding:
    """What there is to say about the configured exchange."""
    subject = f"exchange {name}"
    if comparison.trouble:
        return _not_compared(subject, comparison.trouble, rules)
    if not comparison.exists:
        if rules.declares:
            return Finding(
                area=AREA, subject=subject, verdict=Verdict.OK, found="not there yet; made when relayq starts"
            )
        return _wrong(subject, "does not exist", "to exist", "make it, or set rabbitmq-declare: true")
    difference = comparison.difference
    if difference is None:
        return Finding(area=AREA, subject=subject, verdict=Verdict.OK, found="direct")
    verdict = Verdict.WRONG if rules.declares else Verdict.WARNING
    return Finding(
        area=AREA,
        subject=subject,
        verdict=verdict,
        found=f"{difference.argument} is {_shown(difference.existing)}",
        expected=f"{difference.argument} {_shown(difference.wanted)}",
        fix="name another one in rabbitmq-exchange, or leave that empty for the default exchange, or delete this one",
    )


def delete_command(name: str, vhost: str) -> str:
    """Command line that deletes a queue, but only an empty one."""
    return f"rabbitmqctl delete_queue --vhost {shlex.quote(vhost)} --if-empty {shlex.quote(name)}"


def _permission_fix(rules: QueueRules) -> str:
    vhost = shlex.quote(rules.vhost)
    return (
        f"`rabbitmqctl list_permissions --vhost {vhost}` shows who may do what, `rabbitmqctl set_permissions` sets it"
    )


def _wrong(subject: str, found: str, expected: str, fix: str) -> Finding:
    return Finding(area=AREA, subject=subject, verdict=Verdict.WRONG, found=found, expected=expected, fix=fix)
