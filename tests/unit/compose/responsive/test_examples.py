"""The examples that ship become messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relayq.compose.responsive import Resource
from tests.support.documents import build, defects, parsed, plan_of

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "blocks").glob("*.json"))
ANSWERS = {
    "https://shop.example/mail/header.json": Resource(b'{"type": "heading", "content": "Shop"}', "application/json"),
    "https://shop.example/blog.xml": Resource(
        b"<rss version='2.0'><channel><item><title>One</title><description>x</description></item></channel></rss>"
    ),
    "https://shop.example/mail/footer.html": Resource(b"<p>Shop, Street 1</p>", "text/html"),
    "https://shop.example/catalogue.pdf": Resource(b"%PDF-1.4", "application/pdf"),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples(example: Path) -> None:
    given = json.loads(example.read_text("utf-8"))
    plan = plan_of(
        given["mime"],
        data=given.get("data"),
        envelope=given["envelope"],
        recipient=given["recipient"],
        answers=ANSWERS,
    )
    assert plan.notes == ()
    message = parsed(build(plan))
    assert not defects(message)
    assert {"text/plain", "text/html"} <= {part.get_content_type() for part in message.walk()}
    assert "{" not in message["Subject"]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
