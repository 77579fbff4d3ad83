"""What a ``mime`` object costs per message: ``python benchmarks/compose_responsive.py``.

One text, three blocks, one of them 30 KB of HTML; then the same with what makes it dearer. Prints microseconds, the
best of several rounds.
"""

from __future__ import annotations

import functools
import json
import timeit
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from relayq.compose.responsive import build_mime, parse_document
from relayq.model import parse_address

ROUNDS = 7
LOOPS = 100
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


def main() -> None:
    """Print one line per case."""
    blocks = {"content": {"blocks": BLOCKS}}
    report("text, 30 KB of HTML, 2 more blocks", {**HEADER, "text": TEXT, **blocks})
    report("the same, personalised", {**HEADER, "text": "{$a}" + TEXT, **blocks}, b'{"a":"x"}')
    report("the same, its text made from the HTML", {**HEADER, **blocks})
    rules = {"links": [{"domain": {"match": "*.example"}, "params": {"u": "1"}}]}
    report("the same, 205 links rewritten", {**HEADER, "text": TEXT, **blocks, "rewrite": rules})
    report("text and 30 KB of HTML as it is", {**HEADER, "text": TEXT, "content": HTML})
    report("text alone", {**HEADER, "text": TEXT})
    attachment = {"data": "R0lGODlhAQABAAAAACwg" * 50_000, "name": "a.gif"}
    report("text and 750 KB attached", {**HEADER, "text": TEXT, "attachments": [attachment]})


def compose(mime: bytes, data: bytes | None) -> bytes:
    """The whole way from raw JSON to octets."""
    plan = parse_document(mime, envelope=ENVELOPE, recipient="ann@example.org", seen_at=SEEN_AT, data=data)
    return build_mime(plan, lambda: "=_0123456789abcdef0123456789abcdef")


def report(name: str, mime: Mapping[str, object], data: bytes | None = None) -> None:
    """Measure one document."""
    call: Callable[[], bytes] = functools.partial(compose, json.dumps(mime).encode(), data)
    seconds = min(timeit.repeat(call, number=LOOPS, repeat=ROUNDS)) / LOOPS
    print(f"{name:45} {seconds * 1e6:9.0f} µs")


if __name__ == "__main__":
    main()
