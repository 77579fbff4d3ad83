"""A ``mime`` object on its way to a message (spec responsive.md 1).

Composing is a function of the document and of what was downloaded. It is tried with what is there; what turned out to
be missing is fetched by somebody else, and it is tried again. So nothing here waits, and no step has to foresee what a
later one needs: an import brings blocks with images, whose dimensions are asked for in the next round::

    plan = parse_document(mime, Occasion(envelope=sender, recipient=recipient, seen_at=seen_at, data=data))
    while plan.downloads:
        plan = plan.with_resources(await fetch(plan.downloads))
    message = build_mime(plan, make_boundary)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from relayq.compose.responsive.assemble import MakeBoundary, Parts, assemble, text_leaf
from relayq.compose.responsive.attachments import File, read_attachments
from relayq.compose.responsive.content import Content, Ingredients, build_content
from relayq.compose.responsive.downloads import Answers, Download, DownloadFailure, Resource, Resources, Slot
from relayq.compose.responsive.errors import DocumentError, Faults
from relayq.compose.responsive.header_fields import HeaderFields, Identity, build_header
from relayq.compose.responsive.templates import Templates, author_line, clean_line
from relayq.compose.responsive.values import Node, as_mapping, decode_json
from relayq.compose.signing_keys import SigningKey, SigningKeyError, parse_signing_keys
from relayq.compose.template import TemplateContext, template_context
from relayq.model import EmailAddress

MAX_MESSAGE_OCTETS = 50 * 1024 * 1024

_ROOT = "mime"
_NAME_LIST = """
    from to cc bcc replyTo subject text content html headers attachments unsubscribe images dkim data font background
    css attributes rewrite tracking blocks
"""
PROPERTIES = tuple(_NAME_LIST.split())
"""Of a document, by their usual names."""

_CANONICAL = {**{name.lower(): name for name in PROPERTIES}, "textversion": "text"}
_SEPARATORS = str.maketrans("", "", "-_")
# Rendered where they are read: addresses are taken apart first, headers are checked first.
_NOT_YET_RENDERED = frozenset(("from", "to", "cc", "replyTo", "headers"))
_NEVER_RENDERED = frozenset(("bcc", "data", "dkim"))


class ResponsiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        host_name: For a ``Message-ID`` where ``From`` has no domain.
        autotext: Make a text part from blocks (``responsive-autotext``).
        icons: Pattern of icon addresses (``responsive-icons``), empty for text links.
        escape_html: Escape what templates put into HTML (``personalize-escape``).
        oversign: Value of ``oversign`` where a signing key has none (``dkim-oversign``).
    """

    host_name: str = "localhost"
    autotext: bool = True
    icons: str = ""
    escape_html: bool = False
    oversign: bool = True


def _unlimited() -> float:
    return 1.0


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """What a document is composed for: all that decides besides the object itself and what is downloaded.

    Attributes:
        envelope: Sender, ``None`` for the null one.
        recipient: Recipient as in the JSON.
        seen_at: First pick-up (``seen``); gives ``Date``.
        data: Raw JSON of the outer ``data``, ``None`` where there is none.
        force: Leave out what is wrong instead of failing.
        now: Time that templates see, ``None`` for ``seen_at``.
        time_left: Seconds left for all templates and expressions of the message. Imported blocks are rendered when they
            are there, so it must not run while downloads are awaited.
        options: Settings.
        slots: Files that are kept aside, their markers in the object and later in the message.
        digest: Left side of the ``Message-ID``, which covers these files; ``None`` where there are none.
    """

    envelope: EmailAddress | None
    recipient: str
    seen_at: datetime
    data: bytes | msgspec.Raw | None = None
    force: bool = False
    now: datetime | None = None
    time_left: Callable[[], float] = _unlimited
    options: ResponsiveOptions = ResponsiveOptions()
    slots: tuple[Slot, ...] = ()
    digest: str | None = None

    def __repr__(self) -> str:
        """Without data: this lands in logs."""
        return f"Occasion(recipient={self.recipient!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for consoles."""
        return [("recipient", self.recipient)]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document with its templates rendered, and everything composing it again needs.

    Attributes:
        values: Top-level properties by their usual names, null ones left out.
        header: Header fields.
        subject: Rendered subject, one line.
        template_context: For what is imported later, and for the limits of regular expressions.
        is_personalised: There is data, so strings are templates.
        notes: What the log should tell.
        signing_keys: Keys of ``mime.dkim``.
        occasion: What it is composed for.
    """

    values: Mapping[str, object]
    header: HeaderFields
    subject: str
    template_context: TemplateContext
    is_personalised: bool
    notes: tuple[str, ...]
    signing_keys: tuple[SigningKey, ...]
    occasion: Occasion

    def __repr__(self) -> str:
        """Without content and keys: this lands in logs."""
        return f"Document({', '.join(self.values)})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for consoles, which would ask for every field."""
        return [("properties", list(self.values))]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A document and how far it has come.

    Attributes:
        document: The document.
        resources: Answers so far.
        downloads: What is still needed, in the order in which it was asked for; empty when the message can be built.
        parts: Content as far as it is known.
        notes: What the log should tell: with ``force``, what was left out and why. No content, one line each.
    """

    document: Document
    resources: Answers
    downloads: tuple[Download, ...]
    parts: Parts
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """Without content: this lands in logs."""
        return f"Plan({self.document!r}, downloads={len(self.downloads)})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for consoles."""
        return [("document", self.document), ("downloads", len(self.downloads))]

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Keys of ``mime.dkim``, to be used after those of the outer JSON."""
        return self.document.signing_keys

    def with_resources(self, found: Mapping[Download, Resource | DownloadFailure]) -> Plan:
        """The plan after some of its `downloads` were answered; there may be new ones.

        Raises:
            DocumentError: One failed, or what it brought cannot be used.
        """
        return _compose(self.document, {**self.resources, **found})


def parse_document(mime: bytes | msgspec.Raw, occasion: Occasion, resources: Answers | None = None) -> Plan:
    """Check a document, render its templates and find out what it needs.

    Args:
        mime: Raw JSON of the object.
        occasion: What it is composed for.
        resources: What was downloaded for it before.

    Raises:
        DocumentError: It cannot be turned into a message.
        ContentNeededError: Not without the files that are kept aside.
    """
    faults = Faults(force=occasion.force)
    values = _read_object(mime)
    variables = _variables(values, occasion.data)
    context = template_context(
        variables or {},
        envelope=occasion.envelope.text if occasion.envelope is not None else "",
        recipient=occasion.recipient,
        now=occasion.now or occasion.seen_at,
        time_left=occasion.time_left,
    )
    is_personalised = variables is not None
    templates = Templates(context if is_personalised else None, faults, escape_html=occasion.options.escape_html)
    rendered = _render(values, templates)
    node = Node(rendered, _ROOT, faults)
    subject_text = node.text("subject") or ""
    is_subject_rendered = subject_text != values.get("subject")
    subject = clean_line(subject_text) if is_subject_rendered else author_line(subject_text)
    identity = _identity(mime, occasion)
    document = Document(
        values=rendered,
        header=build_header(node, subject, identity, templates, is_subject_rendered=is_subject_rendered),
        subject=subject,
        template_context=context,
        is_personalised=is_personalised,
        signing_keys=_signing_keys(node, occasion.options),
        notes=faults.notes,
        occasion=occasion,
    )
    return _compose(document, resources or {})


def _identity(mime: bytes | msgspec.Raw, occasion: Occasion) -> Identity:
    return Identity(
        envelope=occasion.envelope,
        recipient=occasion.recipient,
        mime=bytes(mime),
        data=bytes(occasion.data) if occasion.data is not None else None,
        seen_at=occasion.seen_at,
        host_name=occasion.options.host_name,
        digest=occasion.digest,
    )


def build_mime(plan: Plan, make_boundary: MakeBoundary) -> bytes:
    """The message: CRLF line ends, 7-bit but for local parts in other letters, no line over 998 octets.

    Where files are kept aside it has their markers.

    Args:
        plan: A plan without downloads left.
        make_boundary: Gives a boundary that nobody can foresee each time it is called.

    Raises:
        DocumentError: The message is larger than `MAX_MESSAGE_OCTETS`.
        ValueError: There are downloads left.
    """
    if plan.downloads:
        raise ValueError("the plan still needs downloads")
    header = plan.document.header.fields
    leaves = (plan.parts.text, plan.parts.html, *plan.parts.embedded, *plan.parts.attachments)
    size = len(header) + sum(leaf.aside + sum(map(len, leaf.chunks)) for leaf in leaves if leaf is not None)
    if size > MAX_MESSAGE_OCTETS:
        raise DocumentError(_ROOT, f"larger than {MAX_MESSAGE_OCTETS} octets")
    return assemble(header, plan.parts, make_boundary)


def _read_object(mime: bytes | msgspec.Raw) -> dict[str, object]:
    """Top-level properties by their usual names; the usual spelling wins over others and over aliases."""
    try:
        decoded = as_mapping(decode_json(mime))
    except ValueError as error:
        raise DocumentError(_ROOT, str(error)) from None
    if decoded is None:
        raise DocumentError(_ROOT, "expected an object")
    values: dict[str, object] = {}
    spelled: set[str] = set()
    for name, value in decoded.items():
        canonical = canonical_name(name)
        if canonical is None or value is None or (canonical in spelled and name != canonical):
            continue
        values[canonical] = value
        if name == canonical:
            spelled.add(canonical)
    return values


def canonical_name(name: str) -> str | None:
    """Usual name of a property, ``None`` for one that is unknown."""
    return _CANONICAL.get(name.translate(_SEPARATORS).lower())


def _variables(values: Mapping[str, object], data: bytes | msgspec.Raw | None) -> dict[str, object] | None:
    """Data of the document overlaid by that of the message; ``None`` when there is neither."""
    own = values.get("data")
    if own is None and data is None:
        return None
    own_variables = {} if own is None else as_mapping(own)
    if own_variables is None:
        raise DocumentError(f"{_ROOT}.data", "expected an object")
    try:
        outer = {} if data is None else as_mapping(decode_json(data))
    except ValueError as error:
        raise DocumentError("data", str(error)) from None
    if outer is None:
        raise DocumentError("data", "expected an object")
    return {**own_variables, **outer}


def _render(values: Mapping[str, object], templates: Templates) -> dict[str, object]:
    if not templates.is_active:
        return dict(values)
    return {name: _render_property(name, value, templates) for name, value in values.items()}


def _render_property(name: str, value: object, templates: Templates) -> object:
    path = f"{_ROOT}.{name}"
    if name in _NOT_YET_RENDERED or name in _NEVER_RENDERED:
        return value
    if isinstance(value, str) and name in ("content", "html"):
        return templates.render(value, path, is_html=True)
    if name == "attachments":
        return _render_attachments(value, path, templates)
    return templates.render_tree(value, path, is_block=name == "blocks")


def _render_attachments(value: object, path: str, templates: Templates) -> object:
    """Everything but the content of the files."""
    if isinstance(value, list):
        return [_render_attachments(one, f"{path}[{index}]", templates) for index, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    return {
        name: member if name == "data" else templates.render_tree(member, f"{path}.{name}")
        for name, member in value.items()
    }


def _signing_keys(node: Node, options: ResponsiveOptions) -> tuple[SigningKey, ...]:
    """Entries of ``dkim``; one that is no entry is an error, or left out with ``force``."""
    value = node.values.get("dkim")
    path = f"{_ROOT}.dkim"
    keys: list[SigningKey] = []
    for entry in value if isinstance(value, list) else [value]:
        try:
            keys += parse_signing_keys(entry, oversign=options.oversign)
        except SigningKeyError as error:
            node.faults.fail(path, str(error))
    return tuple(keys)


def _compose(document: Document, answers: Answers) -> Plan:
    """Compose with what is there, and find out what is missing."""
    options = document.occasion.options
    faults = Faults(force=document.occasion.force)
    resources = Resources(answers, faults, document.occasion.slots)
    node = Node(document.values, _ROOT, faults)
    context = document.template_context
    templates = Templates(context if document.is_personalised else None, faults, escape_html=options.escape_html)
    ingredients = Ingredients(
        subject=document.subject,
        domain=document.header.domain,
        resources=resources,
        templates=templates,
        limits=context,
        icons=options.icons,
        autotext=options.autotext,
    )
    content = build_content(node, ingredients)
    files = read_attachments(node, resources)
    faults.finish()
    missing = tuple(resources.missing)
    return Plan(
        document=document,
        resources=answers,
        downloads=missing,
        parts=Parts() if missing else _to_parts(content, files),
        notes=tuple(dict.fromkeys((*document.notes, *faults.notes))),
    )


def _to_parts(content: Content, files: list[File]) -> Parts:
    """Content as parts; files can only be embedded where there is HTML to refer to them."""
    embedded = [*content.images, *(file for file in files if file.content_id is not None)]
    if content.html is None:
        embedded = []
    return Parts(
        text=text_leaf("plain", content.text) if content.text else None,
        html=text_leaf("html", content.html) if content.html is not None else None,
        embedded=[file.to_leaf(is_embedded=True) for file in embedded],
        attachments=[
            file.to_leaf(is_embedded=False) for file in files if content.html is None or file.content_id is None
        ],
    )
