"""Content of a message as octets for the wire, in the order of spec html-css-dkim.md 1 and messages.md 6.

Two steps, because one depends on the peer: :meth:`Composer.prepare` before DNS, so what cannot be composed costs no
connection, and :meth:`Composer.finish` on the session, after EHLO: conversion for the peer, then signatures, which must
see the octets that really go out. The stored original is never replaced by what is made here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Literal

import msgspec

from relayq.compose import (
    ComposeError,
    ConversionImpossibleError,
    CssInliner,
    HeaderEdits,
    HeaderError,
    LongLineError,
    PrivateKeys,
    SigningKey,
    analyse,
    edit_headers,
    parse_header_edits,
    parse_signing_keys,
    prepare_signatures,
    to_seven_bit,
    treat_long_lines,
)
from relayq.compose.personalise import personalise_mime
from relayq.compose.responsive import DownloadFailure, ResponsiveOptions, build_mime, parse_document
from relayq.compose.template import TemplateError, template_context
from relayq.model import DeliveryState, Message, Refused, Scope, Unusable
from relayq.model.members import decode_value
from relayq.ports import Clock
from relayq.smtp import Capabilities, normalise_line_ends

TEMPLATE_SECONDS = 2.0
"""For all templates of one message (spec templates.md 10)."""
INLINING_SECONDS = 5.0
"""For all style sheets of one message (spec html-css-dkim.md 2.5)."""
SIGNING_THREADS = 2

_NO_DOWNLOADS = DownloadFailure("downloads are not supported yet", is_temporary=False)


class ComposerRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        eight_bit: What happens to 8-bit content for a peer without 8BITMIME.
        long_lines: What happens to lines of more than 998 octets.
        oversign: Sign headers once more than they occur.
        template_headers: Headers of a string ``mime`` that are templates, in lower case.
        escape: Escaping of values in HTML parts that ask for none themselves.
        responsive: For a ``mime`` that is an object.
        inline_important: Rules that stay in a style sheet win against inlined ones (``inlinecss-important``).
    """

    eight_bit: Literal["convert", "send"] = "convert"
    long_lines: Literal["keep", "wrap", "fail"] = "keep"
    oversign: bool = True
    template_headers: tuple[str, ...] = ("subject",)
    escape: Literal["none", "html"] = "none"
    responsive: ResponsiveOptions = ResponsiveOptions()
    inline_important: bool = True


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be sent, before anything that depends on the peer.

    Attributes:
        octets: CRLF line ends, no NUL, before dot-stuffing.
        has_8bit: There are octets above 127.
        has_utf8_headers: Some of them in the header.
        force: Where a step fails, do without it.
        keys: What it is signed with.
    """

    octets: bytes
    has_8bit: bool = False
    has_utf8_headers: bool = False
    force: bool = False
    keys: tuple[SigningKey, ...] = ()


class Composer:
    """Makes content. Signing runs in threads: one RSA signature costs more than the rest of a delivery."""

    def __init__(self, rules: ComposerRules, clock: Clock, warn: Callable[[str, str], None]) -> None:
        self._rules = rules
        self._clock = clock
        self._warn = warn
        self._private_keys = PrivateKeys()
        self._inliner = CssInliner(important=rules.inline_important)
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the signing threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    # --- before DNS -------------------------------------------------------------------------------------------------

    def check(self, message: Message) -> None:
        """See what can be told of a message whose content is not loaded yet, so that it costs no connection.

        Raises:
            DeliveryError: As for `prepare`.
        """
        if message.dkim is not None:
            self._signing_keys(message)
        if "headers" in message.members:
            _parse_edits(message)

    async def prepare(self, message: Message, seen_at: datetime) -> Content:
        """Content of a message that carries it in the JSON.

        Args:
            message: What is to be sent.
            seen_at: First due pick-up: what makes ``Date`` and ``Message-ID`` of a composed message the same on every
                attempt.

        Raises:
            DeliveryError: ``responsive/error``: it cannot be composed, or needs something that cannot be done;
                ``amqp/invalid``: ``headers`` is not usable.
        """
        keys = () if message.dkim is None else self._signing_keys(message)
        if message.mime_object is not None:
            octets, further_keys = self._build(message, seen_at)
            keys += further_keys
        else:
            octets = self._read(message)
        if message.inline_css:
            octets = self._inline(message, octets)
        if "headers" in message.members:
            octets = _edit_headers(message, octets)
        if octets.isascii():
            return Content(octets=octets, force=message.force, keys=keys)
        found = analyse(octets)
        return Content(
            octets=octets, has_8bit=True, has_utf8_headers=found.has_utf8_headers, force=message.force, keys=keys
        )

    def _read(self, message: Message) -> bytes:
        """A string ``mime``, personalised if the message has data."""
        mime = message.mime
        assert mime is not None
        if b"\0" in mime:
            if not message.force:
                raise _impossible("mime: NUL octet")
            mime = mime.replace(b"\0", b"")
        octets = normalise_line_ends(mime)
        return octets if message.data is None else self._personalise(message, octets)

    def _build(self, message: Message, seen_at: datetime) -> tuple[bytes, tuple[SigningKey, ...]]:
        """An object ``mime`` turned into a message, and the keys that stand in it."""
        assert message.mime_object is not None
        until = self._clock.monotonic() + TEMPLATE_SECONDS
        try:
            plan = parse_document(
                message.mime_object,
                envelope=message.sender,
                recipient=message.recipient.text,
                seen_at=seen_at,
                data=message.data,
                force=message.force,
                now=self._clock.now(),
                time_left=lambda: until - self._clock.monotonic(),
                options=self._rules.responsive,
            )
            while plan.downloads:
                plan = plan.with_resources(dict.fromkeys(plan.downloads, _NO_DOWNLOADS))
            octets = build_mime(plan, _make_boundary)
        except ComposeError as error:
            raise _impossible(str(error)) from None
        for note in plan.notes:
            self._warn("compose", f"{message.recipient.text}: {note}")
        return octets, plan.signing_keys

    def _personalise(self, message: Message, octets: bytes) -> bytes:
        assert message.data is not None
        try:
            data = decode_value(message.data)
        except ValueError as error:
            raise _impossible(f"data: {error}") from None
        until = self._clock.monotonic() + TEMPLATE_SECONDS
        context = template_context(
            data if isinstance(data, dict) else {},
            envelope="" if message.sender is None else message.sender.text,
            recipient=message.recipient.text,
            now=self._clock.now(),
            time_left=lambda: until - self._clock.monotonic(),
        )
        rules = self._rules
        try:
            rendered, failed = personalise_mime(
                octets, context, force=message.force, headers=rules.template_headers, escape=rules.escape
            )
        except TemplateError as error:
            raise _impossible(str(error)) from None
        for unrendered in failed:
            self._warn("compose", f"{message.recipient.text}: sent unpersonalised: {unrendered}")
        return rendered

    def _inline(self, message: Message, octets: bytes) -> bytes:
        """Style sheets moved into the elements, part by part; with ``force`` a part beyond the limits stays."""
        until = self._clock.monotonic() + INLINING_SECONDS
        try:
            inlined, left = self._inliner.inline_message(
                octets, is_late=lambda: self._clock.monotonic() >= until, force=message.force
            )
        except ComposeError as error:
            raise _impossible(f"inlinecss: {error}") from None
        for note in left:
            self._warn("compose", f"{message.recipient.text}: inlinecss: sent as it was: {note}")
        return inlined

    def _signing_keys(self, message: Message) -> tuple[SigningKey, ...]:
        """Keys of the message; a bad one is found here, before a connection is made."""
        assert message.dkim is not None
        now = self._clock.now()
        try:
            keys = parse_signing_keys(decode_value(message.dkim), oversign=self._rules.oversign)
            for key in keys:
                if not message.force and (key.expire_at is None or key.expire_at > now):
                    self._private_keys.load(key.key)
        except ComposeError as error:
            raise _impossible(f"dkim: {error}") from None
        return keys

    # --- on the session ---------------------------------------------------------------------------------------------

    def is_final(self, content: Content, capabilities: Capabilities) -> bool:
        """Nothing is left to be done for this peer."""
        return not content.keys and self._rules.long_lines == "keep" and self._is_taken(content, capabilities)

    def _is_taken(self, content: Content, capabilities: Capabilities) -> bool:
        return not content.has_8bit or capabilities.eight_bit_mime or self._rules.eight_bit == "send"

    async def finish(self, content: Content, capabilities: Capabilities) -> Content:
        """The same content as this peer can take it, signed.

        Raises:
            Refused: ``responsive/error``: it cannot be converted or signed.
        """
        octets = content.octets
        if not self._is_taken(content, capabilities):
            octets = self._to_seven_bit(content)
        octets = self._treat_long_lines(octets, force=content.force)
        if content.keys:
            octets = await self._sign(octets, content)
        return msgspec.structs.replace(content, octets=octets, has_8bit=not octets.isascii(), keys=())

    def _to_seven_bit(self, content: Content) -> bytes:
        try:
            return to_seven_bit(content.octets)
        except ConversionImpossibleError as error:
            if content.force:
                return content.octets
            raise _impossible(f"the server takes no 8-bit content: {error}") from None

    def _treat_long_lines(self, octets: bytes, *, force: bool) -> bytes:
        try:
            return treat_long_lines(octets, self._rules.long_lines)
        except LongLineError as error:
            if force:
                return octets
            raise _impossible(f"mime: {error}") from None

    async def _sign(self, octets: bytes, content: Content) -> bytes:
        try:
            prepared = prepare_signatures(
                octets, content.keys, self._clock.now(), self._private_keys, force=content.force
            )
            for note in prepared.notes:
                self._warn("dkim", note)
            if not prepared.is_slow:
                return prepared.sign() + octets
            if self._threads is None:
                self._threads = ThreadPoolExecutor(SIGNING_THREADS, "sign")
            return await asyncio.get_running_loop().run_in_executor(self._threads, prepared.sign) + octets
        except ComposeError as error:
            raise _impossible(f"dkim: {error}") from None


def _edit_headers(message: Message, octets: bytes) -> bytes:
    return edit_headers(octets, _parse_edits(message))


def _parse_edits(message: Message) -> HeaderEdits:
    try:
        return parse_header_edits(decode_value(message.members["headers"]))
    except (HeaderError, ValueError) as error:
        raise Unusable(DeliveryState.AMQP, Scope.MESSAGE, f"headers: {error}") from None


def _impossible(reason: str) -> Refused:
    return Refused(DeliveryState.RESPONSIVE, Scope.MESSAGE, reason)


def _make_boundary() -> str:
    return f"=_{secrets.token_hex(16)}"
