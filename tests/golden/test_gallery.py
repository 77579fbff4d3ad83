"""The gallery of blocks: what it shows is what they become; `make gallery` writes it anew."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from relayq.compose.responsive.blocks import EXPANDERS, RENDERERS
from tests.support.gallery import Example, examples

PICTURES = Path(__file__).parents[2] / "docs" / "gallery"
MAX_PICTURE_OCTETS = 60_000
ALL = examples()


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_examples_become_what_is_stored(example: Example) -> None:
    assert example.html() == example.html_path.read_text("utf-8")


@pytest.mark.parametrize("width", [800, 360])
@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_examples_have_pictures(example: Example, width: int) -> None:
    shot = (PICTURES / f"{example.name}-{width}.png").read_bytes()
    assert len(shot) <= MAX_PICTURE_OCTETS
    assert struct.unpack_from(">I", shot, 16)[0] == width


def test_every_type_of_block_is_shown() -> None:
    shown = {block["type"] for example in ALL for block in example.blocks}
    assert shown == {*RENDERERS, *EXPANDERS}


def test_nothing_is_left_over() -> None:
    names = {example.name for example in ALL}
    assert {path.stem for path in ALL[0].html_path.parent.glob("*.html")} == names
    assert {path.name.rpartition("-")[0] for path in PICTURES.glob("*.png")} == names
