"""Selectors: which of them say something about a document that does not move, and how specific they are.

Decidable are types, classes, ids, attributes, combinators, structural pseudo-classes, ``:link`` and ``:any-link``, and
``:not()``, ``:is()`` and ``:where()`` of those (spec html-css-dkim.md 2.3). All else, invalid selectors included, is
told from them here, because the engine that matches passes over what it does not know without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tinycss2.nth

from relayq.compose.css_tokens import Node, Value, split_at, strip_blanks

_MAX_NESTING = 8
_CLASS = 1 << 20
_ID = 1 << 40

_COMBINATORS = frozenset(">+~")
_ATTRIBUTE_OPERATORS = frozenset(("=", "~=", "|=", "^=", "$=", "*="))
_PLAIN_PSEUDO_CLASSES = frozenset(
    (
        "first-child",
        "last-child",
        "only-child",
        "first-of-type",
        "last-of-type",
        "only-of-type",
        "empty",
        "root",
    )
)
_LINKS = frozenset(("link", "any-link"))
_NTH = frozenset(
    (
        "nth-child",
        "nth-last-child",
        "nth-of-type",
        "nth-last-of-type",
    )
)
_LISTS = frozenset(("not", "is", "where"))


class Selector(NamedTuple):
    """One selector of a rule.

    Attributes:
        text: As it stands in the sheet, without the blanks around it.
        engine: The same for the engine that matches, ``None`` if it cannot be decided.
        specificity: Greater means more specific: ids, then classes and the like, then types.
        looks_up: Matching it may walk from an element to the root.
        looks_back: How often matching it may walk over all elements in front of an element.
        attributes: Names of the attributes it looks at, ``class`` and ``id`` left out.
    """

    text: str
    engine: str | None
    specificity: int = 0
    looks_up: bool = False
    looks_back: int = 0
    attributes: frozenset[str] = frozenset()


class _Simple(NamedTuple):
    engine: str
    specificity: int


class _Undecidable(Exception):
    """The selector is dynamic, unknown or invalid."""


def parse_selectors(text: str, prelude: Sequence[Value], style_attribute: str) -> list[Selector]:
    """Selectors of a rule in order.

    Args:
        text: The sheet.
        prelude: Values in front of the block of the rule.
        style_attribute: Name under which the engine finds ``style`` attributes.
    """
    selectors: list[Selector] = []
    for part in split_at(prelude, ","):
        part = strip_blanks(part)
        source = text[part[0].start : part[-1].end] if part else ""
        try:
            found = _Parser(style_attribute)
            engine, specificity = found.complex([value.node for value in part])
            selectors.append(
                Selector(source, engine, specificity, found.looks_up, found.looks_back, frozenset(found.attributes))
            )
        except _Undecidable:
            selectors.append(Selector(source, None))
    return selectors


class _Parser:
    def __init__(self, style_attribute: str) -> None:
        self._style_attribute = style_attribute
        self._depth = 0
        self.looks_up = False
        self.looks_back = 0
        self.attributes: set[str] = set()

    def complex(self, nodes: Sequence[Node]) -> _Simple:
        """Compound selectors and the combinators between them."""
        nodes = [node for node in nodes if node.type != "comment"]
        engine, specificity, at = "", 0, 0
        while True:
            compound, at = self._compound(nodes, at)
            engine += compound.engine
            specificity += compound.specificity
            if at == len(nodes):
                return _Simple(engine, specificity)
            combinator, at = _combinator(nodes, at)
            # Inside one another they multiply: three levels take ten seconds for a document of 2,000 elements.
            if self._depth > 1:
                raise _Undecidable
            self.looks_up = self.looks_up or combinator in " >"
            self.looks_back += combinator == "~"
            engine += combinator

    def _compound(self, nodes: Sequence[Node], at: int) -> tuple[_Simple, int]:
        engine, specificity, first = "", 0, at
        while at < len(nodes):
            node = nodes[at]
            if at == first and node.type == "ident":
                simple, at = _Simple(node.serialize(), 1), at + 1
            elif at == first and node.type == "literal" and node.value == "*":
                simple, at = _Simple("*", 0), at + 1
            elif node.type == "hash" and node.is_identifier:
                simple, at = _Simple(node.serialize(), _ID), at + 1
            elif node.type == "[] block":
                simple, at = self._attribute(node.content), at + 1
            elif node.type == "literal" and node.value in {".", ":"} and at + 1 < len(nodes):
                parse = self._class if node.value == "." else self._pseudo_class
                simple, at = parse(nodes[at + 1]), at + 2
            else:
                break
            engine += simple.engine
            specificity += simple.specificity
        if at == first:
            raise _Undecidable
        return _Simple(engine, specificity), at

    def _class(self, node: Node) -> _Simple:
        if node.type != "ident":
            raise _Undecidable
        return _Simple("." + node.serialize(), _CLASS)

    def _attribute(self, content: Sequence[Node]) -> _Simple:
        parts = [node for node in content if node.type not in {"whitespace", "comment"}]
        if len(parts) not in {1, 3, 4} or parts[0].type != "ident":
            raise _Undecidable
        name = parts[0].serialize()
        self.attributes.add(parts[0].lower_value)
        if parts[0].lower_value == "style":
            name = self._style_attribute
        if len(parts) == 1:
            return _Simple(f"[{name}]", _CLASS)
        is_operator = parts[1].type == "literal" and parts[1].value in _ATTRIBUTE_OPERATORS
        if not is_operator or parts[2].type not in {"ident", "string"}:
            raise _Undecidable
        flag = ""
        if len(parts) == 4:
            if parts[3].type != "ident" or parts[3].lower_value not in {"i", "s"}:
                raise _Undecidable
            flag = f" {parts[3].lower_value}"
        return _Simple(f"[{name}{parts[1].value}{parts[2].serialize()}{flag}]", _CLASS)

    def _pseudo_class(self, node: Node) -> _Simple:
        if node.type == "ident":
            name = node.lower_value
            if name in _PLAIN_PSEUDO_CLASSES:
                return _Simple(f":{name}", _CLASS)
            if name in _LINKS:
                self.attributes.add("href")
                return _Simple(":not(:not(a[href]))", _CLASS)
        elif node.type == "function":
            name = node.lower_name
            if name in _NTH:
                return _nth(name, node.arguments)
            if name in _LISTS and self._depth < _MAX_NESTING:
                return self._list(name, node.arguments)
        raise _Undecidable

    def _list(self, name: str, arguments: Sequence[Node]) -> _Simple:
        """``:not()`` and, written with it because the engine has nothing else, ``:is()`` and ``:where()``."""
        self._depth += 1
        values = [Value(node, 0, 0) for node in arguments]
        parts = [self.complex([value.node for value in strip_blanks(part)]) for part in split_at(values, ",")]
        self._depth -= 1
        inner = ",".join(part.engine for part in parts)
        specificity = 0 if name == "where" else max(part.specificity for part in parts)
        return _Simple(f":not({inner})" if name == "not" else f":not(:not({inner}))", specificity)


def _nth(name: str, arguments: Sequence[Node]) -> _Simple:
    parsed = tinycss2.nth.parse_nth(list(arguments))
    if parsed is None:
        raise _Undecidable
    step, offset = parsed
    if max(abs(step), abs(offset)) >= 1 << 31:
        raise _Undecidable
    return _Simple(f":{name}({step}n{offset:+d})", _CLASS)


def _combinator(nodes: Sequence[Node], at: int) -> tuple[str, int]:
    """A combinator with a compound selector behind it."""
    combinator = ""
    while at < len(nodes):
        node = nodes[at]
        if node.type == "literal" and node.value in _COMBINATORS and combinator.strip() == "":
            combinator = node.value
        elif node.type == "whitespace":
            combinator = combinator or " "
        else:
            break
        at += 1
    if not combinator or at == len(nodes):
        raise _Undecidable
    return combinator, at
