"""What the demo counts: every message has to end exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import msgspec

from relayq.model.message_json import InvalidBodyError, decode_members
from relayq.trial.generate import ID_PROPERTY

SUCCESS: Final = "a success"
RETRIED: Final = "a success after a retry"
FAILURE: Final = "a failure"


class _Attempt(msgspec.Struct, frozen=True):
    """The members of a result object the scoreboard reads."""

    state: str
    result: str


_decode_attempts = msgspec.json.Decoder(tuple[_Attempt, ...]).decode
_decode_text = msgspec.json.Decoder(str).decode


@dataclass(slots=True)
class Scoreboard:
    """Counts of one demo.

    Attributes:
        accepted: Delivered at the first attempt.
        retried: Delivered at a later one.
        failed: Given up.
        unknown: Results of no message of this demo.
        attempts: Every attempt by (state, result).
        latencies: Seconds from publishing to the final result, in the order of results.
        samples: One result by kind, the first of each.
    """

    accepted: int = 0
    retried: int = 0
    failed: int = 0
    unknown: int = 0
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    samples: dict[str, bytes] = field(default_factory=dict)
    _published_at: dict[str, float] = field(default_factory=dict)
    _finals: Counter[str] = field(default_factory=Counter)

    @property
    def published(self) -> int:
        """Messages in play."""
        return len(self._published_at)

    @property
    def finished(self) -> int:
        """Messages with at least one final result."""
        return len(self._finals)

    @property
    def repeated(self) -> int:
        """Final results too many."""
        return self._finals.total() - len(self._finals)

    @property
    def is_perfect(self) -> bool:
        """Every message has exactly one final result, and nothing else came."""
        return self.finished == self.published and not self.repeated and not self.unknown

    def add_message(self, trial_id: str, at: float) -> None:
        """Note a published message; ``at`` is a monotonic instant."""
        self._published_at[trial_id] = at

    def add_result(self, body: bytes, at: float) -> None:
        """Note a final result."""
        try:
            members = decode_members(body)
            trial_id = _decode_text(members[ID_PROPERTY])
            attempts = _decode_attempts(members["results"])
            published_at = self._published_at[trial_id]
        except (InvalidBodyError, msgspec.MsgspecError, KeyError):
            self.unknown += 1
            return
        self._finals[trial_id] += 1
        if self._finals[trial_id] > 1:
            return
        self.latencies.append(at - published_at)
        self.attempts.update((attempt.state, attempt.result) for attempt in attempts)
        kind = self._count(attempts)
        self.samples.setdefault(kind, body)

    def _count(self, attempts: tuple[_Attempt, ...]) -> str:
        if not attempts or attempts[-1].result != "accepted":
            self.failed += 1
            return FAILURE
        if len(attempts) > 1:
            self.retried += 1
            return RETRIED
        self.accepted += 1
        return SUCCESS

    def latency(self, share: float) -> float:
        """Seconds within which this share of messages was finished; 0 when none is."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
