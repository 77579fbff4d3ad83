"""Large files are kept aside while a message is composed, and nobody can tell from the message."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
import pytest

from relayq.compose.responsive import Resource, document
from relayq.delivery import large_files
from relayq.delivery.composer import Content, Draft
from relayq.model import Message, Refused, parse_address
from tests.support.documents import SEEN_AT, parsed
from tests.unit.delivery.test_composer import PreparesNow, composer

FILE = bytes(range(256)) * 999
DATA = base64.b64encode(FILE).decode()
URL = "https://x.test/photos.zip"


def message(**mime: Any) -> Message:
    given = {"from": "s@x.test", "subject": "x", "text": "See the attachment.", **mime}
    return Message(
        members={},
        sender=parse_address("s@x.test"),
        recipient=parse_address("a@x.test"),
        mime_object=msgspec.Raw(json.dumps(given).encode()),
    )


async def composed(made: PreparesNow, given: Message) -> bytes:
    content = await made.prepare(given, SEEN_AT)
    if isinstance(content, Draft):
        content = await made.complete(content)
        await made._downloads.close()
    assert isinstance(content, Content)
    return content.octets


async def composed_whole(monkeypatch: pytest.MonkeyPatch, made: PreparesNow, given: Message) -> bytes:
    """The same without keeping anything aside."""
    with monkeypatch.context() as patch:
        patch.setattr(large_files, "outline_of", lambda mime, marker_of: None)
        patch.setattr(large_files, "LARGE_OCTETS", 1 << 30)
        return await composed(made, given)


def without_boundaries(octets: bytes) -> bytes:
    return re.sub(rb"=_[0-9a-f]{32}", b"=_b", octets)


@pytest.mark.parametrize(
    "attachments",
    [
        {"data": DATA, "name": "photos.zip"},
        [{"data": DATA}, {"data": "eA==", "type": "text/plain"}, {"data": DATA[:-2], "cid": "photo"}],
        [{"url": URL, "name": "a.zip"}, {"data": DATA, "type": "image/png", "cid": "photo"}],
        [{"data": DATA, "type": "text/html"}],
        [{"data": DATA, "type": "message/rfc822"}, {"url": URL, "name": "a.eml"}],
        [{"data": base64.b64encode(b"A: b\r\n\r\n" + b"x\r\n" * 40_000).decode(), "name": "mail.eml"}],
        [{"url": URL, "type": "text/html"}],
        [{"data": DATA[:70_000]}] * 101,
    ],
)
@pytest.mark.parametrize("force", [False, True])
async def test_the_message_is_the_same(monkeypatch: pytest.MonkeyPatch, attachments: Any, *, force: bool) -> None:
    given = message(attachments=attachments, html='<p>Hi <img src="cid:photo"></p>')
    given = msgspec.structs.replace(given, force=force, inline_css=True)
    made = composer()
    made.web.pages[URL] = Resource(FILE, None if force else "text/html")
    try:
        kept_aside = await composed(made, given)
    except Refused as refused:
        assert not force
        with pytest.raises(Refused, match=re.escape(str(refused))):
            await composed_whole(monkeypatch, made, given)
        return
    expected = await composed_whole(monkeypatch, made, given)
    assert without_boundaries(kept_aside) == without_boundaries(expected)
    assert made._large_files._secret.encode() not in kept_aside


async def test_a_large_file_is_no_work_for_another_process() -> None:
    made = composer()
    octets = await composed(made, message(attachments=[{"data": DATA * 8, "name": "photos.zip"}]))
    assert made.workshop.orders == []
    (_, file) = parsed(octets).iter_parts()
    assert file.get_payload(decode=True) == FILE * 8


async def test_downloads_are_not_handed_to_another_process_either() -> None:
    made = composer()
    made.web.pages[URL] = Resource(FILE * 8, "application/zip")
    text = "x " * 40_000  # is made elsewhere
    octets = await composed(made, message(attachments=[{"url": URL}, {"data": DATA}], text=text))
    assert made.workshop.orders
    assert all(len(msgspec.msgpack.encode(order)) < 200_000 for order in made.workshop.orders)
    (_, *files) = parsed(octets).iter_parts()
    assert [file.get_payload(decode=True) for file in files] == [FILE * 8, FILE]


@pytest.mark.parametrize("data", [DATA + "!", DATA[:1000] + "=" + DATA[1000:], DATA + "A===="])
async def test_what_is_wrong_with_a_file_is_told_as_ever(data: str) -> None:
    given = message(attachments=[{"data": data, "name": "photos.zip"}])
    with pytest.raises(Refused, match=r"mime\.attachments\[0\]: data is not base64$"):
        await composed(composer(), given)
    forced = await composed(composer(), msgspec.structs.replace(given, force=True))
    assert b"photos.zip" not in forced


async def test_a_message_is_too_large_with_the_files_that_are_kept_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    given = message(attachments=[{"data": DATA}] * 2)
    size = len(await composed(composer(), given))
    monkeypatch.setattr(document, "MAX_MESSAGE_OCTETS", size)
    assert await composed(composer(), given)
    monkeypatch.setattr(document, "MAX_MESSAGE_OCTETS", len(FILE) * 8 // 3)
    with pytest.raises(Refused, match="larger than"):
        await composed(composer(), given)


async def test_the_same_on_every_attempt_but_for_boundaries() -> None:
    given = message(attachments=[{"data": DATA}])
    first, second = await composed(composer(), given), await composed(composer(), given)
    assert without_boundaries(first) == without_boundaries(second)
    assert b"Message-ID: <" in first
