"""Lines of more than 998 octets: ``long-lines`` (spec messages.md 6)."""

from __future__ import annotations

from typing import Literal

from relayq.compose.analysis import has_long_line
from relayq.compose.errors import LongLineError, TransferDecodingError
from relayq.compose.mime_tree import Part, Splice, apply_splices, parse_tree
from relayq.compose.recoding import header_edit, is_recodable, recode_leaf


def treat_long_lines(mime: bytes, policy: Literal["keep", "wrap", "fail"]) -> bytes:
    """Message as the operator wants it sent when a line has more than 998 octets.

    ``keep`` changes nothing, so signatures survive. ``wrap`` encodes the leaf parts that have such lines. A DKIM
    signature from upstream breaks by that; signed and encrypted parts, headers and broken parts are kept.

    Args:
        mime: Content with CRLF line ends, after a 7-bit conversion, before it is signed here.
        policy: The setting.

    Raises:
        LongLineError: There is such a line and ``policy`` is ``fail``.
    """
    if policy == "keep" or not has_long_line(mime):
        return mime
    if policy == "fail":
        raise LongLineError("a line has more than 998 octets")
    return apply_splices(mime, _wrap(mime, parse_tree(mime)))


def _wrap(mime: bytes, part: Part) -> list[Splice]:
    if part.is_sealed or not has_long_line(mime[part.body_start : part.body_end]):
        return []
    if part.children:
        splices = [splice for child in part.children for splice in _wrap(mime, child)]
        return [*header_edit(mime, part), *splices] if splices else []
    if not is_recodable(part):
        return []
    try:
        return recode_leaf(mime, part)
    except TransferDecodingError:
        return []
