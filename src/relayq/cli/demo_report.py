"""The last words of the demo: counts, rates, and three results as they came out of the queue."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table

from relayq.cli.scoreboard import FAILURE, RETRIED, SUCCESS, Scoreboard


def print_report(score: Scoreboard, seconds: float) -> None:
    """Print to standard output."""
    console = Console(highlight=False)
    console.print(_outcomes(score))
    console.print(_attempts(score))
    rate = score.finished / seconds if seconds > 0 else 0.0
    shown_rate = f"{rate:,.0f}" if rate > 10 else f"{rate:.1f}"
    console.print(f"{score.finished} messages finished in {seconds:.2f} s: {shown_rate} per second, retries included")
    console.print(
        f"from publishing to final result: half within {score.latency(0.5):.3f} s, "
        f"99 % within {score.latency(0.99):.3f} s"
    )
    for kind in (SUCCESS, RETRIED, FAILURE):
        if kind in score.samples:
            console.print(f"\n{kind[0].upper()}{kind[1:]}:")
            # No markup, no wrapping: this is meant to be copied.
            console.out(msgspec.json.format(score.samples[kind], indent=2).decode("utf-8"), highlight=False)
    console.print(_verdict(score))


def _outcomes(score: Scoreboard) -> Table:
    table = Table("outcome", title="Messages")
    table.add_column("messages", justify="right")
    table.add_row("accepted at once", str(score.accepted))
    table.add_row("accepted after a retry", str(score.retried))
    table.add_row("failed", str(score.failed))
    table.add_section()
    table.add_row("published", str(score.published))
    return table


def _attempts(score: Scoreboard) -> Table:
    table = Table("state/result", title="Attempts")
    table.add_column("attempts", justify="right")
    for (state, result), count in score.attempts.most_common():
        table.add_row(f"{state}/{result}", str(count))
    return table


def _verdict(score: Scoreboard) -> str:
    if score.is_perfect:
        return f"\n{score.published} messages, exactly one final result each."
    missing = score.published - score.finished
    extra = score.repeated + score.unknown
    return f"\nNot as it should be: {missing} messages without a final result, {extra} results too many."
