"""Memory of large messages goes back to the system as soon as they are gone.

glibc maps large blocks by themselves at first. When the first of them is freed it takes their size for usual, and from
then on cuts blocks of up to 32 MiB from its heap, where a small one that lives on keeps the pages of large ones that
are gone (``mallopt(3)``, M_MMAP_THRESHOLD). A worker that had messages of 10 MB keeps what they took at their worst.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
LARGE_OCTETS = 1 << 20
"""A block of its own from here on: mapping it anew costs 0.1 ms per megabyte, and messages are rarely that large."""
_KEPT_OCTETS = 4 << 20
"""Free octets at the end of the heap; below them nothing is given back, since it is asked for again at once."""


def return_large_blocks() -> bool:
    """Map large blocks by themselves for good; false where the C library has no such setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGE_OCTETS)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT_OCTETS))
