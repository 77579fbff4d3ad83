"""Links: read from a document, changed by its rules (spec responsive.md 7.6)."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from relayq.compose.responsive.errors import Faults, LeftOut
from relayq.compose.responsive.links import clean_url, with_parameters
from relayq.compose.responsive.markup import Look, read_look
from relayq.compose.responsive.values import Node
from relayq.compose.template import TemplateContext, TemplateError
from relayq.compose.template.context import Rendering
from relayq.compose.template.regexes import matches

_PARTS = ("domain", "path", "url")
_MATCHERS = ("equals", "contains", "match", "regex")
_MAX_PATTERN_CHARACTERS = 1000
_MAX_URL_CHARACTERS = 16_384
# Host without user and port, path without query (RFC 3986 section 3).
_ADDRESS = re.compile(r"https?://(?:[^/?#@]*+@)?+(\[[^\]/?#]*+\]|[^:/?#]*+)(?::[^/?#]*+)?+([^?#]*+)", re.IGNORECASE)
_PROTOCOLS = frozenset(("http", "https"))

Parameters = list[tuple[str, str]]


class Link(NamedTuple):
    """A link as it goes out.

    Attributes:
        url: Never empty.
        title: Empty without one.
        label: Text for it, empty without one.
        look: Attributes given for it.
    """

    url: str
    title: str = ""
    label: str = ""
    look: Look = Look()

    def attributes(self) -> list[tuple[str, str]]:
        """``href``, and ``title`` if there is one."""
        return [("href", self.url), *([("title", self.title)] if self.title else [])]


class Matcher(NamedTuple):
    """One condition on a part of a URL.

    Attributes:
        part: ``domain``, ``path`` or ``url``.
        kind: ``equals``, ``contains``, ``match`` or ``regex``.
        pattern: What to compare with.
        path: JSON path of the condition.
    """

    part: str
    kind: str
    pattern: str
    path: str


class Rule(NamedTuple):
    """What happens to links that match.

    Attributes:
        matchers: All of them must hold.
        parameters: Query parameters to set.
        protocol: New scheme, ``None`` to keep it.
        is_last: No rule behind it counts once it matched.
        is_unique: It counts only if no rule before it matched.
    """

    matchers: tuple[Matcher, ...]
    parameters: tuple[tuple[str, str], ...]
    protocol: str | None
    is_last: bool
    is_unique: bool


class Rewriter:
    """Changes links by the rules of a document.

    Regular expressions are those of templates, with their limits.
    """

    def __init__(self, document: Node, limits: TemplateContext) -> None:
        self._limits = Rendering(limits, own_variables=False)
        self._faults = document.faults
        self.rules = self.read_rules(document)

    def read_rules(self, node: Node) -> tuple[Rule, ...]:
        """Rules of a ``rewrite`` property; a bad one is an error, or left out."""
        rewrite = node.node("rewrite")
        if rewrite is None:
            return ()
        _, value = rewrite.find("links")
        given: list[tuple[str, object, tuple[Matcher, ...]]]
        if isinstance(value, dict):
            paths = {host: f"{rewrite.path}.links.{host}" for host in value}
            given = [(paths[host], rule, (_host_matcher(host, paths[host]),)) for host, rule in value.items()]
        else:
            given = [(path, rule, ()) for path, rule in rewrite.entries("links") or ()]
        rules: list[Rule] = []
        for path, rule, matchers in given:
            if not isinstance(rule, dict):
                node.faults.fail(path, "expected an object")
                continue
            with contextlib.suppress(LeftOut):
                rules.append(self._read_rule(Node(rule, path, node.faults), matchers))
        return tuple(rules)

    def _read_rule(self, node: Node, matchers: tuple[Matcher, ...]) -> Rule:
        found = [*matchers, *_read_matchers(node, "url")]
        for part in _PARTS:
            condition = node.node(part)
            if condition is not None:
                found += _read_matchers(condition, part)
        for matcher in found:
            self._check(matcher, node.faults)
        protocol = (node.text("protocol") or "").lower().removesuffix("://").removesuffix(":")
        if protocol and protocol not in _PROTOCOLS:
            node.faults.fail(f"{node.path}.protocol", "expected http or https")
        return Rule(
            tuple(found),
            tuple(read_parameters(node)),
            protocol if protocol in _PROTOCOLS else None,
            node.boolean("last"),
            node.boolean("unique"),
        )

    def _check(self, matcher: Matcher, faults: Faults) -> None:
        """A rule without one of its conditions would match too much, so it goes as a whole."""
        if len(matcher.pattern) > _MAX_PATTERN_CHARACTERS:
            raise faults.leave_out(matcher.path, f"longer than {_MAX_PATTERN_CHARACTERS} characters")
        if matcher.kind == "regex":
            try:
                matches(self._limits, "", matcher.pattern)
            except TemplateError as error:
                raise faults.leave_out(matcher.path, error.cause) from None

    def rewrite(self, url: str, block_rules: Sequence[Rule] = ()) -> str:
        """A link after the rules of the document and then those of its block; only web links change."""
        rules = (*self.rules, *block_rules) if block_rules else self.rules
        if not rules or len(url) > _MAX_URL_CHARACTERS or not url[:8].lower().startswith(("http://", "https://")):
            return url
        parts = _split(url)
        parameters: Parameters = []
        protocol: str | None = None
        has_matched = False
        for rule in rules:
            if (rule.is_unique and has_matched) or not self._applies(rule, parts):
                continue
            has_matched = True
            parameters += rule.parameters
            protocol = rule.protocol or protocol
            if rule.is_last:
                break
        if protocol is not None:
            url = protocol + url[url.index(":") :]
        return with_parameters(url, parameters)

    def _applies(self, rule: Rule, parts: dict[str, str]) -> bool:
        return all(self._holds(matcher, parts[matcher.part]) for matcher in rule.matchers)

    def _holds(self, matcher: Matcher, text: str) -> bool:
        pattern = matcher.pattern
        if matcher.kind == "regex":
            # Names of hosts have no case; an expression cannot be lowered, so it is told to ignore it.
            pattern = f"(?i){pattern}" if matcher.part == "domain" else pattern
            try:
                return matches(self._limits, text, pattern)
            except TemplateError as error:
                self._faults.fail(matcher.path, error.cause)
                return False
        if matcher.part == "domain":
            pattern = pattern.lower()
        if matcher.kind == "equals":
            return text == pattern
        return pattern in text if matcher.kind == "contains" else compile_wildcard(pattern).fullmatch(text) is not None

    def read_link(self, node: Node, name: str = "link", block_rules: Sequence[Rule] = ()) -> Link | None:
        """Link of a property after all rules; see the function of this name."""
        return read_link(node, name, lambda url: self.rewrite(url, block_rules))


def read_link(node: Node, name: str, change: Callable[[str], str]) -> Link | None:
    """A URL, or ``{url, title, params, attributes, label}``; ``None`` without a usable URL.

    Args:
        node: The object with the property.
        name: Name of the property.
        change: What happens to the URL before ``params`` are set.
    """
    _, value = node.find(name)
    if not isinstance(value, dict):
        url = clean_url(node.text(name) or "")
        return Link(change(url)) if url else None
    link = Node(value, f"{node.path}.{name}", node.faults)
    url = clean_url(link.text("url") or "")
    if not url:
        return None
    return Link(
        with_parameters(change(url), read_parameters(link)),
        link.text("title") or "",
        link.text("label") or "",
        read_look(link),
    )


def read_parameters(node: Node) -> Parameters:
    """``params``: strings, numbers and booleans by name."""
    found: Parameters = []
    for name, value in node.mapping("params").items():
        if isinstance(value, bool):
            found.append((name, "true" if value else "false"))
        elif isinstance(value, str | int | float):
            found.append((name, str(value)))
        elif value is not None:
            node.faults.fail(f"{node.path}.params.{name}", "expected a string")
    return found


def _read_matchers(node: Node, part: str) -> Iterable[Matcher]:
    for kind in _MATCHERS:
        pattern = node.text(kind)
        if pattern is not None:
            yield Matcher(part, kind, pattern, f"{node.path}.{kind}")


def _host_matcher(host: str, path: str) -> Matcher:
    """A rule's key in the older form: an expression, or a pattern with an open end."""
    if host.startswith("^") or ".*" in host:
        return Matcher("domain", "regex", host, path)
    return Matcher("domain", "match", f"{host}*", path)


def _split(url: str) -> dict[str, str]:
    """Host in lower case, path and whole of a web address."""
    match = _ADDRESS.match(url)
    assert match is not None, "it begins with a scheme, and nothing else is required"
    return {"domain": match[1].lower(), "path": match[2] or "/", "url": url}


@functools.lru_cache(maxsize=256)
def compile_wildcard(pattern: str) -> re.Pattern[str]:
    """Expression for a pattern with ``*`` and ``?``, for use with `re.Pattern.fullmatch`.

    What lies between two stars is looked for once, from the left: trying again cannot help, and would cost
    exponential time.
    """
    pieces = ["".join("." if one == "?" else re.escape(one) for one in piece) for piece in pattern.split("*")]
    if len(pieces) > 1:
        middle = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1] if piece)
        return re.compile(f"{pieces[0]}{middle}.*{pieces[-1]}", re.DOTALL)
    return re.compile(pieces[0], re.DOTALL)
