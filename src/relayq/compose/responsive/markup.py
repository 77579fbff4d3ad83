"""Pieces of HTML: escaped text, tags with attributes and styles, lengths, colours, fonts (spec responsive.md 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from relayq.compose.responsive.values import Node, as_number

TABLE_START = '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%">\n'
TABLE_END = "</table>"

_PROPERTY = re.compile(r"[A-Za-z-]+")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9:_.-]*")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{3,8}|[A-Za-z]{1,40}|(?:rgb|hsl)a?\([0-9.,%/ a-z+-]{1,60}\)", re.IGNORECASE)
_UNFIT_FOR_STYLE = re.compile(r"[;{}<>\\\x00-\x1f\x7f]|url\(", re.IGNORECASE)
_FONT = {
    "font-family": ("family",),
    "font-size": ("size",),
    "line-height": ("lineHeight", "line-height"),
    "color": ("color",),
    "font-weight": ("weight",),
}
_IN_PIXELS = frozenset(("font-size", "line-height"))

Font = Mapping[str, str]
"""Style properties of a font; a lacking one is inherited."""


class Look(NamedTuple):
    """``css`` and ``attributes`` of an element, as given.

    Attributes:
        style: Declarations in JSON order.
        attributes: Name → value.
    """

    style: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


NO_LOOK = Look()


def escape(text: str) -> str:
    """For element text and attribute values."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def read_look(node: Node | None) -> Look:
    """``css`` and ``attributes`` of an object; names that could end a name or a declaration are skipped."""
    if node is None or not node.values:
        return NO_LOOK
    style = [f"{name}:{value}" for name, value in _pairs(node.mapping("css")) if _PROPERTY.fullmatch(name)]
    attributes = [pair for pair in _pairs(node.mapping("attributes")) if _ATTRIBUTE.fullmatch(pair[0])]
    return Look(tuple(style), tuple(attributes))


def _pairs(given: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str | int | float):
            yield name, str(value)


def tag(
    name: str, attributes: Iterable[tuple[str, str]], style: Iterable[str], *looks: Look, is_empty: bool = False
) -> str:
    """A start tag; a given attribute replaces a generated one, a given style stands behind the generated one.

    Args:
        name: Element.
        attributes: Generated attributes in order.
        style: Generated declarations; empty ones are left out.
        looks: What the document gives, the stronger one last.
        is_empty: The element has no content.
    """
    declarations = [one for one in style if one]
    written = dict(attributes)
    for look in looks:
        declarations += look.style
        for given, value in look.attributes:
            if given.lower() == "style":
                declarations.append(value.strip().strip(";"))
            else:
                written[next((known for known in written if known.lower() == given.lower()), given)] = value
    if declarations:
        written["style"] = ";".join(declarations)
    pieces = [f'{attribute}="{escape(value)}"' for attribute, value in written.items()]
    return f"<{' '.join((name, *pieces))}{' /' if is_empty else ''}>"


def length(pixels: float) -> str:
    """A CSS length: ``12px`` or ``0``."""
    return f"{decimal(pixels)}px" if pixels else "0"


def decimal(number: float) -> str:
    """At most two decimals, no trailing zeros."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def colour(node: Node, name: str = "color") -> str | None:
    """A colour that is one and nothing else; ``None`` for anything else (spec responsive.md 7.3)."""
    text = (node.text(name) or "").strip()
    return text if _COLOUR.fullmatch(text) else None


def background(node: Node) -> str:
    """Declaration for the ``background`` of an object, empty without one."""
    given = node.node("background")
    found = colour(given) if given is not None else None
    return f"background-color:{found}" if found else ""


class Sides(NamedTuple):
    """Lengths of the four sides of a box, in pixels."""

    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    left: float = 0.0

    @property
    def horizontal(self) -> float:
        """Both sides together."""
        return self.left + self.right

    def declaration(self) -> str:
        """As padding."""
        lengths = [length(side) for side in self]
        return f"padding:{lengths[0] if len(set(lengths)) == 1 else ' '.join(lengths)}"


def read_sides(node: Node, name: str, default: Sides) -> Sides:
    """A number for all sides, or an object with some of them; negative ones count as 0."""
    _, value = node.find(name)
    if value is None:
        return default
    if isinstance(value, dict):
        given = Node(value, f"{node.path}.{name}", node.faults)
        sides = [given.number(side) for side in Sides._fields]
        return Sides(*(max(side, 0.0) if side is not None else default[at] for at, side in enumerate(sides)))
    number = node.number(name)
    return default if number is None else Sides(*([max(number, 0.0)] * 4))


def read_font(node: Node | None) -> dict[str, str]:
    """Style properties of a ``font`` object."""
    found: dict[str, str] = {}
    if node is None:
        return found
    for style_property, names in _FONT.items():
        name, value = node.find(*names)
        number = as_number(value) if not isinstance(value, str) or style_property in _IN_PIXELS else None
        if number is not None:
            found[style_property] = f"{decimal(number)}{'px' if style_property in _IN_PIXELS else ''}"
            continue
        text = (node.text(name) or "").strip()
        if text and not _UNFIT_FOR_STYLE.search(text):
            found[style_property] = text
    return found


def font_style(font: Font) -> str:
    """Declarations of a font in the order of spec responsive.md 7.4."""
    return ";".join(f"{name}:{font[name]}" for name in _FONT if name in font)
