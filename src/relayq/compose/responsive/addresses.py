"""Addresses of a document: taken apart, rendered, checked, written (spec responsive.md 4, templates.md 8.2).

A string is taken apart before its templates are rendered, so that what data puts into a name stays in the name: a comma
there makes no second address, a quote ends no quoted string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from relayq.compose.header_values import decode_words, encode_display_name, encode_words, fold_field
from relayq.compose.responsive.errors import Faults, LeftOut
from relayq.compose.responsive.templates import Templates, clean_line
from relayq.compose.responsive.values import Node
from relayq.model import EmailAddress, InvalidAddressError, parse_address

# A tag ends at the first brace outside its string literals. What is opened and never closed takes the rest of the text,
# so that no character is looked at twice: nothing behind it could be an address anyway.
_TAG_START = r"""\{(?=[$A-Za-z0-9/(!"'*])"""
_IN_TAG = r"""(?:\*(?:[^*]|\*(?!\}))*+\*|(?:[^}"']|"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')*+)"""
_TAG = rf"{_TAG_START}{_IN_TAG}\}}"
_TAG_OR_REST = rf"{_TAG_START}(?:{_IN_TAG}\}}|.*+)"
_PLAIN_PIECE = r"""
    (?P<quoted>"(?:[^"\\]|\\.)*+")
  | (?P<angle><[^>]*+>)
  | (?P<literal>\[[^\]]*+\])
  | (?P<open>["<\[].*+)
  | (?P<special>[,:;()])
  | (?P<text>[^"<,:;()\[]++)
"""
_TEMPLATE_PIECE = rf"""
    (?P<tag>{_TAG})
  | (?P<quoted>"(?:{_TAG_OR_REST}|[^"\\]|\\.)*+")
  | (?P<angle><(?:{_TAG_OR_REST}|[^>])*+>)
  | (?P<literal>\[[^\]]*+\])
  | (?P<open>(?:["<\[]|{_TAG_START}).*+)
  | (?P<special>[,:;()])
  | (?P<text>[^"<,:;()\[{{]++|\{{)
"""
_PLAIN_PIECES = re.compile(_PLAIN_PIECE, re.DOTALL | re.VERBOSE)
_TEMPLATE_PIECES = re.compile(_TEMPLATE_PIECE, re.DOTALL | re.VERBOSE)
_NOT_IN_GROUP = re.compile(r"[@\x00-\x1f\x7f]")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_TAG_OR_PAIR = re.compile(rf"({_TAG})|\\(.)", re.DOTALL)
_LONGEST_PLAIN_WORD = 300  # twice that when quoted, and an address of 254 octets stays below the limit of a line


class Mailbox(NamedTuple):
    """A name, maybe empty, and an address."""

    name: str
    address: EmailAddress


class _Parts(NamedTuple):
    """Name and address as they stand in the source: both may still be templates."""

    name: str
    address: str


def read_mailboxes(node: Node, name: str, templates: Templates) -> tuple[Mailbox, ...] | None:
    """Addresses of a property: a string, an object, or an array of these; order and duplicates are kept.

    ``None`` where there is no such property, or where under ``force`` none of it is usable.

    Raises:
        DocumentError: A wrong type or an invalid address.
    """
    given, value = node.find(name)
    found = tuple(_read(value, f"{node.path}.{given}", templates, node.faults))
    return found or None


def _read(value: object, path: str, templates: Templates, faults: Faults) -> Iterator[Mailbox]:
    if value is None:
        return
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield from _read(element, f"{path}[{index}]", templates, faults)
        return
    try:
        parts = list(_parts(value, path, templates, faults))
    except LeftOut:
        return
    for one in parts:
        try:
            yield _to_mailbox(one, path, templates, faults)
        except LeftOut:
            continue


def _parts(value: object, path: str, templates: Templates, faults: Faults) -> Iterable[_Parts]:
    if isinstance(value, str):
        # Encoded words of the author are names; those of data, which are not there yet, are text.
        found = split_addresses(value, has_tags=templates.is_active)
        return [_Parts(decode_words(one.name), one.address) for one in found]
    if not isinstance(value, dict):
        raise faults.leave_out(path, "expected an address")
    node = Node(value, path, faults)
    address = node.text("address", "email")
    if address is None:
        raise node.missing("address")
    return (_Parts(node.text("name") or "", address),)


def _to_mailbox(parts: _Parts, path: str, templates: Templates, faults: Faults) -> Mailbox:
    name = clean_line(templates.render(parts.name, path)) if parts.name else ""
    text = templates.render(parts.address, path)
    if not text.isprintable():
        # Beyond the controls that no address has: line separators, blanks of other scripts, no-characters.
        raise faults.leave_out(path, "unprintable character in the address")
    try:
        return Mailbox(name, parse_address(text))
    except InvalidAddressError as error:
        raise faults.leave_out(path, str(error)) from None


def split_addresses(text: str, *, has_tags: bool = False) -> list[_Parts]:
    """Mailboxes of a list as RFC 5322 section 3.4 writes it: comments dropped, groups flattened.

    What is no mailbox gives an address that is none; an empty place in the list, an empty one.

    Args:
        text: The list.
        has_tags: Template tags in it are opaque characters.
    """
    splitter = _Splitter(has_tags=has_tags)
    for match in (_TEMPLATE_PIECES if has_tags else _PLAIN_PIECES).finditer(text):
        splitter.take(match.lastgroup or "", match[0])
    return splitter.finish()


class _Splitter:
    """One pass over the pieces of an address list."""

    def __init__(self, *, has_tags: bool) -> None:
        self._has_tags = has_tags
        self._found: list[_Parts] = []
        self._comment_depth = 0
        self._is_group = False
        self._is_due = True  # an address must stand here: not behind a group, nor in an empty one
        self._start()

    def _start(self) -> None:
        self._raw: list[str] = []  # as written: a quoted local part needs its quotes
        self._phrase: list[str] = []  # as meant
        self._angle: str | None = None
        self._is_spoiled = False

    def take(self, kind: str, piece: str) -> None:
        """The next piece."""
        if kind == "special" and piece in "()":
            self._comment_depth = max(self._comment_depth + (1 if piece == "(" else -1), 0)
        elif self._comment_depth:
            return
        elif kind == "special":
            self._separate(piece)
        elif kind == "open":
            self._is_spoiled = True
        elif kind == "angle" and self._angle is None:
            self._angle = piece[1:-1]
        elif self._angle is not None:
            self._is_spoiled |= bool(piece.strip())
        else:
            self._raw.append(piece)
            self._phrase.append(self._unquote(piece[1:-1]) if kind == "quoted" else piece)

    def _separate(self, piece: str) -> None:
        if piece == ",":
            self._end()
            self._is_due = True
        elif (
            piece == ":" and not self._is_group and self._angle is None and not _NOT_IN_GROUP.search("".join(self._raw))
        ):
            self._is_group = True
            self._is_due = False
            self._start()  # what stood there is the name of the group
        elif piece == ";" and self._is_group:
            self._end()
            self._is_group = self._is_due = False
        else:
            self._is_spoiled = True

    def _unquote(self, text: str) -> str:
        if self._has_tags:
            return _TAG_OR_PAIR.sub(lambda match: match[1] or match[2], text)
        return _QUOTED_PAIR.sub(r"\1", text)

    def _end(self) -> None:
        raw = "".join(self._raw).strip()
        if self._is_spoiled:
            self._found.append(_Parts("", ""))
        elif self._angle is not None:
            self._found.append(_Parts("".join(self._phrase).strip(), self._angle.strip()))
        elif raw or self._is_due:
            self._found.append(_Parts("", raw))
        self._start()

    def finish(self) -> list[_Parts]:
        """All mailboxes."""
        self._end()
        return self._found


def encode_mailboxes(field: str, mailboxes: Iterable[Mailbox]) -> bytes:
    """An address field, folded, ending with CRLF; only a local part in other letters is not ASCII."""
    column = len(field) + 2
    written: list[str] = []
    for mailbox in mailboxes:
        written.append(_encode_mailbox(mailbox, column))
        column = 1
    return fold_field(field, ", ".join(written)).encode("utf-8")


def _encode_mailbox(mailbox: Mailbox, column: int) -> str:
    address = mailbox.address.wire.decode("utf-8")
    if not mailbox.name:
        return address
    if max(map(len, mailbox.name.split(" "))) > _LONGEST_PLAIN_WORD:
        name = " ".join(encode_words(mailbox.name, column=column, is_phrase=True))
    else:
        name = encode_display_name(mailbox.name, column=column)
    return f"{name} <{address}>"
