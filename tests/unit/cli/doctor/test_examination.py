"""Checks run side by side, in bounded time, and break for themselves only; how findings are shown."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from relayq.cli.doctor.examination import examine, in_thread
from relayq.cli.doctor.finding import Check, Finding, Verdict, worst
from relayq.cli.doctor.report import LONGEST_TEXT, print_text, render_json


def finding(verdict: Verdict = Verdict.OK, **texts: str) -> Finding:
    given = {"area": "area", "subject": "subject", "found": "found", "expected": "expected", "fix": "fix"} | texts
    return Finding(verdict=verdict, **given)


def check(examine_it: object, limit: float = 30.0) -> Check:
    return Check(area="area", subject="subject", examine=examine_it, limit=limit, fix="do it")  # type: ignore[arg-type]


async def test_findings_keep_the_order_of_the_checks() -> None:
    first_may_end = asyncio.Event()

    async def first() -> list[Finding]:
        await first_may_end.wait()
        return [finding(found="1")]

    async def second() -> list[Finding]:
        first_may_end.set()
        return [finding(found="2"), finding(found="3")]

    found = await examine([check(first), check(second)])
    assert [each.found for each in found] == ["1", "2", "3"]


async def test_a_check_that_hangs_is_a_finding() -> None:
    async def hang() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    (found,) = await examine([check(hang, limit=0.01)])
    assert (found.verdict, found.found, found.fix) == (Verdict.WRONG, "no answer within 0.01 s", "do it")


async def test_a_thread_that_hangs_is_left_behind() -> None:
    may_end = threading.Event()

    def hang() -> list[Finding]:
        may_end.wait(30)
        return []

    (found,) = await examine([check(lambda: in_thread(hang), limit=0.05)])
    may_end.set()
    assert found.verdict is Verdict.WRONG


async def test_a_check_that_breaks_is_a_finding() -> None:
    async def fail() -> list[Finding]:
        raise ValueError("odd\x1b[2J")

    async def work() -> list[Finding]:
        return [finding()]

    broken, well = await examine([check(fail), check(work)])
    assert (broken.verdict, well.verdict) == (Verdict.WRONG, Verdict.OK)
    assert "ValueError: odd" in broken.found


def test_the_worst_verdict() -> None:
    assert worst([]) is Verdict.OK
    assert worst([finding(Verdict.UNKNOWN), finding()]) is Verdict.UNKNOWN
    assert worst([finding(Verdict.WARNING), finding(Verdict.UNKNOWN)]) is Verdict.WARNING
    assert worst([finding(Verdict.WRONG), finding(Verdict.WARNING)]) is Verdict.WRONG


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        finding(found="well"),
        finding(Verdict.WRONG, area="dns", found="b\x1b[2Jd\nfix: rm -rf /", fix="F" * 2000),
    ]
    print_text(findings, problems_only=False)
    shown = capsys.readouterr().out
    assert shown.splitlines()[:5] == [
        "area",
        "  ok       subject: well",
        "dns",
        r"  wrong    subject: b\x1b[2Jd\nfix: rm -rf /",
        "           expected: expected",
    ]
    assert shown.splitlines()[5] == "           fix: " + "F" * LONGEST_TEXT + "…"
    assert shown.endswith("\n1 ok, 0 unknown, 0 warning, 1 wrong\n")
    print_text(findings, problems_only=True)
    assert "well" not in capsys.readouterr().out


def test_json_for_programs() -> None:
    shown = json.loads(render_json([finding(Verdict.WARNING, found="x\udcff")], Verdict.WARNING))
    assert shown == {
        "verdict": "warning",
        "findings": [
            {
                "area": "area",
                "subject": "subject",
                "verdict": "warning",
                "found": "x\\udcff",
                "expected": "expected",
                "fix": "fix",
            }
        ],
    }
