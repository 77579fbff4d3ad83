"""The group ``relayq``: finds the module of a command, and turns every way a command can end into an exit code.

Nothing of a command is imported before it is called: ``relayq --help`` has to answer at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import click

from relayq import __version__
from relayq.cli.endings import Ending, ending_of, say


class _Entry(NamedTuple):
    module: str
    summary: str


COMMANDS: Final[dict[str, _Entry]] = {
    "run": _Entry("run", "Deliver messages from the outbox until told to stop."),
    "inject": _Entry("inject", "Publish messages, JSON or MIME, to the outbox."),
    "render": _Entry("render", "Show what a message becomes, without sending it."),
    "results": _Entry("results", "Print what became of messages."),
    "queue": _Entry("queues", "Show how many messages lie in which queue, or delete them."),
    "database": _Entry("database", "Create the tables of rules, or what is missing of them."),
    "check-config": _Entry("check_config", "Check the configuration."),
    "doctor": _Entry("doctor", "Look at everything relayq needs, and tell what is wrong."),
    "sink": _Entry("sink", "SMTP server that accepts and forgets, with scripted replies."),
    "demo": _Entry("demo", "A whole installation at once; nothing leaves the machine."),
}
USAGE: Final = 64  # that of ExitCode.USAGE, without importing the configuration for it
INTERNAL: Final = 70


class OutputClosed(Exception):
    """The reader of standard output has seen enough."""


class CommandGroup(click.Group):
    """Commands by name, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table: that of a first acquaintance."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(f"relayq.cli.{entry.module}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. A closed output is told by an exception of ours: click would end the process itself."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise OutputClosed from error
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.command(
    cls=CommandGroup,
    no_args_is_help=True,
    epilog="""\b
Examples:
  relayq demo                             see the whole thing work, on this machine alone
  relayq check-config --show              what is configured, and where
  relayq inject message.json              put mail into the outbox
  relayq run                              deliver it
  relayq results --follow                 watch what becomes of it

`relayq COMMAND --help` tells more. Settings are read from files, the environment and options --KEY=VALUE.""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="relayq", message="%(prog)s %(version)s")
def group() -> None:
    """Deliver mail from a message queue to the world."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit code (spec config.md 4)."""
    try:
        code = group.main(args=arguments, prog_name="relayq", standalone_mode=False)
    except click.UsageError as error:
        error.show(sys.stderr)
        return USAGE
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except OutputClosed:
        # As in `relayq … | head`. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (click.Abort, KeyboardInterrupt):
        return Ending.INTERRUPTED
    except Exception as error:
        code, lines = ending_of(error)
        say(*lines)
        return code
    return int(code or 0)
