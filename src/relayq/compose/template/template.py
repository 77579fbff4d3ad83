"""Compiled templates, and the cache of them (spec templates.md)."""

from __future__ import annotations

import sys
from collections import OrderedDict

from relayq.compose.template.compiler import Body, compile_tree
from relayq.compose.template.context import Rendering, TemplateContext
from relayq.compose.template.errors import TemplateError
from relayq.compose.template.limits import NESTING_CAUSE, TimeLeft, check_size, unlimited
from relayq.compose.template.parser import parse_template

NO_ESCAPE = "null"
"""Name of the escaping that changes nothing."""

_MAX_TEMPLATES = 512
_MAX_CACHED_OCTETS = 64 * 1024 * 1024
_TOKEN_OCTETS = 400
"""What a token becomes, about: measured 200 to 350 octets."""


class Template:
    """A template that can be rendered any number of times; nothing of one rendering is left for the next.

    Attributes:
        tokens: How much there is in its tags.
    """

    __slots__ = ("_body", "_sets_variables", "tokens")

    def __init__(self, body: Body, *, sets_variables: bool, tokens: int) -> None:
        self._body = body
        self.tokens = tokens
        self._sets_variables = sets_variables

    def render(self, context: TemplateContext) -> str:
        """The output.

        Raises:
            TemplateError: Something the template asks for cannot be done, or a limit was exceeded.
        """
        rendering = Rendering(context, own_variables=self._sets_variables)
        self._body(rendering, rendering.pieces.append)
        return rendering.finish()


class TemplateCache:
    """Templates by their text, failures among them; the least recently used ones are forgotten.

    Bounded by count and by estimated size: a tag of four characters becomes a thousand octets.
    """

    def __init__(self, *, max_templates: int = _MAX_TEMPLATES, max_octets: int = _MAX_CACHED_OCTETS) -> None:
        self._max_templates = max_templates
        self._max_octets = max_octets
        self._by_source: OrderedDict[tuple[str, bool, str], tuple[Template | TemplateError, int]] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._by_source)

    def get(self, text: str, *, is_html: bool, escape: str, time_left: TimeLeft) -> Template:
        """Template of a text, compiled if it is not there; for the arguments see `compile_template`."""
        key = (text, is_html, escape)
        entry = self._by_source.get(key)
        if entry is None:
            found = _compile(text, is_html=is_html, escape=escape, time_left=time_left)
            self._keep(key, found)
        else:
            self._by_source.move_to_end(key)
            found = entry[0]
        if isinstance(found, TemplateError):
            raise TemplateError(found.cause, found.line)
        return found

    def _keep(self, key: tuple[str, bool, str], found: Template | TemplateError) -> None:
        octets = sys.getsizeof(key[0])
        if isinstance(found, Template):
            octets += len(key[0]) + found.tokens * _TOKEN_OCTETS
        if octets > self._max_octets // 4:
            return
        self._by_source[key] = (found, octets)
        self._octets += octets
        while len(self._by_source) > self._max_templates or self._octets > self._max_octets:
            _, (_, octets) = self._by_source.popitem(last=False)
            self._octets -= octets


def _compile(text: str, *, is_html: bool, escape: str, time_left: TimeLeft) -> Template | TemplateError:
    """A template, or what is wrong with it; a failure for want of time is raised, as the next try may do better."""
    try:
        check_size(text, "template")
        tree = parse_template(text, is_html=is_html, time_left=time_left)
        body, sets_variables = compile_tree(tree, escape=escape, time_left=time_left)
    except TemplateError as error:
        error.line = error.line or 1
        if time_left() <= 0:
            raise
        return TemplateError(error.cause, error.line)  # without the frames the other one was raised in
    except RecursionError:
        return TemplateError(NESTING_CAUSE, 1)
    return Template(body, sets_variables=sets_variables, tokens=tree.tokens)


# A memo of a pure function, so that callers need not know it; workers are processes of one thread that composes.
_CACHE = TemplateCache()


def compile_template(
    text: str, *, is_html: bool = False, escape: str = NO_ESCAPE, time_left: TimeLeft = unlimited
) -> Template:
    """Template of a text with LF line ends; the same text is compiled once.

    Args:
        text: Source.
        is_html: It stands in HTML, so that tags may hold entities.
        escape: Escaping of every output when the template asks for none itself: ``html``, ``url``, ``base64``, ``json``
            or another name for none.
        time_left: Seconds left for the message.

    Raises:
        TemplateError: The text is no template.
    """
    return _CACHE.get(text, is_html=is_html, escape=escape, time_left=time_left)
