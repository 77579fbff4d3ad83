"""One thing that was looked at, and what came of it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass


class Verdict(enum.Enum):
    """How a finding counts, from harmless to serious."""

    OK = "ok"
    """As it should be."""
    UNKNOWN = "unknown"
    """Could not be seen from here; the fix says who can."""
    WARNING = "warning"
    """Works, but not as well or not for long."""
    WRONG = "wrong"
    """Mail is not delivered, or may be lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject. Texts may hold anything from outside; who prints them escapes them.

    Attributes:
        area: Part of the installation: ``broker``, ``dns`` …
        subject: What was looked at there.
        verdict: How it counts.
        found: What is there.
        expected: What should be; may be empty when all is well.
        fix: A command or a setting; empty when there is nothing to do.
    """

    area: str
    subject: str
    verdict: Verdict
    found: str
    expected: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at.

    Attributes:
        area: As in its findings.
        subject: What is told when it comes to no end.
        examine: Looks; called once.
        limit: Seconds it may take.
        fix: Advice when it takes longer.
    """

    area: str
    subject: str
    examine: Callable[[], Awaitable[Iterable[Finding]]]
    limit: float
    fix: str = ""


def worst(findings: Sequence[Finding]) -> Verdict:
    """The most serious verdict; ``OK`` when there is none."""
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)
