#!/usr/bin/env python3
"""Write docs/reference/settings.md from the table of settings, or with --check say whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from relayq.config.reference import render_reference

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"


def main() -> int:
    """Return the exit code: 1 when the page is stale and only checked."""
    page = render_reference()
    if sys.argv[1:] == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE.name} is stale: run python scripts/{Path(__file__).name}", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
