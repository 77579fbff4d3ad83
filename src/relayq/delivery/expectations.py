"""What messages of a campaign needed from the web, so that the next one gets it at once.

Composing has to be tried to find out what it lacks, and then once more. Messages with the same description usually lack
the same; if it is still fresh, their first try has it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from relayq.compose.responsive import Download

MAX_DESCRIPTIONS = 1024
_VARIES: tuple[Download, ...] = ()


class Expectations:
    """Downloads by description; the least recently used is forgotten."""

    def __init__(self) -> None:
        self._needed: OrderedDict[bytes, tuple[Download, ...]] = OrderedDict()

    def of(self, description: bytes) -> tuple[Download, ...]:
        """What a message with this description will need; nothing if nobody can tell."""
        return self._needed.get(_digest(description), _VARIES) if self._needed else _VARIES

    def learn(self, description: bytes, needed: tuple[Download, ...]) -> None:
        """A message with this description needed that; where it depends on the recipient it is not expected again."""
        digest = _digest(description)
        before = self._needed.pop(digest, needed)
        self._needed[digest] = needed if before == needed else _VARIES
        if len(self._needed) > MAX_DESCRIPTIONS:
            self._needed.popitem(last=False)


def _digest(description: bytes) -> bytes:
    return hashlib.blake2b(description, digest_size=16).digest()
