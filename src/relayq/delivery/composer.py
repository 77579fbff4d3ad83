"""Content of a message as octets for the wire, in the order of spec html-css-dkim.md 1 and messages.md 6.

Two steps, because one depends on the peer: :meth:`Composer.prepare` before DNS, so what cannot be composed costs no
connection, and :meth:`Composer.finish` on the session, after EHLO: conversion for the peer, then signatures, which must
see the octets that really go out. The stored original is never replaced by what is made here.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar

import msgspec

from relayq.compose import (
    ComposeError,
    HeaderEdits,
    HeaderError,
    PreparedSignatures,
    PrivateKeys,
    SigningKey,
    analyse,
    edit_headers,
    parse_signing_keys,
    prepare_signatures,
    read_header_edits,
)
from relayq.compose.analysis import has_long_line
from relayq.compose.arc import NEW, Arrival, prepare_seal
from relayq.compose.headers import find_header
from relayq.compose.making import (
    Answer,
    Conversion,
    Effort,
    Failed,
    Incomplete,
    Made,
    Maker,
    MakingRules,
    Order,
    OrderOutcome,
    Wanted,
    convert,
)
from relayq.compose.responsive import Download, DownloadFailure, DownloadKind, Resource
from relayq.delivery.arrivals import Arrivals
from relayq.delivery.downloads import Downloads
from relayq.delivery.expectations import Expectations
from relayq.delivery.large_files import Aside, LargeFiles
from relayq.delivery.pace import Pace
from relayq.delivery.threads import WorkThreads
from relayq.delivery.waiting import PARKED_SECONDS, NotNowError
from relayq.model import DeliveryState, Message, Refused, Scope, TimedOut, Unusable
from relayq.model.dkim_entry import decode_dkim
from relayq.model.members import decoded_parts
from relayq.ports import Clock, Workshop, WorkshopUnavailableError
from relayq.smtp import SLICE_OCTETS, Capabilities, Normalised, normalise_line_ends, normalised_parts, normalised_slices

T = TypeVar("T")

QUICK = Effort(template_seconds=0.01, inlining_seconds=0.01, css_steps=200_000, css_characters=4_000)
"""What is done on the loop before the workshop gets the message; a page of CSS steps costs about two milliseconds."""
_QUICK_OCTETS = 64 * 1024
_QUICK_OCTETS_WITH_STYLES = 16 * 1024
_MAX_SLOW = 1024
_PAUSE_AFTER_FAILURE = 20
"""How much longer nothing is tried than was spent on what turned out slow: at most a twentieth of the loop is lost."""
_MAX_USABLE_KEYS = 256
_LARGE_OCTETS = 128 * 1024
"""From here on hashing for a signature costs more than a millisecond with all around it."""
_CONVERTED_ON_LOOP = 32 * 1024
"""Octets: 0.2 ms, or 7 of hostile ones; the way to the workshop and back costs 0.2."""
_EDITED_ON_LOOP = 32 * 1024
"""Octets of a header: up to 3 ms."""

_OPAQUE = frozenset((DownloadKind.ATTACHMENT, DownloadKind.IMAGE, DownloadKind.PROBE))
_OPAQUE_SHARE = 8
"""Files are only encoded, which is so much quicker than reading what was downloaded."""
_USUAL_EFFORT = 1.0
"""One RSA signature of 2048 bits: 0.25 to 1 ms."""
_LARGE_KEY = 2400
"""Characters: an RSA key of 2048 bits has 1,700, its first use takes as long as two signatures."""


class ComposerRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        eight_bit: What happens to 8-bit content for a peer without 8BITMIME.
        long_lines: What happens to lines of more than 998 octets.
        oversign: Sign headers once more than they occur.
        making: For everything but the peer.
    """

    eight_bit: Literal["convert", "send"] = "convert"
    long_lines: Literal["keep", "wrap", "fail"] = "keep"
    oversign: bool = True
    making: MakingRules = MakingRules()


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be sent, before anything that depends on the peer.

    Attributes:
        octets: CRLF line ends, no NUL, before dot-stuffing.
        lead: Signatures in front of a large one, which is not copied for them.
        has_8bit: There are octets above 127.
        has_utf8_headers: Some of them in the header.
        force: Where a step fails, do without it.
        keys: What it is signed with.
        arrival: What its ARC chain was worth when it came; ``None`` if no set is added.
    """

    octets: bytes
    lead: bytes = b""
    has_8bit: bool = False
    has_utf8_headers: bool = False
    force: bool = False
    keys: tuple[SigningKey, ...] = ()
    arrival: Arrival | None = NEW

    @property
    def whole(self) -> bytes:
        """All that is sent, in one piece."""
        return self.lead + self.octets if self.lead else self.octets


class Draft(msgspec.Struct, frozen=True):
    """A message that needs to download something before it can be made.

    Attributes:
        order: How far it has come.
        keys: What it is signed with, besides those in the object.
        arrival: See `Content`.
        downloads: What it needs.
        aside: What the order lacks of the message.
    """

    order: Order
    keys: tuple[SigningKey, ...]
    arrival: Arrival | None
    downloads: tuple[Download, ...] = ()
    aside: Aside | None = None


class Composer:
    """Makes content.

    What takes long is done elsewhere: signing in threads, because an RSA signature costs more than the rest of a
    delivery and holds no lock; composing beyond a small effort in the workshop.
    """

    def __init__(
        self,
        rules: ComposerRules,
        clock: Clock,
        warn: Callable[[str, str], None],
        workshop: Workshop,
        downloads: Downloads,
        arrivals: Arrivals,
        *,
        spare_cores: int = 1,
        keys_of_author: Callable[[bytes], tuple[SigningKey, ...]] | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            rules: Settings.
            clock: Both clocks.
            warn: Told what to write into the application log: component and text.
            workshop: Composes beside the loop.
            downloads: Fetches what messages name by address.
            arrivals: Judges the ARC chains messages come with.
            spare_cores: Processors that nobody uses who does what we do. Without any, a usual signature is made on the
                loop: the way to a thread would only cost.
            keys_of_author: Keys that sign a message because of its author, whatever comes with it.
        """
        self._rules = rules
        self._clock = clock
        self._warn = warn
        self._workshop = workshop
        self._downloads = downloads
        self._expectations = Expectations()
        self._arrivals = arrivals
        self._keys_of_author = keys_of_author
        self._private_keys = PrivateKeys()
        self._maker = Maker(rules.making, clock.monotonic, _make_boundary)
        self._pace = Pace()
        self._large_files = LargeFiles(self._paced)
        self._usable_keys: dict[bytes, tuple[SigningKey, ...]] = {}
        self._try_again_at = 0.0
        self._slow: OrderedDict[bytes, None] = OrderedDict()
        self._effort_on_loop = 0.0 if spare_cores else _USUAL_EFFORT
        self._threads = WorkThreads(max(spare_cores, 1))

    def reconfigure(self, rules: ComposerRules) -> None:
        """Other rules from the next message on."""
        self._rules = rules
        self._usable_keys.clear()
        self._maker = Maker(rules.making, self._clock.monotonic, _make_boundary)

    def close(self) -> None:
        """End the threads and the workshop."""
        self._workshop.close()
        self._threads.close()

    # --- before DNS -------------------------------------------------------------------------------------------------

    async def check(self, message: Message) -> None:
        """See what can be told of a message whose content is not loaded yet, so that it costs no connection.

        Raises:
            DeliveryError: As for `prepare`.
        """
        if message.dkim is not None:
            await self._signing_keys(message)
        if "headers" in message.members:
            _parse_edits(message)

    def prepare_plain(self, message: Message) -> Content | None:
        """Content of a message that is nearly ready as it came; ``None`` for any other, which `prepare` takes."""
        mime = message.mime
        if mime is None or len(mime) > SLICE_OCTETS or b"\0" in mime:
            return None
        is_plain = message.dkim is None and message.data is None and not message.inline_css
        if not is_plain or message.mime_object is not None or "headers" in message.members:
            return None
        return self._to_content(normalise_line_ends(mime), (), NEW, force=message.force)

    async def prepare(self, message: Message, seen_at: datetime) -> Content | Draft:
        """Content of a message that carries it in the JSON; a draft if something has to be downloaded for it.

        Args:
            message: What is to be sent.
            seen_at: First due pick-up: what makes ``Date`` and ``Message-ID`` of a composed message the same on every
                attempt.

        Raises:
            DeliveryError: ``responsive/error``: it cannot be composed, or needs something that cannot be done;
                ``amqp/invalid``: ``headers`` is not usable.
        """
        keys = () if message.dkim is None else await self._signing_keys(message)
        edits = _parse_edits(message) if "headers" in message.members else None
        octets = b"" if message.mime_object is not None else await self._read(message)
        mime = message.mime_object
        aside = None if mime is None else await self._large_files.of(message, mime, seen_at)
        arrival: Arrival | None = NEW
        if message.mime_object is None and any("arc" in key.protocols for key in keys):
            arrival = await self._arrivals.judge(octets, self._threads.do if len(octets) > _LARGE_OCTETS else None)
        if message.mime_object is None and message.data is None and not message.inline_css:
            if edits is None:
                return self._to_content(octets, keys, arrival, force=message.force)
            if len(octets) <= _EDITED_ON_LOOP or find_header(octets).end <= _EDITED_ON_LOOP:
                return self._to_content(edit_headers(octets, edits), keys, arrival, force=message.force)
        order = Order(
            recipient=message.recipient.text,
            sender=message.sender,
            now=self._clock.now(),
            seen_at=seen_at,
            mime=octets,
            mime_object=aside.outline if aside is not None else None if mime is None else bytes(mime),
            data=None if message.data is None else bytes(message.data),
            force=message.force,
            inline_css=message.inline_css,
            edits=edits,
            slots=() if aside is None else aside.slots,
            digest=None if aside is None else aside.digest,
        )
        draft = Draft(order, keys, arrival, aside=aside)
        if order.mime_object is not None and (expected := self._expectations.of(order.mime_object)):
            draft = self._with_answers(draft, self._downloads.known(expected) or {})
        return await self._go_on(draft)

    async def _read(self, message: Message) -> bytes:
        """A string ``mime`` with CRLF line ends and without NUL; a large one is read in several turns of the loop."""
        if message.large_mime is not None:
            return await self._read_large(message.large_mime, force=message.force)
        mime = message.mime
        assert mime is not None
        if b"\0" in mime:
            if not message.force:
                raise _impossible("mime: NUL octet")
            mime = mime.replace(b"\0", b"")
        if len(mime) <= SLICE_OCTETS:
            return normalise_line_ends(mime)
        normalised = Normalised(mime)
        work = normalised_slices(mime)
        while (piece := await self._paced(partial(next, work, None))) is not None:
            normalised.add(piece)
        return normalised.octets

    async def _read_large(self, mime: msgspec.Raw, *, force: bool) -> bytes:
        """The same, from JSON to octets for the wire without anything in between."""
        octets = io.BytesIO()
        parts = normalised_parts(_without_nul(decoded_parts(mime), force=force))
        while (piece := await self._paced(partial(next, parts, None))) is not None:
            octets.write(piece)
        return octets.getvalue()

    async def _paced(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, done on the loop when it has time for it."""
        await self._pace.turn()
        begun = self._clock.monotonic()
        try:
            return work()
        finally:
            self._pace.spend(self._clock.monotonic() - begun)

    async def complete(self, draft: Draft) -> Content:
        """Content after its downloads, which may take a while.

        Raises:
            DeliveryError: As for `prepare`, and ``responsive/timeout``: a download failed that may succeed later.
        """
        content: Content | Draft = draft
        async with self._downloads.room(draft.downloads):
            while isinstance(content, Draft):
                found = await self._downloads.fetch(content.downloads)
                content = await self._go_on(self._with_answers(content, found))
        return content

    async def _go_on(self, draft: Draft) -> Content | Draft:
        """Make what is ordered, as far as it comes with what was downloaded before."""
        while isinstance(outcome := await self._work_on(draft.order), Wanted | Incomplete):
            if isinstance(outcome, Incomplete):
                assert draft.aside is not None  # or it would lack nothing
                draft = msgspec.structs.replace(draft, order=LargeFiles.whole(draft.order, draft.aside), aside=None)
                continue
            known = self._downloads.known(outcome.downloads)
            if known is None:
                return msgspec.structs.replace(draft, downloads=outcome.downloads)
            draft = self._with_answers(draft, known)
        if isinstance(outcome, Failed):
            kind = TimedOut if outcome.is_temporary else Refused
            raise kind(DeliveryState.RESPONSIVE, Scope.MESSAGE, outcome.reason)
        for note in outcome.notes:
            self._warn("compose", f"{draft.order.recipient}: {note}")
        if draft.order.answers and draft.order.mime_object is not None:
            needed = tuple(answer.download for answer in draft.order.answers)
            self._expectations.learn(draft.order.mime_object, needed)
        keys = draft.keys + outcome.keys
        octets = outcome.octets if draft.aside is None else await self._large_files.put_in(outcome.octets, draft.aside)
        return self._to_content(octets, keys, draft.arrival, force=draft.order.force)

    def _to_content(
        self, octets: bytes, keys: tuple[SigningKey, ...], arrival: Arrival | None, *, force: bool
    ) -> Content:
        if self._keys_of_author is not None:
            keys += self._keys_of_author(octets)
        if octets.isascii():
            return Content(octets=octets, force=force, keys=keys, arrival=arrival)
        return Content(
            octets=octets,
            has_8bit=True,
            has_utf8_headers=analyse(octets).has_utf8_headers,
            force=force,
            keys=keys,
            arrival=arrival,
        )

    def _with_answers(self, draft: Draft, found: Mapping[Download, Resource | DownloadFailure]) -> Draft:
        answers, aside = list(draft.order.answers), draft.aside
        for download, found_or_not in found.items():
            if isinstance(found_or_not, Resource):
                answer, aside = self._large_files.answer(Answer(download, found=found_or_not), aside)
            else:
                answer = Answer(download, failure=found_or_not)
            answers.append(answer)
        order = msgspec.structs.replace(draft.order, answers=tuple(answers))
        return msgspec.structs.replace(draft, order=order, downloads=(), aside=aside)

    async def _work_on(self, order: Order) -> OrderOutcome:
        """Here if it can be done in no time, else in the workshop."""
        if _is_small(order) and not (self._slow and _digest(order) in self._slow):
            await self._pace.turn()
            begun = self._clock.monotonic()
            if begun >= self._try_again_at:
                outcome = self._maker.try_make(order, QUICK)
                ended = self._clock.monotonic()
                self._pace.spend(ended - begun)
                if outcome is not None:
                    return outcome
                self._remember_as_slow(order, ended, ended - begun)
        return await self._have_made(order)

    async def _have_made(self, order: Order | Conversion) -> OrderOutcome:
        try:
            return await self._workshop.make(order)
        except WorkshopUnavailableError as error:
            raise NotNowError(PARKED_SECONDS, f"composing: {error}") from None

    def _remember_as_slow(self, order: Order, now: float, seconds: float) -> None:
        """The next message with this text will take as long; those with others may, so not too much is tried."""
        self._try_again_at = now + seconds * _PAUSE_AFTER_FAILURE
        self._slow[_digest(order)] = None
        if len(self._slow) > _MAX_SLOW:
            self._slow.popitem(last=False)

    async def _signing_keys(self, message: Message) -> tuple[SigningKey, ...]:
        """Keys of the message; a bad one is found here, before a connection is made."""
        assert message.dkim is not None
        given = bytes(message.dkim)
        keys = self._usable_keys.get(given)
        if keys is not None:
            return keys
        try:
            keys = parse_signing_keys(decode_dkim(message.dkim), oversign=self._rules.oversign)
            if not message.force:
                await self._load(keys)
                self._usable_keys[given] = keys
                if len(self._usable_keys) > _MAX_USABLE_KEYS:
                    del self._usable_keys[next(iter(self._usable_keys))]
        except ComposeError as error:
            raise _impossible(f"dkim: {error}") from None
        return keys

    async def _load(self, keys: tuple[SigningKey, ...]) -> None:
        now = self._clock.now()
        private_keys = self._private_keys
        for key in keys:
            if key.expire_at is not None and key.expire_at <= now:
                continue
            if len(key.key) > _LARGE_KEY and not private_keys.is_known(key.key):
                await self._threads.do(partial(private_keys.load, key.key))
            else:
                private_keys.load(key.key)

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
        is_taken = self._is_taken(content, capabilities)
        if not is_taken or (self._rules.long_lines != "keep" and has_long_line(octets)):
            octets = await self._convert(content, to_seven_bit=not is_taken)
        lead = b""
        if content.keys:
            lead, octets = await self._sign(octets, content)
            if len(octets) <= _LARGE_OCTETS:
                lead, octets = b"", lead + octets
        return msgspec.structs.replace(content, octets=octets, lead=lead, has_8bit=not octets.isascii(), keys=())

    async def _convert(self, content: Content, *, to_seven_bit: bool) -> bytes:
        """The octets as the peer and the operator want them; large ones are left to the workshop."""
        conversion = Conversion(
            octets=content.octets, to_seven_bit=to_seven_bit, long_lines=self._rules.long_lines, force=content.force
        )
        if len(content.octets) <= _CONVERTED_ON_LOOP:
            outcome: OrderOutcome = await self._paced(partial(convert, conversion))
        else:
            outcome = await self._have_made(conversion)
        if isinstance(outcome, Made):
            return outcome.octets
        assert isinstance(outcome, Failed)
        raise _impossible(outcome.reason)

    async def _sign(self, octets: bytes, content: Content) -> tuple[bytes, bytes]:
        """DKIM signatures, and the content with an ARC set, as far as there are keys for them."""
        try:
            if content.arrival is not None and any("arc" in key.protocols for key in content.keys):
                octets = await self._seal(octets, content, content.arrival)
            if len(octets) > _LARGE_OCTETS:
                prepared = await self._threads.do(partial(self._prepare_signatures, octets, content))
            else:
                prepared = self._prepare_signatures(octets, content)
            for note in prepared.notes:
                self._warn("dkim", note)
            signatures = await self._calculate(prepared)
        except ComposeError as error:
            raise _impossible(f"dkim: {error}") from None
        return signatures, octets

    async def _seal(self, octets: bytes, content: Content, arrival: Arrival) -> bytes:
        now, host_name = self._clock.now(), self._rules.making.responsive.host_name
        prepare = partial(prepare_seal, octets, content.keys, arrival, host_name, now, self._private_keys)
        prepared, notes = await self._threads.do(prepare) if len(octets) > _LARGE_OCTETS else prepare()
        for note in notes:
            self._warn("arc", note)
        return octets if prepared is None else await self._threads.do(prepared.sign) + octets

    def _prepare_signatures(self, octets: bytes, content: Content) -> PreparedSignatures:
        return prepare_signatures(octets, content.keys, self._clock.now(), self._private_keys, force=content.force)

    async def _calculate(self, prepared: PreparedSignatures) -> bytes:
        effort = prepared.effort
        if effort > self._effort_on_loop:
            return await self._threads.do(prepared.sign)
        if not effort:
            return prepared.sign()
        return await self._paced(prepared.sign)


def _is_small(order: Order) -> bool:
    octets = len(order.mime) + len(order.mime_object or b"") + len(order.data or b"")
    for answer in order.answers:
        if answer.found is not None:
            if answer.download.kind is DownloadKind.FEED:
                return False
            octets += len(answer.found.body) // (_OPAQUE_SHARE if answer.download.kind in _OPAQUE else 1)
    return octets <= (_QUICK_OCTETS_WITH_STYLES if order.inline_css else _QUICK_OCTETS)


def _digest(order: Order) -> bytes:
    """The same for messages of one campaign: of what is the same in all of them."""
    return hashlib.blake2b(order.mime if order.mime_object is None else order.mime_object, digest_size=16).digest()


def _without_nul(parts: Iterable[bytes], *, force: bool) -> Iterator[bytes]:
    for part in parts:
        if b"\0" not in part:
            yield part
        elif force:
            yield part.replace(b"\0", b"")
        else:
            raise _impossible("mime: NUL octet")


def _parse_edits(message: Message) -> HeaderEdits:
    try:
        return read_header_edits(message.members["headers"])
    except HeaderError as error:
        raise Unusable(DeliveryState.AMQP, Scope.MESSAGE, str(error)) from None


def _impossible(reason: str) -> Refused:
    return Refused(DeliveryState.RESPONSIVE, Scope.MESSAGE, reason)


def _make_boundary() -> str:
    return f"=_{secrets.token_hex(16)}"
