"""Documents of tests: composed with fixed boundaries and time, and with answers instead of downloads."""

from __future__ import annotations

import email
import email.policy
import itertools
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

from relayq.compose.responsive import (
    Download,
    DownloadFailure,
    Occasion,
    Plan,
    Resource,
    ResponsiveOptions,
    build_mime,
    parse_document,
)
from relayq.model import parse_address

SEEN_AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
SHOWN_DIGEST = b"0123456789abcdef0123456789abcdef"

_DIGEST = re.compile(rb"(?<=Message-ID: <)[0-9a-f]{32}(?=@)")
_MAX_ROUNDS = 10

Answers = Mapping[str, Resource | DownloadFailure]


def plan_of(
    mime: Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None = None,
    envelope: str | None = "bounces@shop.example",
    recipient: str = "ann@example.org",
    force: bool = False,
    options: ResponsiveOptions | None = None,
    answers: Answers | None = None,
) -> Plan:
    """A plan as far as it comes with answers by URL, written as ``KIND URL`` or as the URL alone."""
    occasion = Occasion(
        data=None if data is None else json.dumps(data).encode(),
        envelope=None if envelope is None else parse_address(envelope),
        recipient=recipient,
        seen_at=SEEN_AT,
        force=force,
        options=options or ResponsiveOptions(),
    )
    plan = parse_document(json.dumps(mime).encode(), occasion)
    for _ in range(_MAX_ROUNDS):
        found = {download: _answer(download, answers or {}) for download in plan.downloads}
        known = {download: answer for download, answer in found.items() if answer is not None}
        if not known:
            return plan
        plan = plan.with_resources(known)
    raise AssertionError("downloads without end")


def _answer(download: Download, answers: Answers) -> Resource | DownloadFailure | None:
    return answers.get(f"{download.kind.value} {download.url}", answers.get(download.url))


def build(plan: Plan) -> bytes:
    """The message of a plan, its boundaries ``=_b1``, ``=_b2`` … and its digest the one the specification shows."""
    counter = itertools.count(1)
    return _DIGEST.sub(SHOWN_DIGEST, build_mime(plan, lambda: f"=_b{next(counter)}"), count=1)


def compose(mime: Mapping[str, Any], **how: Any) -> bytes:
    """The message of a document; see `plan_of`."""
    return build(plan_of(mime, **how))


def parsed(mime: bytes) -> EmailMessage:
    """What the parser of the standard library makes of it."""
    return email.message_from_bytes(mime, policy=email.policy.default)


def defects(message: EmailMessage) -> list[object]:
    """Everything that parser has against a message, its parts and their fields."""
    found: list[object] = []
    for part in message.walk():
        found += part.defects
        found += [defect for value in part.values() for defect in getattr(value, "defects", ())]
    return [defect for defect in found if "duplicate parameter name" not in str(defect)]  # filename beside filename*


def part_of(mime: bytes, media_type: str) -> str:
    """Text of the first part of that type, with LF line ends and without the last one."""
    for part in parsed(mime).walk():
        if part.get_content_type() == media_type:
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            return content.decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
    raise AssertionError(f"no {media_type}")


def has_part(mime: bytes, media_type: str) -> bool:
    """There is a part of that type."""
    return any(part.get_content_type() == media_type for part in parsed(mime).walk())


def html_of(mime: Mapping[str, Any], **how: Any) -> str:
    """HTML of a document."""
    return part_of(compose(mime, **how), "text/html")


def text_of(mime: Mapping[str, Any], **how: Any) -> str | None:
    """Text of a document, ``None`` without one."""
    message = compose(mime, **how)
    return part_of(message, "text/plain") if has_part(message, "text/plain") else None


def rows_of(*blocks: Mapping[str, Any], **how: Any) -> str:
    """What blocks become: the rows between the tags of their table, without the last line break."""
    mime = {"content": {"blocks": list(blocks)}, **how.pop("mime", {})}
    html = html_of(mime, **how)
    start = html.index('<td class="re-content"')
    start = html.index('style="width:100%">\n', start) + len('style="width:100%">\n')
    return html[start : html.index("</table>\n</td>\n</tr>\n</table>\n</td>\n</tr>\n</table>\n</body>")].removesuffix(
        "\n"
    )


def inner_of(block: Mapping[str, Any], **how: Any) -> str:
    """Content of the cell of one block."""
    row = rows_of(block, **how)
    return row[row.index(">", row.index("<td ")) + 1 : row.rindex("</td></tr>")]
