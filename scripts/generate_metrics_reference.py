#!/usr/bin/env python3
"""Write docs/reference/metrics.md from the table of figures, or with --check say whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from relayq.adapters.figures import FAMILIES

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
HEAD = """\
# Metrics

What `/metrics` answers ([how to switch it on](../howto/run-as-a-service.md#watch-it)): figures of all workers of this
instance together, in the text format of Prometheus. Workers report once a second. What only grows goes on growing when
a worker is replaced; it starts again from zero with the supervisor.

Figures per domain, tag or address are not among them: such labels have no bound.

| Name | Kind | Meaning |
|---|---|---|
"""
LABELS = {
    "relayq_attempts_total": "`state`, `result`: those of [results](matrix.md); `code`: `2xx`, `4xx`, `5xx` or empty",
    "relayq_given_back_total": "`reason`",
    "relayq_process_cpu_seconds_total": "`process`",
    "relayq_process_resident_bytes": "`process`",
    "relayq_process_open_fds": "`process`",
    "relayq_workers": "`state`: `starting`, `consuming`, `connecting`, `blocked`, `stopping`",
    "relayq_info": "`version`",
    "relayq_tls_failures_total": "`policy`, `kind`",
    "relayq_dns_failures_total": "`kind`: `temporary`, `permanent`",
    "relayq_download_reuses_total": "`source`: `memory`, `another` message that asked for it, `store`",
    "relayq_delivery_seconds": "`le`, like every histogram",
    "relayq_store_total": "`outcome`: `hits`, `misses`, `damaged`, `outages`, `writes`, `inline`, `deletes`, `untidy`",
    "relayq_downloads_total": "`outcome`: `requests`, `failures`, `hits`, `shared`, `stored`",
}


def render() -> str:
    """The page."""
    rows = "".join(f"| `{name}` | {kind} | {meaning} |\n" for name, (kind, meaning) in FAMILIES.items())
    labels = "".join(f"| `{name}` | {LABELS[name]} |\n" for name in FAMILIES if name in LABELS)
    return f"{HEAD}{rows}\n| Name | Labels |\n|---|---|\n{labels}"


def main() -> int:
    """Return the exit code: 1 when the page is stale and only checked."""
    page = render()
    if sys.argv[1:] == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE.name} is stale: run python scripts/{Path(__file__).name}", file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
