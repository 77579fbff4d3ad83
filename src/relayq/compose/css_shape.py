"""What of a document decides which selector matches which tag, as one short key.

Documents made from one template differ in texts and addresses, but selectors match the same tags in all of them. So the
answer of the engine, the most expensive step, can be used again.
"""

from __future__ import annotations

import hashlib
import re

from relayq.compose.html_scan import END, OPEN, OTHER, RAW, REST, TEXT, WIDTH, Markup

_MAX_KNOWN = 8192
_MAX_KNOWN_CHARACTERS = 300
_MAX_ELEMENTS = 20_000
_BLANKS = " \t\n\r\f"
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*+(=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"
    r"((?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >]*+))?+)"
)
_REFERENCE = re.compile(r"&#?[a-zA-Z0-9]++;?")
# ``type`` decides where an <input> in a table goes, ``shadowrootmode`` what a <template> is.
_ALWAYS = frozenset(("class", "id", "type", "shadowrootmode"))
_NO_COMMENT = ("<!d", "<!D")


class Shapes:
    """Keys of documents, as far as selectors that look at certain attributes can tell these apart."""

    def __init__(self, attributes: frozenset[str]) -> None:
        """``attributes`` are names in lower case; ``class`` and ``id`` count always."""
        self._attributes = attributes | _ALWAYS
        self._known: dict[str, str] = {}

    def key(self, markup: Markup) -> bytes | None:
        """Documents with one key have the same matches; ``None`` for one that is too large or too odd."""
        if markup.has_foreign or len(markup.starts) > _MAX_ELEMENTS:
            return None
        pieces = markup.pieces
        known = self._known
        shape: list[str | None] = [None] * len(pieces)
        shape[TEXT::WIDTH] = [text and _text_class(text) for text in pieces[TEXT::WIDTH]]
        shape[OPEN::WIDTH] = pieces[OPEN::WIDTH]
        shape[REST::WIDTH] = [rest and (known.get(rest) or self._reduce(rest)) for rest in pieces[REST::WIDTH]]
        shape[RAW::WIDTH] = [raw and "x" for raw in pieces[RAW::WIDTH]]
        shape[END::WIDTH] = pieces[END::WIDTH]
        shape[OTHER::WIDTH] = [
            other if other and other.startswith(_NO_COMMENT) else None for other in pieces[OTHER::WIDTH]
        ]
        text = "\0".join(filter(None, shape))
        return hashlib.blake2b(
            f"{len(markup.starts)}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()

    def _reduce(self, rest: str) -> str:
        """The attributes of a start tag that selectors look at."""
        found = _ATTRIBUTE.findall(rest, 0, len(rest) - 1)
        reduced = " ".join([f"{name}{value}" for name, value in found if name.lower() in self._attributes]) + ">"
        if len(rest) < _MAX_KNOWN_CHARACTERS and len(self._known) < _MAX_KNOWN:
            self._known[rest] = reduced
        return reduced


def _text_class(text: str) -> str | None:
    """A text as far as it decides how the tree is built: blank or not."""
    if not text.strip(_BLANKS):
        return " "
    # A character reference may stand for a blank.
    return text if "&" in text and not _REFERENCE.sub("", text).strip(_BLANKS) else "x"
