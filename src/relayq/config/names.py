"""Names people write: how a key is spelled, whether it exists, and which one was probably meant."""

from __future__ import annotations

from relayq.config.compatibility import ALIASES, NO_EFFECT, OLD_NAMES, PARTS
from relayq.config.table import TABLE

# Two slips of the finger; more would suggest unrelated settings.
MAX_EDIT_DISTANCE = 2

_KNOWN = (*TABLE, *sorted(OLD_NAMES))


def normalise_key(name: str) -> str:
    """Return the spelling of the table: lower case, ``-`` for ``_``."""
    return name.strip().lower().replace("_", "-")


def is_known(key: str) -> bool:
    """Whether a setting or an accepted old name is spelled like this (normalised)."""
    return key in TABLE or key in OLD_NAMES


def name_today(key: str) -> str | None:
    """Return the setting an old name stands for, itself for a setting, ``None`` when nothing stands for it."""
    if key in PARTS:
        return PARTS[key].key
    if key in NO_EFFECT:
        return None
    key = ALIASES.get(key, key)
    return key if key in TABLE else None


def nearest_key(key: str) -> str | None:
    """Return the known name that differs least from ``key``, ``None`` when all are further away than two edits."""
    best = None
    limit = MAX_EDIT_DISTANCE
    for known in _KNOWN:
        distance = edit_distance(key, known, limit)
        if distance <= limit:
            best, limit = known, distance - 1
    return best


def edit_distance(first: str, second: str, limit: int) -> int:
    """Insertions, deletions and replacements between two texts, or ``limit + 1`` when there are more than ``limit``.

    The usual table of Levenshtein, one row at a time, left as soon as a whole row is above the limit: a file full of
    nonsense must not cost minutes.
    """
    if abs(len(first) - len(second)) > limit:
        return limit + 1
    row = list(range(len(second) + 1))
    for line, char in enumerate(first, 1):
        previous, row = row, [line]
        for column, other in enumerate(second, 1):
            row.append(min(previous[column] + 1, row[-1] + 1, previous[column - 1] + (char != other)))
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
