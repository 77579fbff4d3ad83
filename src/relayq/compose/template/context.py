"""What a rendering sees, and what it has used up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from relayq.compose.template.errors import TemplateError
from relayq.compose.template.limits import (
    LONG_TEXT,
    MAX_KEPT,
    MAX_OCTETS,
    MAX_TURNS,
    TimeLeft,
    check_size,
    check_time,
    octets_of,
    unlimited,
)

_EFFORT_PER_CHECK = 1 << 20
"""Characters looked at between two questions for the time: about a millisecond."""
_TURN_EFFORT = 1 << 13


class TemplateContext(msgspec.Struct, frozen=True):
    """What the templates of one message see.

    Attributes:
        variables: Decoded JSON values by name.
        now: Unix time in seconds.
        time_left: Seconds left for all templates of the message.
    """

    variables: Mapping[str, object]
    now: int
    time_left: TimeLeft


def template_context(
    data: Mapping[str, object],
    *,
    envelope: str,
    recipient: str,
    now: datetime,
    time_left: TimeLeft = unlimited,
) -> TemplateContext:
    """Context of a message: its data and the predefined variables, which data of the same name hides.

    Args:
        data: Decoded ``data`` of the message.
        envelope: Sender, empty for the null one.
        recipient: Recipient.
        now: The time templates see.
        time_left: Seconds left for the message, asked now and then (spec templates.md 10: two in total).
    """
    seconds = int(now.timestamp())
    predefined = {"envelope": envelope, "recipient": recipient, "smarty": {"now": seconds}}
    return TemplateContext({**predefined, **data}, seconds, time_left)


class Rendering:
    """One rendering of one template: its variables, its output and its share of the limits.

    Effort is counted in characters, for what takes longer the longer a text is; the clock is asked only now and then.
    """

    __slots__ = (
        "_blocks",
        "_effort",
        "_kept",
        "_kept_total",
        "_octets",
        "_time_left",
        "_turns",
        "now",
        "pieces",
        "variables",
    )

    def __init__(self, context: TemplateContext, *, own_variables: bool) -> None:
        self.variables: dict[str, object] = (
            dict(context.variables) if own_variables else context.variables  # type: ignore[assignment] # only read
        )
        self.now = context.now
        self.pieces: list[str] = []
        self._time_left = context.time_left
        self._blocks: list[str] = []
        self._octets = 0
        self._turns = 0
        self._effort = 0
        self._kept: dict[str, int] = {}
        self._kept_total = 0

    def spend(self, effort: int) -> None:
        """Count effort in characters.

        Raises:
            TemplateError: Too much output, or the time is up.
        """
        self._effort += effort
        if self._effort >= _EFFORT_PER_CHECK:
            self.pause()

    def turn(self) -> None:
        """Count the turn of a loop.

        Raises:
            TemplateError: Too many turns, too much output, or the time is up.
        """
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise TemplateError(f"more than {MAX_TURNS} loop turns")
        self._effort += _TURN_EFFORT
        if self._effort >= _EFFORT_PER_CHECK:
            self.pause()

    def pause(self) -> None:
        """Look whether time and output are within their limits."""
        self._effort = 0
        check_time(self._time_left)
        if self.pieces:
            self._flush()

    def assign(self, name: str, value: object) -> None:
        """Set a variable; all that a template keeps has a limit, as every value could be as large as one may be.

        Raises:
            TemplateError: More than that.
        """
        size = len(value) if isinstance(value, str | list | dict) else 0
        if size >= LONG_TEXT or name in self._kept:
            self._kept_total += size - self._kept.get(name, 0)
            self._kept[name] = size
            if self._kept_total > MAX_KEPT:
                raise TemplateError(f"variables larger than {MAX_KEPT} characters and members")
        self.variables[name] = value

    def weigh(self, text: str) -> None:
        """Count a text that is about to be worked on, and check its size."""
        if len(text) >= LONG_TEXT:
            check_size(text, "value")
            self.spend(len(text))

    def seconds_for(self, most: float) -> float:
        """Time an operation may take that can be told."""
        left = self._time_left()
        check_time(lambda: left)
        return min(left, most)

    def finish(self) -> str:
        """The output."""
        self._flush()
        return self._blocks[0] if len(self._blocks) == 1 else "".join(self._blocks)

    def _flush(self) -> None:
        """Put the pieces together; before that each is only one more reference to a text that exists anyway."""
        if sum(map(len, self.pieces)) > MAX_OCTETS:
            raise TemplateError(f"output larger than {MAX_OCTETS} octets")
        block = "".join(self.pieces)
        self.pieces.clear()
        self._octets += octets_of(block)
        if self._octets > MAX_OCTETS:
            raise TemplateError(f"output larger than {MAX_OCTETS} octets")
        self._blocks.append(block)


Evaluate = Callable[[Rendering], object]
