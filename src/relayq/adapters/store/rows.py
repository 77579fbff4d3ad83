"""What a row of the table ``messages`` says, checked: other programs may have written it (spec storage.md 6)."""

from __future__ import annotations

from relayq.ports import StoreDamagedError
from relayq.ports.store import LARGEST_BODY_BYTES

PART_BYTES = 64 * 1024 * 1024
MOST_PARTS = 100_000
SWEEP_BATCH = 1000


def parts_of(parts: object) -> int:
    """In how many parts a body lies, 0 = in its own row.

    Raises:
        StoreDamagedError: No number that makes sense.
    """
    return 0 if parts is None else _whole(parts, MOST_PARTS)


def removable_parts_of(parts: object) -> int:
    """The same for whoever wants to be rid of the row: a number without sense is none."""
    try:
        return parts_of(parts)
    except StoreDamagedError:
        return 0


def size_of(size: object) -> int:
    """Octets of all parts together; raises as `parts_of` does."""
    return _whole(size, LARGEST_BODY_BYTES)


def check_size(value: bytes, size: object) -> None:
    """See that a value is complete; a row may leave its size out.

    Raises:
        StoreDamagedError: It has another size.
    """
    if size is not None and size != len(value):
        raise StoreDamagedError(f"{len(value)} octets instead of {size}")


def _whole(number: object, highest: int) -> int:
    if not isinstance(number, int) or not 0 <= number <= highest:
        raise StoreDamagedError("the number of parts or their size makes no sense")
    return number
