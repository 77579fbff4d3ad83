"""Templates in the strings of a document (spec templates.md 8): rendered once, before anything is generated."""

from __future__ import annotations

import re

from relayq.compose.responsive.errors import DocumentError, Faults
from relayq.compose.template import TemplateContext, TemplateError, compile_template

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BLANKS = re.compile(r" {2,}")
_HTML_BLOCK = "html"
_NO_ESCAPE = "null"
_MAX_RENDERED_CHARACTERS = 50 * 1024 * 1024


def clean_line(text: str) -> str:
    """One line of text: every control a blank, runs of blanks one, none around it (spec templates.md 6)."""
    return _BLANKS.sub(" ", _CONTROLS.sub(" ", text)).strip(" ")


def author_line(text: str) -> str:
    """One line of what is no template: without controls it stays as its author wrote it, every blank of it."""
    return clean_line(text) if _CONTROLS.search(text) else text.strip(" ")


class Templates:
    """Renders strings; without data they stay as they are."""

    def __init__(self, context: TemplateContext | None, faults: Faults, *, escape_html: bool) -> None:
        self._context = context
        self._faults = faults
        self._rendered_characters = 0
        self._html_escape = "html" if escape_html else _NO_ESCAPE

    @property
    def is_active(self) -> bool:
        """The message has data, so braces may mean something."""
        return self._context is not None

    def render(self, text: str, path: str, *, is_html: bool = False) -> str:
        """A rendered string; under ``force`` one with an error in it stays as it is.

        Raises:
            DocumentError: A template error, or more output than fits into a message.
        """
        if self._context is None or "{" not in text:
            return text
        source = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        try:
            escape = self._html_escape if is_html else _NO_ESCAPE
            template = compile_template(source, is_html=is_html, escape=escape, time_left=self._context.time_left)
            rendered = template.render(self._context)
        except TemplateError as error:
            self._faults.fail(path, str(error))
            return text
        self._rendered_characters += len(rendered)
        if self._rendered_characters > _MAX_RENDERED_CHARACTERS:
            raise DocumentError("mime", f"templates give more than {_MAX_RENDERED_CHARACTERS} characters")
        return rendered

    def render_tree(self, value: object, path: str, *, is_block: bool = False) -> object:
        """Decoded JSON with every string rendered, but for the ``type`` of blocks.

        Args:
            value: Any JSON value.
            path: Its path.
            is_block: An object here is a block; what stands in an array named ``blocks`` always is.
        """
        if isinstance(value, str):
            return self.render(value, path)
        if isinstance(value, list):
            return [
                self.render_tree(element, f"{path}[{index}]", is_block=is_block) for index, element in enumerate(value)
            ]
        if not isinstance(value, dict):
            return value
        is_html = is_block and value.get("type") == _HTML_BLOCK
        rendered: dict[str, object] = {}
        for name, member in value.items():
            if is_block and name == "type":
                rendered[name] = member
            elif is_html and name in ("content", "source") and isinstance(member, str):
                rendered[name] = self.render(member, f"{path}.{name}", is_html=True)
            else:
                rendered[name] = self.render_tree(member, f"{path}.{name}", is_block=name == "blocks")
        return rendered
