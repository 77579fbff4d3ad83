"""The reference page lists what there is, and its examples become messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from relayq.compose.responsive.blocks import EXPANDERS, RENDERERS
from relayq.compose.responsive.document import PROPERTIES
from tests.support.documents import compose, defects, parsed

PAGE = (Path(__file__).parents[4] / "docs/reference/nested-mime.md").read_text("utf-8")


def test_every_block_is_listed() -> None:
    table = PAGE.partition("| `type` | Its own")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {*RENDERERS, *EXPANDERS}


def test_every_property_is_listed() -> None:
    table = PAGE.partition("| Property |")[2].partition("\n\n")[0]
    names = {
        name for cell in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert names == {*PROPERTIES, "textVersion"}


@pytest.mark.parametrize("example", re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_examples(example: str) -> None:
    given = json.loads(example)
    message = parsed(compose(given["mime"], envelope=given["envelope"], recipient=given["recipient"]))
    assert not defects(message)
    assert message.is_multipart()
