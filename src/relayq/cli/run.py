"""``relayq run``: the server in the foreground (spec operations.md 15)."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings
from relayq.config import ExitCode

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

Ends on SIGTERM or Ctrl-C, when running SMTP transactions are done; a second one ends it at once. SIGHUP reads the
configuration again, SIGUSR1 reopens log files, SIGUSR2 logs what the workers are doing. {SETTINGS_NOTE}""",
)
@takes_settings()
def command(words: Sequence[str], no_default_config: bool) -> int:
    """Deliver messages from the outbox until told to stop."""
    from relayq.supervisor.spawn import Spawned, fork, worker_count

    def load() -> Settings:
        return load_settings_alone(words, no_default_config=no_default_config)

    settings = load()
    process = settings.process
    on_ready: Callable[[], None] | None = None
    if process.daemon:
        from relayq.supervisor.host import detach

        going_on = detach()
        if isinstance(going_on, int):
            return going_on
        on_ready = going_on
    count = worker_count(process.smtp_threads)
    spawned: list[Spawned] = []
    if count > 1 and process.user is None:  # not as root, if they are to be somebody else
        from relayq.supervisor.worker_process import work

        forked = fork(count)
        if isinstance(forked, socket.socket):
            try:
                code = work(forked)
            except BaseException:
                traceback.print_exc()
                code = ExitCode.INTERNAL
            sys.stderr.flush()
            os._exit(code)  # what the other process had begun is not this one's to finish
        spawned = forked

    import uvloop

    from relayq.supervisor.server import supervise

    return uvloop.run(supervise(settings, load, on_ready, spawned))
