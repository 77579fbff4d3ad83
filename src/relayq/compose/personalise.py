"""Templates in a message that was given as a string: its subject and the texts in it (spec templates.md 1 and 7).

What is no template, or renders to itself, stays as it is, octet by octet. A ``mime`` object is personalised by
``relayq.compose.responsive``, which knows what its strings mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from relayq.compose.encodings import decode_unlabelled
from relayq.compose.header_values import decode_octets, decode_words, encode_rendered_field
from relayq.compose.headers import field_value, find_fields, find_header
from relayq.compose.mime_tree import parse_tree
from relayq.compose.responsive.addresses import Mailbox, encode_mailboxes, split_addresses
from relayq.compose.responsive.templates import clean_line
from relayq.compose.template import TemplateContext, TemplateError, compile_template
from relayq.compose.text_parts import TextPart, read_texts, write_texts
from relayq.model import InvalidAddressError, parse_address

_ADDRESS_HEADERS = frozenset(("from", "sender", "reply-to", "to", "cc"))
_NO_ESCAPE = "none"
_T = TypeVar("_T")


class Unrendered(NamedTuple):
    """A field or part that goes out as it was because it could not be rendered; the text is for the application log.

    Attributes:
        place: Name of the header in lower case, or ``part 1 text/html``.
        line: Line of the template.
        cause: What is wrong, without data values.
    """

    place: str
    line: int
    cause: str

    def __str__(self) -> str:
        """``subject: line 1: unexpected end of tag``."""
        return f"{self.place}: line {self.line}: {self.cause}"


def personalise_mime(
    mime: bytes,
    context: TemplateContext,
    *,
    force: bool = False,
    headers: Sequence[str] = ("subject",),
    escape: str = _NO_ESCAPE,
) -> tuple[bytes, tuple[Unrendered, ...]]:
    """Message with its templates rendered, and what could not be rendered.

    Args:
        mime: Message with CRLF line ends.
        context: What the templates see.
        force: Leave what fails as it is instead of raising.
        headers: Header fields that are templates, names in lower case (``personalize-headers``).
        escape: Escaping in HTML parts that ask for none themselves (``personalize-escape``): ``none`` or ``html``.

    Raises:
        TemplateError: Something failed and ``force`` is not set; its ``place`` is the field or part.
    """
    job = _Personalisation(context, force=force, escape=escape)
    changed = job.with_rendered_texts(job.with_rendered_header(mime, headers))
    return changed, tuple(job.unrendered)


class _Personalisation:
    """One message; collects what failed."""

    def __init__(self, context: TemplateContext, *, force: bool, escape: str) -> None:
        self._context = context
        self._force = force
        self._escape = escape
        self.unrendered: list[Unrendered] = []

    def with_rendered_header(self, mime: bytes, names: Sequence[str]) -> bytes:
        """Only the first field of a name is a template; the others stay."""
        span = find_header(mime)
        block = changed = mime[span.start : span.end]
        for name in names:
            fields = find_fields(block, name.encode("ascii"))
            if fields:
                changed = self._with_rendered_field(changed, name, fields[0])
        return mime if changed is block else mime[: span.start] + changed + mime[span.end :]

    def _with_rendered_field(self, block: bytes, name: str, field: bytes) -> bytes:
        rewrite = self._rewrite_addresses if name in _ADDRESS_HEADERS else self._rewrite_line
        written = field[: field.index(b":")].rstrip(b" \t").decode("ascii")
        new = self._attempt(name, lambda: rewrite(written, field_value(field)))
        if new is None:
            return block
        # No other line begins like the first field of its name: continued lines begin with a blank.
        start = 0 if block.startswith(field) else block.index(b"\n" + field) + 1
        return block[:start] + new + block[start + len(field) :]

    def _rewrite_line(self, name: str, value: bytes) -> bytes | None:
        """Field with a rendered text, ``None`` when it says what it said."""
        source = decode_octets(value)
        rendered = self._render(source)
        if rendered == source:
            return None
        return encode_rendered_field(name, clean_line(rendered))

    def _rewrite_addresses(self, name: str, value: bytes) -> bytes | None:
        """Field with rendered names and addresses, ``None`` when it says what it said.

        Taken apart first: what data brings into a name stays in the name (spec templates.md 8.2).
        """
        text = decode_unlabelled(value)
        if "{" not in decode_words(text):
            return None
        mailboxes: list[Mailbox] = []
        is_changed = False
        for parts in split_addresses(text, has_tags=True):
            source = (decode_words(parts.name), parts.address)
            rendered = (self._render(source[0]), self._render(source[1]))
            is_changed = is_changed or rendered != source
            try:
                mailboxes.append(Mailbox(clean_line(rendered[0]), parse_address(clean_line(rendered[1]))))
            except InvalidAddressError:
                raise TemplateError("no valid address after rendering", 1) from None
        return encode_mailboxes(name, mailboxes) if is_changed else None

    def with_rendered_texts(self, mime: bytes) -> bytes:
        """Text and HTML parts that are shown and not sealed."""
        root = parse_tree(mime)
        changes: list[tuple[TextPart, str]] = []
        for number, source in enumerate(read_texts(mime, root), 1):
            is_html = source.part.media_type == "text/html"
            place = f"part {number} {source.part.media_type}"
            text = self._attempt(place, lambda: self._render(source.text, is_html=is_html))  # noqa: B023 - called here
            if text is not None and text != source.text:
                changes.append((source, text))
        return write_texts(mime, root, changes) if changes else mime

    def _render(self, text: str, *, is_html: bool = False) -> str:
        if "{" not in text:
            return text
        escape = self._escape if is_html else _NO_ESCAPE
        template = compile_template(text, is_html=is_html, escape=escape, time_left=self._context.time_left)
        return template.render(self._context)

    def _attempt(self, place: str, render: Callable[[], _T]) -> _T | None:
        """What was rendered, ``None`` for what has to stay as it is."""
        try:
            return render()
        except TemplateError as error:
            error.place = place
            if not self._force:
                raise
            self.unrendered.append(Unrendered(place, error.line, error.cause))
            return None
