"""Reports to senders about what became of their messages (spec delivery.md 16).

Gathers the facts of an attempt; ``policy.reporting`` decides and ``compose.dsn`` writes. A report goes out together
with the results of its message, so it exists exactly when they do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from relayq.compose import DsnFacts, compose_report, encode_report
from relayq.delivery.bodies import Bodies
from relayq.model import Attempt, DeliveryError, DeliveryState, Message, Outcome, Reply
from relayq.model.message_json import (
    InvalidMessageError,
    ParseRules,
    change_object,
    parse_message,
)
from relayq.model.timestamp import parse_timestamp
from relayq.policy.local_codes import local_code
from relayq.policy.reporting import ReportAction, ReportingRules, decide_report, report_queue, returns_full
from relayq.policy.retry import RetryRules, deadline_of
from relayq.policy.storage import has_content, parse_source
from relayq.ports import OutboxItem
from relayq.smtp import normalise_line_ends

_NEEDED = frozenset(("recipient", "envelope"))
_PLACEHOLDER = msgspec.Raw(b'"-"')


class Trail(msgspec.Struct, kw_only=True):
    """What became known about one message while it was attempted, for a report about it; filled on the way.

    Attributes:
        octets: Content as sent, or as it was going to be sent.
        lead: What goes in front of it.
        reply: The one that accepted it.
        remote_mta: Name of the server that did.
        announces_dsn: That server offers DSN.
    """

    octets: bytes | None = None
    lead: bytes = b""
    reply: Reply | None = None
    remote_mta: str | None = None
    announces_dsn: bool = False


class ReporterRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        reporting: When there is a report.
        retry: Tells the deadline of a message.
        author: Address in ``From``.
        envelope: Envelope sender of reports, empty for the null sender.
        reporting_mta: Name of this server.
    """

    reporting: ReportingRules
    retry: RetryRules
    author: str
    envelope: str = ""
    reporting_mta: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report that has to be published.

    Attributes:
        queue: Where to.
        facts: What it tells.
        mime: The report itself.
    """

    queue: str
    facts: DsnFacts
    mime: bytes

    def as_message(self) -> Message:
        """The outbox message it is going to be."""
        return Message(members={}, sender=None, recipient=self.facts.sender, mime=self.mime)

    def encode(self, key: str | None) -> bytes:
        """The JSON of that message; ``key`` is where its content was stored, ``None`` when it was not."""
        return encode_report(self.facts, self.mime, key)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt and what it meant.

    Attributes:
        message: As it was before the attempt.
        attempt: What happened.
        outcome: What it means.
        error: What ended the attempt, ``None`` when the content was accepted.
        seen_at: First due pick-up.
        trail: What else is known.
    """

    message: Message
    attempt: Attempt
    outcome: Outcome
    error: DeliveryError | None
    seen_at: datetime
    trail: Trail


class Reporter:
    """Writes reports."""

    def __init__(self, rules: ReporterRules, bodies: Bodies | None) -> None:
        self._rules = rules
        self._bodies = bodies

    def reconfigure(self, rules: ReporterRules) -> None:
        """Other rules from the next report on."""
        self._rules = rules

    def has_queue(self, message: Message) -> bool:
        """Whether a report about a message could go anywhere: nearly all mail is sent without."""
        return message.sender is not None and bool(report_queue(message, self._rules.reporting))

    def decide(self, finding: Finding) -> ReportAction | None:
        """What there is to report, ``None`` for nothing."""
        return decide_report(
            finding.message,
            finding.outcome,
            finding.seen_at,
            finding.attempt.at,
            self._rules.reporting,
            peer_reports=finding.trail.announces_dsn,
        )

    async def write(self, item: OutboxItem, finding: Finding, action: ReportAction, limit: int) -> Report:
        """The report.

        Args:
            item: The consumed message: the same one gives the same ``Message-ID``.
            finding: What it is about.
            action: What to say.
            limit: Octets the broker takes; less of the message is returned where the report would be larger.
        """
        facts = self._facts(item, finding, action)
        facts = msgspec.structs.replace(facts, content=await self._content(finding))
        queue = report_queue(finding.message, self._rules.reporting)
        for smaller in ({"is_full": False}, {"content": None}):
            report = Report(queue=queue, facts=facts, mime=compose_report(facts))
            if len(report.encode(None)) <= limit:
                return report
            facts = msgspec.structs.replace(facts, **smaller)
        return Report(queue=queue, facts=facts, mime=compose_report(facts))

    def _facts(self, item: OutboxItem, finding: Finding, action: ReportAction) -> DsnFacts:
        rules, message, error = self._rules, finding.message, finding.error
        assert message.sender is not None, "nobody to report to"
        options = message.dsn
        status, reply, reason = _verdict(finding, action)
        digest = hashlib.sha256(b"%s\0%d\0" % (action.encode("ascii"), message.attempts) + item.body).hexdigest()
        return DsnFacts(
            action=action,
            author=rules.author,
            envelope=rules.envelope,
            reporting_mta=rules.reporting_mta,
            message_id=f"<{digest[:40]}@{rules.reporting_mta}>",
            sender=message.sender,
            recipient=message.recipient,
            original_recipient=options.orcpt if options is not None else None,
            envelope_id=options.envid if options is not None else None,
            arrived_at=_received_at(message.members) or finding.seen_at,
            at=finding.attempt.at,
            retry_until=deadline_of(message, finding.seen_at, rules.retry) if action == "delayed" else None,
            status=status,
            reply=reply,
            reason=reason,
            remote_mta=_remote_mta(error, finding),
            is_full=returns_full(message, action, rules.reporting),
        )

    async def _content(self, finding: Finding) -> bytes | None:
        """As sent, else as it came, else as stored; ``None`` when it cannot be had."""
        message = finding.message
        trail = finding.trail
        octets = message.read_mime() if trail.octets is None else trail.lead + trail.octets
        if octets is None and not has_content(message):
            octets = await self._load(finding)
        return None if octets is None else normalise_line_ends(octets.replace(b"\0", b""))

    async def _load(self, finding: Finding) -> bytes | None:
        key, error = finding.message.key, finding.error
        if key is None or self._bodies is None or self._bodies.is_paused:
            return None
        if error is not None and error.state is DeliveryState.STORAGE:
            return None  # it was asked for just now
        try:
            body = await self._bodies.load(key)
        except DeliveryError:
            return None
        return body if parse_source(body) is None else None  # the source of a mail is no mail


def _verdict(finding: Finding, action: ReportAction) -> tuple[str, str | None, str]:
    """Status, what the server replied, and what it was where nothing was replied."""
    error, attempt = finding.error, finding.attempt
    reply = finding.trail.reply if error is None else error.reply
    if reply is not None:
        text = " ".join(word for word in (str(reply.code), reply.enhanced_status, reply.description) if word)
        return _fitting(reply.status, action), text, ""
    if error is None or attempt.code is not None:
        return _fitting(attempt.status or "2.0.0", action), None, attempt.description or ""
    _, status, reason = local_code(error)
    return _fitting(status, action), None, reason


def _fitting(status: str, action: ReportAction) -> str:
    """Status of a class that agrees with the action: there are delays after a 5yz reply as well."""
    if action == "relayed":
        return status if status.startswith("2.") else "2.0.0"
    if action == "delayed":
        return "4" + status[1:]
    return status


def _remote_mta(error: DeliveryError | None, finding: Finding) -> str | None:
    """Name from the greeting, else the address; ``None`` without a connection."""
    name, ip = finding.trail.remote_mta, finding.attempt.remote_ip
    if error is not None:
        ip = error.remote_ip
        given = dict(error.details).get("mta")
        name = given if isinstance(given, str) else None
    if ip is None:
        return None
    return name or (f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]")


def _received_at(members: Mapping[str, msgspec.Raw]) -> datetime | None:
    """When the message was injected, if it was and says so."""
    raw = members.get("received")
    if raw is None:
        return None
    try:
        return parse_timestamp(msgspec.json.decode(raw, type=str))
    except ValueError:
        return None


def with_delay_sent(members: Mapping[str, msgspec.Raw]) -> bytes:
    """Raw value of ``dsn`` that tells of the report; its other members stay byte for byte (spec messages.md 7)."""
    return change_object(members.get("dsn"), {"delay-sent": b"true"})


def salvage_message(members: Mapping[str, msgspec.Raw], rules: ParseRules) -> Message | None:
    """What can be used of an object that is no usable message; ``None`` when sender or recipient cannot.

    Args:
        members: Of the object.
        rules: Settings it was refused under.
    """
    kept = dict(members)
    while True:
        try:
            message = parse_message(kept, rules)
        except InvalidMessageError as error:
            name = error.property_name
            if error.is_missing_content:
                kept["key"] = _PLACEHOLDER
            elif name in _NEEDED or kept.pop(name, None) is None:
                return None
        else:
            is_made_up = kept.get("key") is _PLACEHOLDER
            return msgspec.structs.replace(message, key=None) if is_made_up else message
