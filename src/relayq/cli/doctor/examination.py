"""Runs checks side by side. None can take longer than its limit, and none can keep the others from their result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.cli.pipes import BlockingCalls

T = TypeVar("T")


async def examine(checks: Sequence[Check]) -> list[Finding]:
    """Findings of all checks, in the order of the checks."""
    found = await asyncio.gather(*(_run(check) for check in checks))
    return [finding for findings in found for finding in findings]


async def _run(check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(check.limit):
            return list(await check.examine())
    except TimeoutError:
        text, fix = f"no answer within {check.limit:g} s", check.fix
    except Exception as error:
        # A check that breaks is a finding too: whoever calls a doctor wants to hear about the rest.
        text, fix = f"could not be looked at: {type(error).__name__}: {error}", "please report this"
    return [Finding(area=check.area, subject=check.subject, verdict=Verdict.WRONG, found=text, fix=fix)]


async def in_thread(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Findings of something that blocks: the thread of one that hangs is left behind, and dies with the process."""

    def collect() -> list[Finding]:
        return list(look())

    return await BlockingCalls("doctor").run(collect)
