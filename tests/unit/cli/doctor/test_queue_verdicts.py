"""What differences of queues mean, as values; texts are those of RabbitMQ 3.10."""

from __future__ import annotations

import pytest

from relayq.adapters.rabbitmq.comparison import Difference, ExchangeComparison, QueueComparison, parse_difference
from relayq.adapters.rabbitmq.topology import BrokerVersion, QueueDeclaration
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.cli.doctor.queue_verdicts import QueueRules, delete_command, judge_exchange, judge_queue
from relayq.ports import QueueState


def rules(*, declares: bool = True, version: BrokerVersion = BrokerVersion(3, 13)) -> QueueRules:  # noqa: B008 - frozen
    return QueueRules(vhost="/", outbox="outbox", declares=declares, delivery_limit=1000, version=version)


def compared(
    *differences: Difference, name: str = "outbox", kind: str = "classic", trouble: str = "", **arguments: object
) -> QueueComparison:
    return QueueComparison(
        declaration=QueueDeclaration(name, True, {key.replace("_", "-"): value for key, value in arguments.items()}),
        state=QueueState(name=name, ready=3),
        differences=differences,
        kind=kind,
        trouble=trouble,
    )


def judge(comparison: QueueComparison, given: QueueRules | None = None) -> list[Finding]:
    return list(judge_queue(comparison, given or rules()))


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ("received 'true' but current is 'false'", Difference("a", "false", "true")),
        ("received none but current is the value '5' of type 'byte'", Difference("a", "5", None)),
        ("received the value 'x y' of type 'longstr' but current is none", Difference("a", None, "x y")),
        ("received 'zz' but current is 'a b'c'", Difference("a", "a b'c", "zz")),
        ("received the value '' of type 'longstr' but current is none", Difference("a", None, "")),
    ],
)
def test_refusals_are_understood(text: str, difference: Difference) -> None:
    refusal = f"PRECONDITION_FAILED - inequivalent arg 'a' for queue 'it's' in vhost '/': {text}"
    assert parse_difference(refusal) == difference


@pytest.mark.parametrize("text", ["", "PRECONDITION_FAILED - something else", "inequivalent arg 'a' for queue 'cut"])
def test_other_refusals_are_not(text: str) -> None:
    assert parse_difference(text) is None


def test_a_queue_without_differences_is_well() -> None:
    (finding,) = judge(compared())
    assert (finding.verdict, finding.found) == (Verdict.OK, "classic, durable, 3 messages ready")


@pytest.mark.parametrize(
    ("difference", "fix"),
    [
        (Difference("x-max-priority", "5", None), "set rabbitmq-maxpriority: 5, or let it run empty"),
        (Difference("x-max-priority", None, "5"), "set rabbitmq-maxpriority: 0, or let it run empty"),
        (Difference("x-queue-type", "quorum", None), "set rabbitmq-queue-type: quorum, or let it run empty"),
        (Difference("x-queue-type", None, "quorum"), "let it run empty"),
        (Difference("durable", "true", "false"), "set rabbitmq-durable: true, or let it run empty"),
        (Difference("durable", "false", "true"), "let it run empty"),
        (Difference("x-expires", "60000", None), "let it run empty"),
    ],
)
def test_fixes(difference: Difference, fix: str) -> None:
    (finding,) = judge(compared(difference))
    assert finding.verdict is Verdict.WRONG
    assert finding.fix.startswith(fix)
    assert "rabbitmqctl delete_queue --vhost / --if-empty outbox" in finding.fix


def test_no_setting_gives_delay_queues_a_priority() -> None:
    (finding,) = judge(compared(Difference("x-max-priority", "5", None), name="outbox.delay.600"))
    assert not finding.fix.startswith("set ")


def test_lazy_queues_are_taken_as_they_are() -> None:
    assert judge(compared(Difference("x-queue-mode", "lazy", None)))[0].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("argument", "version", "verdict"),
    [
        (None, BrokerVersion(3, 13), Verdict.OK),
        (None, BrokerVersion(4, 0), Verdict.WRONG),
        ("5", BrokerVersion(3, 10), Verdict.WRONG),
        ("1000", BrokerVersion(4, 1), Verdict.OK),
    ],
)
def test_delivery_limits_of_a_quorum_outbox_nobody_declared_so(
    argument: str | None, version: BrokerVersion, verdict: Verdict
) -> None:
    """As with ``auto`` on a virtual host whose default type is quorum."""
    differences = () if argument is None else (Difference("x-delivery-limit", argument, None),)
    found = judge(compared(*differences, kind="quorum"), rules(version=version, declares=False))
    expected = Verdict.WARNING if argument == "1000" else verdict
    assert found[0].verdict is expected


def test_the_limit_of_a_declared_quorum_outbox() -> None:
    well = compared(kind="quorum", x_delivery_limit=1000)
    assert judge(well)[0].verdict is Verdict.OK
    low = compared(Difference("x-delivery-limit", "500", "1000"), kind="quorum", x_delivery_limit=1000)
    (finding,) = judge(low)
    assert (finding.verdict, finding.expected) == (Verdict.WRONG, "x-delivery-limit 1000")
    none = compared(Difference("x-delivery-limit", None, "1000"), kind="quorum", x_delivery_limit=1000)
    assert "is not set" in judge(none)[0].found


def test_what_cannot_be_compared() -> None:
    (finding,) = judge(compared(trouble="ACCESS_REFUSED"))
    assert (finding.verdict, finding.found) == (Verdict.WRONG, "ACCESS_REFUSED")
    (finding,) = judge(compared(trouble="ACCESS_REFUSED"), rules(declares=False))
    assert finding.verdict is Verdict.UNKNOWN
    state = QueueState(name="outbox", trouble="RESOURCE_LOCKED")
    (finding,) = judge(QueueComparison(declaration=QueueDeclaration("outbox", True, {}), state=state))
    assert finding.verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("comparison", "declares", "verdict"),
    [
        (ExchangeComparison(True), True, Verdict.OK),
        (ExchangeComparison(False), True, Verdict.OK),
        (ExchangeComparison(False), False, Verdict.WRONG),
        (ExchangeComparison(True, Difference("type", "fanout", "direct")), True, Verdict.WRONG),
        (ExchangeComparison(True, Difference("type", "fanout", "direct")), False, Verdict.WARNING),
        (ExchangeComparison(None, trouble="no"), True, Verdict.WRONG),
    ],
)
def test_exchanges(comparison: ExchangeComparison, declares: bool, verdict: Verdict) -> None:
    assert judge_exchange("mail", comparison, rules(declares=declares)).verdict is verdict


def test_names_are_quoted_for_the_shell() -> None:
    assert delete_command("a; rm -rf /", "it's") == (
        "rabbitmqctl delete_queue --vhost 'it'\"'\"'s' --if-empty 'a; rm -rf /'"
    )
