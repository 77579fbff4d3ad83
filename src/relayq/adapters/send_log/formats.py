"""What a line of the send log contains: MailerQ's fields, JSON, or what a template says (spec operations.md 12).

A line is one line whatever servers and messages put into its values: control characters become blanks. Content and
secrets are never in it, so ``mime`` is not there for templates and the keys of ``dkim`` and ``smarthost`` are masked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from relayq.compose.template import Template, TemplateContext, TemplateError, compile_template
from relayq.model import Attempt, Message, Outcome
from relayq.model.members import decode_value
from relayq.model.message_json import encode_attempt
from relayq.model.timestamp import format_timestamp

JSON_FORMAT: Final = "json"
MASK: Final = "***"
HIDDEN: Final = frozenset({"mime"})
"""Members of a message no template sees."""
MASKED: Final = frozenset({"dkim", "smarthost"})
TEMPLATE_SECONDS: Final = 0.05
"""A template that takes longer for a line is given up, and the usual line is written: deliveries wait for it."""
LONGEST_LINE: Final = 16_384
"""Characters; a description alone may have 4,096."""
MOST_TAGS: Final = 32
LONGEST_TAG: Final = 255
_CONTROLS: Final = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")
# Which members of the message a template names; whatever else it does with $email needs all of them.
_EMAIL: Final = re.compile(r"\$email\b(?:\.([A-Za-z0-9_]+))?")

LineFormat = Callable[[Message | None, Attempt, Outcome], str]
"""Makes one line, without its end."""

_encode_text = msgspec.json.Encoder().encode


def line_format(text: str | None, report: Callable[[str, str], None]) -> LineFormat:
    """The format a setting asks for.

    Args:
        text: ``None`` = MailerQ's fields, ``json``, or a template.
        report: Told level and text when a template cannot write a line, once.

    Raises:
        TemplateError: The text is no template.
    """
    if text is None:
        return write_fields
    if text.strip().lower() == JSON_FORMAT:
        return write_json
    return TemplateLine(text, report)


def write_fields(message: Message | None, attempt: Attempt, outcome: Outcome) -> str:
    """Date, state and result, number of the attempt, sender, recipient, addresses, tags, and the answer."""
    del outcome
    if message is None:
        sender = recipient = ""
        number, tags = 1, "[]"
    else:
        sender = "" if message.sender is None else message.sender.text
        recipient = message.recipient.text
        number = message.attempts + 1
        tags = _encode_text(_tags(message)).decode() if message.tags else "[]"
    # Added, not formatted: formatting a member of an enumeration takes four times as long.
    end = attempt.state + ":" + attempt.result
    line = (
        f"[{format_timestamp(attempt.at)}] {end} {number} <{sender}> <{recipient}> "
        f"[{attempt.egress_ip or ''}] [{attempt.remote_ip or ''}] {tags} "
        f"{attempt.code or ''} {attempt.status or ''} {attempt.description or ''}"
    ).rstrip()
    return line if line.isprintable() and len(line) <= LONGEST_LINE else one_line(line)


def _tags(message: Message) -> tuple[str, ...]:
    """Those that count (spec operations.md 10)."""
    tags = message.tags
    return (
        tags if len(tags) == 1 and len(tags[0]) <= LONGEST_TAG else tuple(tag[:LONGEST_TAG] for tag in tags[:MOST_TAGS])
    )


def one_line(text: str) -> str:
    """The text without control characters and ends of lines, cut to a bounded length."""
    return text[:LONGEST_LINE].translate(_CONTROLS)


class _JsonLine(msgspec.Struct, omit_defaults=True, rename={"origin": "from"}):
    """Members in the order of the fields above."""

    date: str
    state: str
    result: str
    outcome: str
    attempt: int
    envelope: str | None = None
    recipient: str | None = None
    origin: str | None = None
    to: str | None = None
    tags: tuple[str, ...] = ()
    code: int | None = None
    status: str | None = None
    description: str | None = None


def write_json(message: Message | None, attempt: Attempt, outcome: Outcome) -> str:
    """One JSON object; members without a value are left out. The null sender is an empty text."""
    sender = recipient = None
    number: int = 1
    tags: tuple[str, ...] = ()
    if message is not None:
        sender = "" if message.sender is None else message.sender.text
        recipient = message.recipient.text
        number, tags = message.attempts + 1, _tags(message)
    line = _JsonLine(
        format_timestamp(attempt.at), attempt.state, attempt.result, outcome, number, sender, recipient,
        attempt.egress_ip, attempt.remote_ip, tags, attempt.code, attempt.status, attempt.description,
    )  # fmt: skip
    # JSON escapes the controls below 0x20 only; the others end lines for some readers.
    text = _encode_text(line).decode()
    return text if text.isprintable() else text.translate(_CONTROLS)


class LineTemplate:
    """A template for lines, whose first failure is told."""

    def __init__(self, text: str, setting: str, report: Callable[[str, str], None]) -> None:
        """Compile it.

        Args:
            text: The template.
            setting: Where it comes from, for the report.
            report: Told level and text when it cannot write a line, once.

        Raises:
            TemplateError: The text is no template.
        """
        self._template: Template = compile_template(text)
        self._setting = setting
        self._report: Callable[[str, str], None] | None = report

    def render(self, variables: dict[str, object], now: int, deadline: float) -> str | None:
        """The line, or ``None`` when the template fails or is not done by the deadline, a monotonic instant."""
        context = TemplateContext(variables, now, lambda: deadline - time.monotonic())
        try:
            return self._template.render(context)
        except TemplateError as error:
            if self._report is not None:
                self._report("warning", f"{self._setting}: {error}; the usual fields stand in such lines")
                self._report = None
            return None


class TemplateLine:
    """A line as a template says, with ``$email``, ``$result``, ``$attempt``, ``$outcome``, ``$date`` and ``$time``."""

    def __init__(self, text: str, report: Callable[[str, str], None]) -> None:
        self._template = LineTemplate(text, "send-log-format", report)
        names = {match[1] for match in _EMAIL.finditer(text)}
        # A name with "-" is also found with "_", so both spellings are looked for.
        self._names = None if None in names else frozenset(name.replace("_", "-") for name in names if name)
        self._needs_email = bool(names)

    def __call__(self, message: Message | None, attempt: Attempt, outcome: Outcome) -> str:
        """Render one line."""
        deadline = time.monotonic() + TEMPLATE_SECONDS
        variables: dict[str, object] = {
            "result": msgspec.json.decode(encode_attempt(attempt)),
            "attempt": 1 if message is None else message.attempts + 1,
            "date": format_timestamp(attempt.at),
            "time": int(attempt.at.timestamp()),
            "outcome": str(outcome),
            "email": self._email(message.members) if message is not None and self._needs_email else {},
        }
        line = self._template.render(variables, int(attempt.at.timestamp()), deadline)
        return write_fields(message, attempt, outcome) if line is None else one_line(line)

    def _email(self, members: Mapping[str, msgspec.Raw]) -> dict[str, object]:
        """The members the template names, decoded."""
        found: dict[str, object] = {}
        for name, raw in members.items():
            if name in HIDDEN or not (self._names is None or name.replace("_", "-") in self._names):
                continue
            try:
                found[name] = MASK if name in MASKED else decode_value(raw)
            except ValueError:
                continue  # no text, so nothing to print
        return found
