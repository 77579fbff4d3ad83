"""Findings for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from relayq.cli.doctor.finding import Finding, Verdict
from relayq.cli.endings import printable

LONGEST_TEXT: Final = 1000
"""Characters of one text: much of it comes from servers."""
_COLOURS: Final = {Verdict.OK: "green", Verdict.UNKNOWN: "cyan", Verdict.WARNING: "yellow", Verdict.WRONG: "red"}
_WIDTH: Final = max(len(verdict.value) for verdict in Verdict)


def print_text(findings: Sequence[Finding], *, problems_only: bool) -> None:
    """Print every finding, or only those somebody should look at; then how many there are of each kind."""
    area = ""
    for finding in findings:
        if problems_only and finding.verdict is Verdict.OK:
            continue
        if finding.area != area:
            area = finding.area
            click.secho(area, bold=True)
        _print_one(finding)
    counts = Counter(finding.verdict for finding in findings)
    click.echo("\n" + ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict))


def _print_one(finding: Finding) -> None:
    verdict = click.style(f"{finding.verdict.value:<{_WIDTH}}", fg=_COLOURS[finding.verdict])
    click.echo(f"  {verdict}  {_line(finding.subject)}: {_line(finding.found)}")
    indent = " " * (_WIDTH + 4)
    if finding.verdict is Verdict.OK:
        return
    if finding.expected:
        click.echo(f"{indent}expected: {_line(finding.expected)}")
    if finding.fix:
        click.echo(f"{indent}fix: {_line(finding.fix)}")


def _line(text: str) -> str:
    shown = printable(text[:LONGEST_TEXT])
    return f"{shown}…" if len(text) > LONGEST_TEXT else shown


def render_json(findings: Sequence[Finding], verdict: Verdict) -> str:
    """One object: the worst verdict, and all findings."""
    described = [
        {
            "area": finding.area,
            "subject": _line(finding.subject),
            "verdict": finding.verdict.value,
            "found": _line(finding.found),
            "expected": _line(finding.expected),
            "fix": _line(finding.fix),
        }
        for finding in findings
    ]
    return msgspec.json.encode({"verdict": verdict.value, "findings": described}).decode("utf-8")
