"""What a ``mime`` object costs per message: ``python -m benchmarks.compose_responsive``.

One text, three blocks, one of them 30 KB of HTML; then the same with what makes it dearer. CPU time, medians of rounds
in which the cases take turns.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from benchmarks.cases import Cases, run
from relayq.compose.responsive import Occasion, build_mime, parse_document
from relayq.model import parse_address

MOST_US = 1500.0
"""For a text, 30 KB of HTML and two more blocks."""
SEEN_AT = datetime(2026, 11, 21, 20, tzinfo=UTC)
ENVELOPE = parse_address("bounces@shop.example")
ROW = (
    '<tr><td style="padding:4px"><p>Paragraph {0} with some text &amp; a '
    '<a href="https://shop.example/p/{0}?x=1&amp;y=2">link number {0}</a>.</p></td></tr>\n'
)
HTML = "".join(ROW.format(number) for number in range(205))
TEXT = "Dear Ann,\nthank you for your order, which is on its way.\n" * 20
BLOCKS = [
    {"type": "html", "content": HTML},
    {"type": "heading", "content": "Sale"},
    {"type": "button", "label": "Buy", "link": "https://shop.example/x"},
]
HEADER = {"from": "Shop <shop@example.com>", "to": "ann@example.org", "subject": "Sale"}


def measure(cases: Cases) -> None:
    """All of them."""
    blocks = {"content": {"blocks": BLOCKS}}
    rules = {"links": [{"domain": {"match": "*.example"}, "params": {"u": "1"}}]}
    attachment = {"data": "R0lGODlhAQABAAAAACwg" * 50_000, "name": "a.gif"}
    usual = "text, 30 KB of HTML, 2 more blocks"
    times = cases.measure({
        usual: composing({"text": TEXT, **blocks}),
        "the same, personalised": composing({"text": "{$a}" + TEXT, **blocks}, b'{"a":"x"}'),
        "the same, its text made from the HTML": composing(blocks),
        "the same, 205 links rewritten": composing({"text": TEXT, **blocks, "rewrite": rules}),
        "text and 30 KB of HTML as it is": composing({"text": TEXT, "content": HTML}),
        "text alone": composing({"text": TEXT}),
        "text and 750 KB attached": composing({"text": TEXT, "attachments": [attachment]}),
    })  # fmt: skip
    cases.goal("a nested object: text, 30 KB of HTML, blocks", times[usual], MOST_US, "µs")


def composing(mime: Mapping[str, object], data: bytes | None = None) -> Callable[[], bytes]:
    """A document to be composed."""
    return functools.partial(compose, json.dumps({**HEADER, **mime}).encode(), data)


def compose(mime: bytes, data: bytes | None) -> bytes:
    """The whole way from raw JSON to octets."""
    plan = parse_document(mime, Occasion(envelope=ENVELOPE, recipient="ann@example.org", seen_at=SEEN_AT, data=data))
    return build_mime(plan, lambda: "=_0123456789abcdef0123456789abcdef")


if __name__ == "__main__":
    run("compose_responsive", __doc__, measure)
