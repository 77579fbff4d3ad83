"""``relayq run``: the server in the foreground (spec operations.md 15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings

if TYPE_CHECKING:
    from relayq.config import Settings


@click.command(
    "run",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq run
  relayq run --config-file /etc/relayq/second.txt
  relayq run --rabbitmq-address=embedded: --rabbitmq-results=results

Ends on SIGTERM or Ctrl-C, when running SMTP transactions are done; a second one ends it at once. {SETTINGS_NOTE}""",
)
@takes_settings()
def command(words: Sequence[str], no_default_config: bool) -> int:
    """Deliver messages from the outbox until told to stop."""
    import uvloop

    from relayq.supervisor.server import supervise

    def load() -> Settings:
        return load_settings_alone(words, no_default_config=no_default_config)

    return uvloop.run(supervise(load(), load))
