"""Write docs/reference/crashes.md from the table that the tests run through; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.cut_points import BOTH, CUT_POINTS, CutPoint, Victim  # noqa: E402 - the path comes first

PAGE = ROOT / "docs" / "reference" / "crashes.md"
HEAD = """# When something dies

What becomes of a message when relayq or the broker is killed (`kill -9`) at each step between pick-up and
acknowledgement, once everything runs again. Each row is done to real processes by a test, for each broker it names;
this page is generated from the table that the test runs through.

- **Nothing is lost:** every message ends with a result, whatever died.
- **A mail is sent twice only where nobody can know:** when relayq died between the final dot and its note of the
  server's reply. The result then carries `"possible-duplicate": true`.
- **A result may be published twice, octet for octet the same,** when relayq or RabbitMQ died between the publication
  and the acknowledgement. With the embedded broker results and acknowledgement are one transaction, so there each
  result comes once.

This needs the [outcome journal](journal.md), which is on by default. Without it every message that was not acknowledged
is sent again, without a mark.

"""
TITLES = {
    Victim.RELAYQ: "relayq dies",
    Victim.BROKER: "RabbitMQ dies and comes back",
}
NOTES = {
    Victim.RELAYQ: "With the embedded broker, the broker dies with it.",
    Victim.BROKER: "relayq goes on running, and keeps what it has to publish until the broker is back.",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD.rstrip()]
    for victim in Victim:
        lines = [f"## {TITLES[victim]}", "", NOTES[victim], ""]
        lines += ["| The message | Killed | Broker | The mail is | Its result is published |", "|---|---|---|---|---|"]
        lines += [_row(cut) for cut in CUT_POINTS if cut.victim is victim]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _row(cut: CutPoint) -> str:
    brokers = "both" if cut.brokers == BOTH else ", ".join(cut.brokers)
    return f"| {cut.story.value} | {cut.when} | {brokers} | {cut.outcome} | {cut.published} |"


def main() -> int:
    """Write or compare; 1 when the page is stale."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is stale: run python {Path(__file__).relative_to(ROOT)}", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
