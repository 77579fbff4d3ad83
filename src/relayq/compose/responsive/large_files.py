"""Large files of a document are kept aside while it is composed.

Nothing reads them: they are checked and encoded anew. But each step would hold the whole of them in a form of its own,
as JSON, as text, as octets, as base64, as a part, as a message, and once more on both sides of the way to another
process. So what is composed is the document with a *marker* where such a file was, and the octets of the file go
straight, slice by slice, from where they are to the finished message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pybase64

from relayq.compose.encodings import BASE64_LINE_OCTETS, decode_base64, encode_base64
from relayq.compose.errors import TransferDecodingError
from relayq.compose.responsive.attachments import MAX_ATTACHMENTS
from relayq.compose.responsive.document import canonical_name
from relayq.compose.responsive.downloads import Slot
from relayq.compose.responsive.header_fields import ID_DIGITS, Identity, identity_octets
from relayq.model.members import InvalidBodyError, encode_members, slice_array, slice_object

LARGE_OCTETS = 64 * 1024
"""A smaller file is not worth the second look at the document."""
SLICE_OCTETS = 128 * 1024
"""Read or encoded at a time: 0.2 ms."""

_OBJECT, _ARRAY, _STRING = b'{["'
_QUAD = 4
_SLICE_OF_FILE = SLICE_OCTETS // BASE64_LINE_OCTETS * BASE64_LINE_OCTETS


class LargeFile(msgspec.Struct, frozen=True):
    """A file that is kept aside; exactly one of the two is there.

    Attributes:
        marker: What stands in its place.
        text: Its base64 as characters of a JSON string, without the quotes.
        octets: The file itself.
    """

    marker: str
    text: memoryview | None = None
    octets: bytes | None = None

    def __repr__(self) -> str:
        """Without content: this lands in logs."""
        return f"LargeFile({self.marker!r})"

    def encoded_slices(self) -> Iterator[bytes]:
        """What `encode_base64` makes of the file, slice by slice.

        Raises:
            TransferDecodingError: The text is no base64.
        """
        rest, separator = b"", b""
        for octets in self._slices():
            octets = rest + octets
            cut = len(octets) - len(octets) % BASE64_LINE_OCTETS
            rest = octets[cut:]
            if cut:
                yield separator + encode_base64(octets[:cut])
                separator = b"\r\n"
        if rest:
            yield separator + encode_base64(rest)

    def _slices(self) -> Iterator[bytes]:
        if self.text is not None:
            yield from (octets for _, octets in decoded_slices(self.text))
        elif self.octets is not None:
            for at in range(0, len(self.octets), _SLICE_OF_FILE):
                yield self.octets[at : at + _SLICE_OF_FILE]


class Outline(msgspec.Struct, frozen=True):
    """A document without its large files.

    Attributes:
        mime: JSON with markers.
        files: In the order of their markers.
    """

    mime: bytes
    files: tuple[LargeFile, ...]


class Reading(msgspec.Struct):
    """What is known of an outline once its files were read.

    Attributes:
        slots: What composing has to know of the files.
        digest: Left side of the ``Message-ID``; it covers the files.
    """

    slots: tuple[Slot, ...] = ()
    digest: str = ""


def outline_of(mime: msgspec.Raw, marker_of: Callable[[int], str]) -> Outline | None:
    """A document with its large attachments kept aside; ``None`` if there are none, or nothing can be told of them.

    Args:
        mime: An object, as it came; what is kept aside refers to these octets.
        marker_of: Gives something no document contains, the same for the same number.
    """
    if len(memoryview(mime)) < LARGE_OCTETS:
        return None
    try:
        members = slice_object(mime)
        names = [name for name in members if canonical_name(name) == "attachments"]
        if len(names) != 1:
            return None
        files: list[LargeFile] = []
        raw = members[names[0]]
        if memoryview(raw)[0] == _ARRAY:
            entries = [_without_file(entry, files, marker_of) for entry in slice_array(raw)]
            attachments = b"[%b]" % b",".join(entries)
        else:
            attachments = bytes(_without_file(raw, files, marker_of))
        return Outline(encode_members(members, {names[0]: attachments}), tuple(files)) if files else None
    except (ValueError, InvalidBodyError):
        return None  # whoever reads the whole of it says what is wrong


def _without_file(entry: msgspec.Raw, files: list[LargeFile], marker_of: Callable[[int], str]) -> bytes | msgspec.Raw:
    """An attachment, with a marker if its content is large."""
    view = memoryview(entry)
    if len(view) < LARGE_OCTETS or view[0] != _OBJECT or len(files) >= MAX_ATTACHMENTS:
        return entry
    members = slice_object(entry)
    data = members.get("data")
    if data is None or len(text := memoryview(data)) < LARGE_OCTETS or text[0] != _STRING:
        return entry
    marker = marker_of(len(files))
    files.append(LargeFile(marker, text[1:-1]))
    return encode_members(members, {"data": f'"{marker}"'.encode("ascii")})


def read_files(outline: Outline, identity: Identity, reading: Reading) -> Iterator[bool]:
    """Check, measure and hash the files of an outline, a slice per step, which is true.

    Args:
        outline: The document.
        identity: Of the message; its ``mime`` is that of the outline.
        reading: Complete when this ends.

    Raises:
        TransferDecodingError: A file is no base64 that can be read in slices.
    """
    before, mime, after = identity_octets(identity)
    digest = hashlib.sha256(before)
    slots: list[Slot] = []
    at = 0
    for file in outline.files:
        marker = file.marker.encode("ascii")
        end = mime.index(marker, at)
        digest.update(mime[at:end])
        at = end + len(marker)
        size = 0
        assert file.text is not None
        for characters, octets in decoded_slices(file.text):
            digest.update(characters)
            size += len(octets)
            yield True
        slots.append(Slot(file.marker, size))
    digest.update(mime[at:])
    digest.update(after)
    reading.slots, reading.digest = tuple(slots), digest.hexdigest()[:ID_DIGITS]


def decoded_slices(text: memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Base64 in a JSON string: some of its characters as they are written, and octets they stand for, until the end.

    Of the escapes of JSON those are known that occur in base64: of line ends, tabs and slashes.

    Raises:
        TransferDecodingError: Other escapes, or no base64.
    """
    at, rest = 0, b""
    while at < len(text):
        characters = bytes(text[at : at + SLICE_OCTETS])
        if characters.endswith(b"\\"):  # no escape of ours ends with one, so it begins one
            characters += bytes(text[at + len(characters) : at + len(characters) + 1])
        at += len(characters)
        compact = rest + _unescaped(characters).translate(None, b" \t\r\n")
        if at < len(text):
            # The last quad stays: if it is the last of all it may be padded.
            cut = max((len(compact) - 1) // _QUAD * _QUAD, 0)
            compact, rest = compact[:cut], compact[cut:]
            yield characters, _decode_inner(compact)
        else:
            yield characters, decode_base64(compact)


def _decode_inner(compact: bytes) -> bytes:
    if b"=" in compact:
        raise TransferDecodingError("broken base64")
    try:
        return pybase64.b64decode(compact, validate=True)
    except ValueError:
        raise TransferDecodingError("broken base64") from None


def _unescaped(characters: bytes) -> bytes:
    if b"\\" not in characters:
        return characters
    characters = characters.replace(rb"\/", b"/").replace(rb"\n", b"").replace(rb"\r", b"").replace(rb"\t", b"")
    if b"\\" in characters:
        raise TransferDecodingError("unusual escapes")
    return characters


def marked_places(octets: bytes, files: Sequence[LargeFile]) -> list[tuple[int, LargeFile]]:
    """Where markers stand in a message, in order; a file that was left out has none."""
    places = ((octets.find(file.marker.encode("ascii")), file) for file in files)
    return sorted(((at, file) for at, file in places if at >= 0), key=lambda place: place[0])
