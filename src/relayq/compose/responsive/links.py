"""URLs of a document: made safe to be written, and given parameters (spec responsive.md 7.6, templates.md 8.3)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_plus

_UNSAFE = re.compile(r"[^!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]")
_BLANKS_AND_CONTROLS = re.compile(r"[\x00-\x20]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FORBIDDEN_SCHEMES = frozenset(("javascript", "vbscript", "data"))
_IMAGE_DATA = "data:image/"


def clean_url(text: str, *, is_image: bool = False) -> str:
    """A URL without anything that must not stand in one; empty when its scheme is one that runs something.

    Args:
        text: A rendered string.
        is_image: The source of an image, where ``data:image/…`` is fine.
    """
    url = text.strip(" \t\r\n\v\f\0")
    # Mail readers that show HTML skip blanks and controls in front of and inside a scheme.
    match = _SCHEME.match(_BLANKS_AND_CONTROLS.sub("", url[:200]))
    if match is not None and match[1].lower() in _FORBIDDEN_SCHEMES:
        is_harmless = is_image and url[: len(_IMAGE_DATA)].lower() == _IMAGE_DATA
        if not is_harmless:
            return ""
    return _UNSAFE.sub(lambda unsafe: quote(unsafe[0], safe="", errors="replace"), url)


def with_parameters(url: str, parameters: list[tuple[str, str]]) -> str:
    """URL with query parameters set: one of the same name is replaced in place, others of that name go."""
    if not parameters:
        return url
    rest, hash_sign, fragment = url.partition("#")
    base, question_mark, query = rest.partition("?")
    pairs = query.split("&") if query else []
    for name, value in parameters:
        pair = f"{quote(name, safe='', errors='replace')}={quote(value, safe='', errors='replace')}"
        at = next((index for index, given in enumerate(pairs) if _name(given) == name), None)
        if at is None:
            pairs.append(pair)
        else:
            pairs = [*pairs[:at], pair, *(given for given in pairs[at + 1 :] if _name(given) != name)]
    return f"{base}{question_mark or '?'}{'&'.join(pairs)}{hash_sign}{fragment}"


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])
