"""How long what waits in a full window may take to start: a decision from how much waits where, and how fast it moves.

A destination that has a part of the window far beyond its part of what is started costs the others just that: what
comes through a window of *N* messages, each of which stays for *W* seconds, is *N / W* per second (Little). So the
destinations are put in order of how long a message waits there, and cut where it takes several times as long before the
cut as, on average, behind it. Where all wait about as long, because the machine or a receiver they share is slow, there
is no such place, and parking would help nobody.

A window full of one destination shows nothing of the others: it is assumed that there are some.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relayq.delivery.waiting import PARKED_SECONDS

FACTOR = 5.0
"""So many times longer than those behind the cut messages of a destination wait that is too slow for the window."""
ENOUGH = 0.05
"""Part of all that is started, which has to remain behind the cut to be compared with."""
ALONE_REACH = 3.0
"""Seconds where there is nothing to be compared with: one destination has more than half of the window."""
ALONE_SHARE = 0.5


class Load(msgspec.Struct, frozen=True):
    """One destination.

    Attributes:
        waiting: Its messages that wait in the window.
        backlog: These, and what is parked.
        rate: Messages it starts per second.
    """

    waiting: int
    backlog: int
    rate: float

    @property
    def seconds(self) -> float:
        """How long the last one of its backlog waits."""
        return self.backlog / self.rate if self.rate else float("inf")


def choose_reach(loads: Sequence[Load], waiting: int, rate: float, prefetch: int) -> float:
    """Seconds within which a destination has to start what waits for it, if the window is to be of use to others.

    Args:
        loads: Destinations whose rate is known, in any order.
        waiting: Messages of the window that wait, to any destination.
        rate: Messages started per second, to any destination.
        prefetch: Size of the window.
    """
    reach = PARKED_SECONDS
    left, left_rate = waiting, rate
    for load in sorted(loads, key=lambda load: load.seconds, reverse=True):
        left -= load.waiting
        left_rate -= load.rate
        if left_rate <= ENOUGH * rate:
            break
        bound = FACTOR * left / left_rate
        if load.seconds > bound:
            reach = min(reach, bound)
    if any(load.waiting > ALONE_SHARE * prefetch and load.seconds <= reach for load in loads):
        return min(reach, ALONE_REACH)
    return reach
