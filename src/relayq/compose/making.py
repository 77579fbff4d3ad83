"""A whole message made from what its JSON asks for: personalised, composed from an object, style sheets inlined.

One pure function of an `Order`, so that it can run wherever there is time for it: in the worker, whose loop it must not
hold up, or in a process beside it. `Maker.try_make` therefore takes an `Effort`: beyond a small one it gives up early,
and somebody else does the same work with a large one. A `Conversion` is the other kind of work: what a peer cannot take
is encoded anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from relayq.compose.css_matching import MAX_CSS_CHARACTERS, UNLIMITED_STEPS, CssLimitError, Patience
from relayq.compose.eightbit import to_seven_bit
from relayq.compose.errors import ComposeError, ConversionImpossibleError, LongLineError
from relayq.compose.headers import HeaderEdits, edit_headers
from relayq.compose.inline_css import CssInliner
from relayq.compose.long_lines import treat_long_lines
from relayq.compose.personalise import personalise_mime
from relayq.compose.responsive import (
    DocumentError,
    Download,
    DownloadFailure,
    Occasion,
    Resource,
    ResponsiveOptions,
    build_mime,
    parse_document,
)
from relayq.compose.responsive.downloads import ContentNeededError, Slot
from relayq.compose.responsive.values import decode_json
from relayq.compose.signing_keys import SigningKey
from relayq.compose.template import template_context
from relayq.model import EmailAddress


class MakingRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        template_headers: Headers of a string ``mime`` that are templates, in lower case.
        escape: Escaping of values in HTML parts that ask for none themselves.
        responsive: For a ``mime`` that is an object.
        inline_important: Rules that stay in a style sheet win against inlined ones (``inlinecss-important``).
    """

    template_headers: tuple[str, ...] = ("subject",)
    escape: str = "none"
    responsive: ResponsiveOptions = ResponsiveOptions()
    inline_important: bool = True


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How much work a message is worth.

    Attributes:
        template_seconds: For all templates of the message (spec templates.md 10).
        inlining_seconds: For all style sheets of the message (spec html-css-dkim.md 2.5).
        css_steps: Work of matching selectors in one document; see `Patience`.
        css_characters: Of style sheets in one document that were not seen before.
    """

    template_seconds: float = 2.0
    inlining_seconds: float = 5.0
    css_steps: int = UNLIMITED_STEPS
    css_characters: int = MAX_CSS_CHARACTERS


FULL_EFFORT = Effort()
"""What the specification grants."""


class Answer(msgspec.Struct, frozen=True):
    """What became of a download: one of the two."""

    download: Download
    found: Resource | None = None
    failure: DownloadFailure | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is to be made; it holds everything that has a say in it.

    Attributes:
        recipient: As given.
        sender: ``None`` for the null sender.
        now: The time templates see.
        seen_at: First due pick-up; decides ``Date`` and ``Message-ID`` of an object.
        mime: A message with CRLF line ends and without NUL; empty where there is an object.
        mime_object: The description of a message in JSON.
        data: Variables in JSON, ``None`` for no personalisation.
        force: Where a step fails, do without it.
        inline_css: Move style sheets into the elements.
        edits: Of the header, when all else is done.
        answers: What was downloaded for the object so far.
        slots: Large files of the object that are kept aside; the message made has their markers.
        digest: Of the object with these files.
    """

    recipient: str
    sender: EmailAddress | None
    now: datetime
    seen_at: datetime
    mime: bytes = b""
    mime_object: bytes | None = None
    data: bytes | None = None
    force: bool = False
    inline_css: bool = False
    edits: HeaderEdits | None = None
    answers: tuple[Answer, ...] = ()
    slots: tuple[Slot, ...] = ()
    digest: str | None = None

    def __repr__(self) -> str:
        """Without content: this lands in logs."""
        return f"Order({self.recipient!r})"


class Conversion(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Content that a peer does not take as it is.

    Attributes:
        octets: CRLF line ends.
        to_seven_bit: The peer takes no octets above 127.
        long_lines: What happens to lines of more than 998 octets.
        force: Where a step fails, do without it.
    """

    octets: bytes
    to_seven_bit: bool = False
    long_lines: Literal["keep", "wrap", "fail"] = "keep"
    force: bool = False

    def __repr__(self) -> str:
        """Without content: this lands in logs."""
        return f"Conversion({len(self.octets)} octets)"


class Made(msgspec.Struct, frozen=True, tag=True):
    """The message.

    Attributes:
        octets: CRLF line ends.
        keys: Signing keys that stand in the object.
        notes: For the application log: field or place, and what was left out or left as it was.
    """

    octets: bytes
    keys: tuple[SigningKey, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without content and keys."""
        return f"Made({len(self.octets)} octets)"


class Wanted(msgspec.Struct, frozen=True, tag=True):
    """Nothing can be made before these were downloaded."""

    downloads: tuple[Download, ...]


class Incomplete(msgspec.Struct, frozen=True, tag=True):
    """It cannot be made without the files that are kept aside."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot be made.

    Attributes:
        reason: Field or place, and cause, without content.
        is_temporary: A download was not answered in time.
    """

    reason: str
    is_temporary: bool = False


OrderOutcome = Made | Wanted | Incomplete | Failed
"""What becomes of an order."""


class _Stopwatch:
    """Counts down, and remembers whether anybody was told that the time is up."""

    __slots__ = ("_monotonic", "_until", "is_over")

    def __init__(self, monotonic: Callable[[], float], seconds: float) -> None:
        self._monotonic = monotonic
        self._until = monotonic() + seconds
        self.is_over = False

    def time_left(self) -> float:
        left = self._until - self._monotonic()
        if left <= 0:
            self.is_over = True
        return left

    def is_late(self) -> bool:
        return self.time_left() <= 0


class Maker:
    """Makes messages, and remembers templates and style sheets."""

    def __init__(self, rules: MakingRules, monotonic: Callable[[], float], make_boundary: Callable[[], str]) -> None:
        """Prepare to make messages.

        Args:
            rules: Settings.
            monotonic: Clock in seconds.
            make_boundary: Gives a boundary that nobody can foresee.
        """
        self._rules = rules
        self._monotonic = monotonic
        self._make_boundary = make_boundary
        self._inliner = CssInliner(important=rules.inline_important)

    def make(self, order: Order | Conversion) -> OrderOutcome:
        """The message, what it lacks, or why there will be none."""
        if isinstance(order, Conversion):
            return convert(order)
        outcome = self.try_make(order, FULL_EFFORT, is_final=True)
        assert outcome is not None
        return outcome

    def try_make(self, order: Order, effort: Effort, *, is_final: bool = False) -> OrderOutcome | None:
        """The same with less effort; ``None`` if that was not enough, unless ``is_final``."""
        templates = _Stopwatch(self._monotonic, effort.template_seconds)
        try:
            if order.mime_object is None:
                outcome: Made | Wanted = self._personalise(order, templates)
            else:
                outcome = self._compose(order, order.mime_object, templates)
        except ContentNeededError:
            return Incomplete()
        except DocumentError as error:
            outcome_or_failure: Made | Wanted | Failed = Failed(str(error), error.is_temporary)
        except ComposeError as error:
            outcome_or_failure = Failed(str(error))
        else:
            outcome_or_failure = outcome
        if templates.is_over and not is_final:
            return None
        if not isinstance(outcome_or_failure, Made):
            return outcome_or_failure
        made: Made | Failed | None = outcome_or_failure
        if order.inline_css:
            made = self._inline(order, outcome_or_failure, effort, is_final=is_final)
        if order.edits is not None and isinstance(made, Made):
            return Made(edit_headers(made.octets, order.edits), made.keys, made.notes)
        return made

    def _personalise(self, order: Order, stopwatch: _Stopwatch) -> Made:
        """A string with its templates rendered."""
        if order.data is None:
            return Made(order.mime)
        try:
            data = decode_json(order.data)
        except ValueError as error:
            raise ComposeError(f"data: {error}") from None
        context = template_context(
            data if isinstance(data, dict) else {},
            envelope="" if order.sender is None else order.sender.text,
            recipient=order.recipient,
            now=order.now,
            time_left=stopwatch.time_left,
        )
        rules = self._rules
        octets, failed = personalise_mime(
            order.mime, context, force=order.force, headers=rules.template_headers, escape=rules.escape
        )
        return Made(octets, notes=tuple(f"sent unpersonalised: {unrendered}" for unrendered in failed))

    def _compose(self, order: Order, mime_object: bytes, stopwatch: _Stopwatch) -> Made | Wanted:
        """An object turned into a message."""
        occasion = Occasion(
            envelope=order.sender,
            recipient=order.recipient,
            seen_at=order.seen_at,
            data=order.data,
            force=order.force,
            now=order.now,
            time_left=stopwatch.time_left,
            options=self._rules.responsive,
            slots=order.slots,
            digest=order.digest,
        )
        found = {answer.download: answer.found or answer.failure or _UNANSWERED for answer in order.answers}
        plan = parse_document(mime_object, occasion, found)
        if plan.downloads:
            return Wanted(plan.downloads)
        return Made(build_mime(plan, self._make_boundary), plan.signing_keys, plan.notes)

    def _inline(self, order: Order, made: Made, effort: Effort, *, is_final: bool) -> Made | Failed | None:
        """Style sheets moved into the elements; with ``force`` a part beyond the limits stays as it is."""
        stopwatch = _Stopwatch(self._monotonic, effort.inlining_seconds)
        patience = Patience(stopwatch.is_late, effort.css_steps, effort.css_characters)
        try:
            octets, left = self._inliner.inline_message(made.octets, patience, force=order.force and is_final)
        except CssLimitError as error:
            return Failed(f"inlinecss: {error}") if is_final else None
        notes = tuple(f"inlinecss: sent as it was: {note}" for note in left)
        return Made(octets, made.keys, made.notes + notes)


def convert(conversion: Conversion) -> Made | Failed:
    """Content as a peer takes it: 7 bit if it has to be, then with lines that are short enough."""
    octets = conversion.octets
    try:
        if conversion.to_seven_bit:
            octets = to_seven_bit(octets)
    except ConversionImpossibleError as error:
        if not conversion.force:
            return Failed(f"the server takes no 8-bit content: {error}")
    try:
        octets = treat_long_lines(octets, conversion.long_lines)
    except LongLineError as error:
        if not conversion.force:
            return Failed(f"mime: {error}")
    return Made(octets)


_UNANSWERED = DownloadFailure("not answered", is_temporary=True)
