"""The gallery of blocks: messages with a property of ours that says what they download, and the HTML they become.

Used by the test that compares it with the stored HTML and by the script that takes the pictures.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from relayq.compose.responsive import Resource, ResponsiveOptions
from tests.support.documents import html_of

FOLDER = Path(__file__).parents[2] / "examples" / "gallery"
ICONS = "https://shop.example/icons/{type}/{size}/{platform}.png"


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One entry of the gallery.

    Attributes:
        name: Of its files.
        title: Headline.
        about: A sentence or two.
        mime: The ``mime`` object.
        downloads: Resources by address.
        options: Settings it takes.
    """

    name: str
    title: str
    about: str
    mime: dict[str, Any]
    downloads: Mapping[str, Resource]
    options: ResponsiveOptions

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """What it shows."""
        shown: list[dict[str, Any]] = self.mime["content"]["blocks"]
        return shown

    @property
    def html_path(self) -> Path:
        """Where its HTML is stored."""
        return FOLDER / f"{self.name}.html"

    def html(self) -> str:
        """What it becomes."""
        return html_of(self.mime, answers=dict(self.downloads), options=self.options) + "\n"


def examples() -> list[Example]:
    """All of them, in order."""
    return [_read(path) for path in sorted(FOLDER.glob("*.json"))]


def _read(path: Path) -> Example:
    message = json.loads(path.read_text("utf-8"))
    given = message["gallery"]
    return Example(
        name=path.stem,
        title=given["title"],
        about=given["about"],
        mime=message["mime"],
        downloads={url: _resource(answer) for url, answer in (_web(path) | given.get("pictures", {})).items()},
        options=ResponsiveOptions(icons=ICONS if given.get("icons") else ""),
    )


def _web(path: Path) -> dict[str, Any]:
    """What the message downloads, as ``relayq render --answers`` takes it."""
    web = path.with_suffix(".web")
    answers: dict[str, Any] = json.loads(web.read_text("utf-8")) if web.exists() else {}
    return answers


def _resource(answer: Mapping[str, Any]) -> Resource:
    if "picture" in answer:
        return Resource(picture(*answer["picture"]), "image/png")
    body = answer["body"]
    return Resource((body if isinstance(body, str) else json.dumps(body)).encode(), answer.get("type"))


@cache
def picture(width: int, height: int, colour: str) -> bytes:
    """A PNG of a lamp in front of a wall of that colour, written by hand so that nothing has to be stored."""
    wall = bytes.fromhex(colour.removeprefix("#"))
    rows = bytearray()
    middle, shade_bottom, foot = width / 2, height * 0.55, height * 0.85
    for y in range(height):
        rows.append(0)  # no filter
        for x in range(width):
            rows += _pixel(x, y, (middle, shade_bottom, foot), wall, height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _pixel(x: int, y: int, marks: tuple[float, float, float], wall: bytes, height: int) -> bytes:
    middle, shade_bottom, foot = marks
    away = abs(x - middle)
    top = height * 0.15
    if top <= y < shade_bottom and away < height * (0.12 + 0.22 * (y - top) / (shade_bottom - top)):
        return b"\xff\xd9\x66"
    if shade_bottom <= y < foot and away < max(height * 0.02, 1):
        return b"\x55\x55\x55"
    if foot <= y < foot + height * 0.05 and away < height * 0.2:
        return b"\x55\x55\x55"
    return wall
