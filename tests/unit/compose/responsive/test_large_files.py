"""Large files that are kept aside: what is read of them, and what cannot be."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
import pytest

from relayq.compose.encodings import encode_base64
from relayq.compose.errors import TransferDecodingError
from relayq.compose.responsive import DocumentError, Occasion, parse_document
from relayq.compose.responsive.header_fields import Identity, message_digest
from relayq.compose.responsive.large_files import (
    LARGE_OCTETS,
    SLICE_OCTETS,
    LargeFile,
    Reading,
    decoded_slices,
    outline_of,
    read_files,
)
from relayq.model import parse_address
from tests.support.documents import SEEN_AT

FILE = bytes(range(256)) * 1200
DATA = base64.b64encode(FILE).decode()


def raw(document: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(document).encode())


def marker(number: int) -> str:
    return f"=_marker{number}"


def decoded(text: str) -> bytes:
    return b"".join(octets for _, octets in decoded_slices(memoryview(text.encode())))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 98_301, 98_305, 200_000])
@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: text.rstrip("="),
        lambda text: text.replace("/", r"\/"),
        lambda text: re.sub("(.{76})", r"\1\\r\\n", text) + r"\n",
        r"\n".join,
        r"\t ".join,
    ],
)
def test_base64_in_json_is_read_in_slices_however_it_is_written(size: int, written: Any) -> None:
    content = (FILE * 2)[:size]
    text = written(base64.b64encode(content).decode())
    assert decoded(text) == content
    assert b"".join(characters for characters, _ in decoded_slices(memoryview(text.encode()))) == text.encode()
    file = LargeFile("=_m", text=memoryview(text.encode()))
    assert b"".join(file.encoded_slices()) == encode_base64(content)
    assert b"".join(LargeFile("=_m", octets=content).encoded_slices()) == encode_base64(content)


@pytest.mark.parametrize("place", [0, 10, SLICE_OCTETS - 1, SLICE_OCTETS, SLICE_OCTETS + 4, len(DATA) - 9])
@pytest.mark.parametrize("wrong", ["=", "==", "-", "\\u0041", "\\\\", "\\\\n", '\\"', "é"])
def test_what_is_no_base64_is_found_wherever_it_is(place: int, wrong: str) -> None:
    with pytest.raises(TransferDecodingError):
        decoded(DATA[:place] + wrong + DATA[place + len(wrong) :])


def test_only_large_attachments_are_kept_aside() -> None:
    given = {
        "from": "a@x.test",
        "attachments": [
            {"data": DATA, "name": "ä"},
            {"data": "eA=="},
            None,
            {"url": "x" * LARGE_OCTETS},
            {"data": DATA},
        ],
        "text": "y" * LARGE_OCTETS,
    }
    outline = outline_of(raw(given), marker)
    assert outline is not None
    shown = json.loads(outline.mime)
    assert [entry and entry.get("data") for entry in shown["attachments"]] == [
        "=_marker0", "eA==", None, None, "=_marker1",
    ]  # fmt: skip
    assert [bytes(file.text or b"").decode() for file in outline.files] == [DATA, DATA]
    assert "data" not in repr(outline.files[0])
    for entry, data in zip(shown["attachments"], (DATA, "eA==", None, None, DATA), strict=True):
        if data is not None:
            entry["data"] = data
    assert shown == given


@pytest.mark.parametrize(
    "given",
    [
        {"attachments": [{"data": DATA[: LARGE_OCTETS - 10]}]},
        {"attachments": [{"data": [DATA]}]},
        {"attachments": [[{"data": DATA}]]},
        {"attachments": DATA},
        {"attachments": [{"data": DATA}], "Attachments": []},
        {"files": [{"data": DATA}]},
        [DATA],
    ],
)
def test_nothing_is_kept_aside_of_what_is_small_or_unusual(given: Any) -> None:
    assert outline_of(raw(given), marker) is None


def test_half_a_surrogate_pair_is_left_to_whoever_reads_the_whole_document() -> None:
    given = {"attachments": [{"data": DATA}, "\ud800"]}
    outline = outline_of(raw(given), marker)
    assert outline is not None
    assert json.loads(outline.mime) == {"attachments": [{"data": "=_marker0"}, "\ud800"]}
    with pytest.raises(DocumentError):
        parse_document(outline.mime, Occasion(envelope=None, recipient="a@x.test", seen_at=SEEN_AT))


def test_a_single_attachment_may_stand_without_an_array() -> None:
    outline = outline_of(raw({"Attach-ments": {"data": DATA}}), marker)
    assert outline is not None
    assert json.loads(outline.mime) == {"Attach-ments": {"data": "=_marker0"}}


def test_the_digest_is_that_of_the_whole() -> None:
    given = {"attachments": [{"data": DATA}, {"data": DATA[8:].replace("/", "\\/")}], "from": "a@x.test", "text": "é"}
    mime = json.dumps(given, ensure_ascii=False).replace(r"\\/", r"\/").encode()
    whole = Identity(
        envelope=parse_address("b@x.test"), recipient="c@x.test", mime=mime, data=b"[ 1]", seen_at=SEEN_AT, host_name=""
    )
    outline = outline_of(msgspec.Raw(mime), marker)
    assert outline is not None
    reading = Reading()
    identity = msgspec.structs.replace(whole, mime=outline.mime)
    assert all(read_files(outline, identity, reading))
    assert reading.digest == message_digest(whole)
    assert message_digest(msgspec.structs.replace(identity, digest=reading.digest)) == reading.digest
    assert [slot.size for slot in reading.slots] == [len(FILE), len(FILE) - 6]
