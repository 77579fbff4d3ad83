"""What gets the octets. A target returns or raises one of the errors it documents; anything else is a finding.

Each takes care that the fuzzer reaches the code behind the first check: octets become a reply after the greeting, the
value of a property, the rest of a frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from relayq.adapters.dns.wire import encode_query, extract, read_reply
from relayq.adapters.rabbitmq.errors import ProtocolError
from relayq.adapters.rabbitmq.frames import FrameParser
from relayq.compose import (
    ComposeError,
    CssInliner,
    CssLimitError,
    PrivateKeys,
    analyse,
    edit_headers,
    parse_header_edits,
    parse_signing_keys,
    personalise_mime,
    sign_message,
    to_seven_bit,
    treat_long_lines,
)
from relayq.compose.responsive import DocumentError, Occasion, build_mime, parse_document
from relayq.compose.template import TemplateCache, TemplateError, template_context
from relayq.config import ConfigurationError, load
from relayq.config.entry import Source
from relayq.config.files import parse_file
from relayq.config.problems import Report
from relayq.model import EmailAddress, parse_address
from relayq.model.body import UndecodableBodyError, decode_body
from relayq.model.members import InvalidBodyError, decode_members
from relayq.model.message_json import InvalidMessageError, ParseRules, parse_message
from relayq.smtp import RemoteProtocolError, SmtpClient, TlsMode, Transaction, normalise_line_ends
from relayq.smtp.replies import ReplyParser

MAX_OCTETS: Final = 65_536
NOW: Final = datetime(2026, 11, 21, 20, 0, 0, tzinfo=UTC)
SENDER: Final = parse_address("b@shop.test")
ANNA: Final = parse_address("anna@customer.test")
DATA: Final = {"a": "12 apples", "b": -2.5, "l": ["x", 1, None, [2], {"z": "é"}], "o": {"k": "v", "a-b": {"c": 1}}}
TEMPLATE_SECONDS: Final = 1.0
PRIVATE_KEYS: Final = PrivateKeys()
KEYS: Final = parse_signing_keys([
    {"domain": "shop.test", "selector": "a", "key": "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="},
    {
        "domain": "shop.test", "selector": "b", "key": "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=",
        "canonicalization": "simple/relaxed", "headers": ["X-A", "a"],
    },
])  # fmt: skip
_RENDERED_OCTETS: Final = 4096  # longer templates only repeat what shorter ones can do, and take long


def smtp_replies(octets: bytes) -> None:
    """A whole session: the octets are all that a server ever says, cut where the first one tells."""
    parser = ReplyParser()
    client = SmtpClient(ehlo_name="mta.test", tls=TlsMode.NEVER)
    size = octets[0] + 1 if octets else 1
    begun = False
    for start in range(1, len(octets), size):
        piece = octets[start : start + size]
        parser.feed(piece)
        client.receive_data(piece)
        while client.next_event() is not None:
            pass
        client.data_to_send()
        if client.is_ready and not begun:
            begun = True
            client.begin(Transaction(sender=SENDER, recipient=ANNA, content=b"Subject: x\r\n\r\n.\r\n"))
            client.data_to_send()
    try:
        while parser.next_reply() is not None:
            pass
    except RemoteProtocolError:
        assert parser.has_pending
    assert len(parser.pending) <= MAX_OCTETS


def amqp_frames(octets: bytes) -> None:
    """Everything a broker can send, in pieces."""
    parser = FrameParser()
    size = octets[0] + 1 if octets else 1
    try:
        for start in range(1, len(octets), size):
            parser.feed(octets[start : start + size])
    except ProtocolError as error:
        assert str(error)


def outbox_json(octets: bytes) -> None:
    """A message as it lies in the outbox."""
    try:
        body = decode_body(octets, None, MAX_OCTETS)
        message = parse_message(decode_members(body), ParseRules(loose_envelope=bool(octets[:1] == b" ")))
    except (UndecodableBodyError, InvalidBodyError, InvalidMessageError) as error:
        assert str(error)
    else:
        assert message.recipient.domain


def config_file(octets: bytes) -> None:
    """A configuration file: entries, then the whole configuration."""
    entries = parse_file(octets, "fuzz.txt", Source.FILE, Report())
    try:
        load(entries, environ={}, no_default_config=True, system_hostname=lambda: "mta.test")
    except ConfigurationError as error:
        assert error.problems


def templates(octets: bytes) -> None:
    """A template and data for it; the first octet tells whether it is HTML."""
    text = octets[1:_RENDERED_OCTETS].decode("utf-8", "surrogateescape")
    context = template_context(
        DATA, envelope="b@shop.test", recipient="ann@customer.test", now=NOW, time_left=lambda: TEMPLATE_SECONDS
    )
    try:
        template = TemplateCache().get(
            text, is_html=octets[:1] > b"\x7f", escape="null", time_left=lambda: TEMPLATE_SECONDS
        )
        template.render(context)
    except TemplateError as error:
        assert error.cause


def dns_answers(octets: bytes) -> None:
    """The answer to a question for MX, under the right identifier."""
    query = encode_query("example.test", 15, with_edns=True)
    reply = read_reply(query, query.octets[:2] + octets)
    if reply.message is not None:
        extract(reply.message, "example.test", 15)
        extract(reply.message, "example.test", 52)


def mime(octets: bytes) -> None:
    """A message as text: its line ends made right, looked into, personalised, inlined, edited, recoded, signed."""
    octets = normalise_line_ends(octets)
    assert normalise_line_ends(octets) == octets
    analyse(octets)
    context = template_context(DATA, envelope="b@shop.test", recipient="ann@customer.test", now=NOW)
    edits = parse_header_edits({"append": {"X-New": "é"}, "remove": ["subject"], "replace": {"to": "Anna <a@b.test>"}})
    for step in (
        lambda: personalise_mime(octets, context, force=octets[:1] == b"F"),
        lambda: CssInliner().inline_message(octets),
        lambda: edit_headers(octets, edits),
        lambda: to_seven_bit(octets),
        lambda: treat_long_lines(octets, "wrap"),
        lambda: sign_message(octets, KEYS, NOW, PRIVATE_KEYS),
    ):
        try:
            step()
        except (ComposeError, CssLimitError, TemplateError) as error:
            assert str(error)


def mime_object(octets: bytes) -> None:
    """An object under ``mime``, with and without ``force``."""
    try:
        json.loads(octets)
        members = decode_members(b'{"mime": ' + octets + b"}")
    except (ValueError, RecursionError):
        return
    raw = members.get("mime")
    if raw is None or not bytes(raw).startswith(b"{"):
        return
    sender: EmailAddress = SENDER
    for force in (False, True):
        try:
            plan = parse_document(
                raw, Occasion(envelope=sender, recipient="ann@customer.test", seen_at=NOW, force=force)
            )
            if not plan.downloads:
                build_mime(plan, lambda: "boundary")
        except DocumentError as error:
            assert str(error)


def html_and_css(octets: bytes) -> None:
    """An HTML document, its style sheets inlined."""
    try:
        CssInliner().inline_html(octets.decode("utf-8", "replace"))
    except CssLimitError as error:
        assert str(error)


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "smtp-replies": smtp_replies,
    "amqp-frames": amqp_frames,
    "outbox-json": outbox_json,
    "config-file": config_file,
    "templates": templates,
    "dns-answers": dns_answers,
    "mime": mime,
    "mime-object": mime_object,
    "html-and-css": html_and_css,
}
