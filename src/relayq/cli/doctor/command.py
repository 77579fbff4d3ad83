"""The command ``relayq doctor``."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings
from relayq.cli.doctor.finding import Check, Finding, Verdict, worst
from relayq.cli.doctor.report import print_text, render_json
from relayq.cli.loop import run, until_stopped
from relayq.config import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from relayq.config import Settings

DEFAULT_LIMIT: Final = 10.0
NAME_LIMIT: Final = 3.0
"""Seconds for the system to tell its own name: it may ask a name server that does not answer."""
RESOLV_CONF: Final = Path("/etc/resolv.conf")


@click.command(
    "doctor",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq doctor                       look at everything
  relayq doctor --problems            tell only what somebody should look at
  relayq doctor --json                for programs

Nothing is changed: no queue is made, no message is taken. Exit code 0: nothing is wrong, perhaps with warnings; 78:
something is wrong, and its fix is told. {SETTINGS_NOTE}""",
)
@click.option("--problems", is_flag=True, help="Leave out what is well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=600),
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="SECONDS",
    help="Longest time for one check.",
)
@takes_settings()
def command(words: Sequence[str], no_default_config: bool, problems: bool, as_json: bool, timeout: float) -> int:
    """Look at everything relayq needs: broker, DNS, addresses, store, machine; tell what is wrong, with its fix."""
    findings = _diagnose(words, no_default_config, timeout)
    if findings is None:
        return ExitCode.OK
    verdict = worst(findings)
    if as_json:
        click.echo(render_json(findings, verdict))
    else:
        print_text(findings, problems_only=problems)
    return ExitCode.CONFIGURATION if verdict is Verdict.WRONG else ExitCode.OK


def _diagnose(words: Sequence[str], no_default_config: bool, limit: float) -> list[Finding] | None:
    from relayq.cli.doctor.configuration import describe_problems
    from relayq.cli.doctor.machine import ClockCheck

    clock = ClockCheck()
    try:
        settings = load_settings_alone(words, no_default_config=no_default_config, system_hostname=own_name)
    except ConfigurationError as error:
        return list(describe_problems(error))
    findings = run(lambda stop: until_stopped(_examine(settings, limit), stop))
    return None if findings is None else [*findings, *clock.findings()]


def own_name(limit: float = NAME_LIMIT) -> str:
    """Full name of this host, or its short one when asking takes longer than ``limit`` seconds."""
    names: list[str] = []
    asking = threading.Thread(target=lambda: names.append(socket.getfqdn()), daemon=True)
    asking.start()
    asking.join(limit)
    return names[0] if names else socket.gethostname()


async def _examine(settings: Settings, limit: float) -> list[Finding]:
    from relayq.adapters.clock import SystemClock
    from relayq.adapters.dns import DnsResolver
    from relayq.app.rules import dns_options
    from relayq.cli.doctor.addresses import address_checks
    from relayq.cli.doctor.configuration import configuration_checks
    from relayq.cli.doctor.examination import examine
    from relayq.cli.doctor.machine import machine_checks
    from relayq.cli.doctor.name_servers import name_server_checks
    from relayq.cli.doctor.stores import store_checks

    # No look-up may take longer than the check it is for.
    patience = msgspec.structs.replace(
        dns_options(settings), attempts=2, interval=min(settings.dns.interval, limit / 4), timeout=limit / 4
    )
    resolver = DnsResolver(patience, SystemClock(), random.Random())
    try:
        return await examine(
            [
                *configuration_checks(settings, os.environ, limit),
                *_broker_checks(settings, limit),
                *name_server_checks(settings, RESOLV_CONF, limit),
                *address_checks(settings, resolver, limit),
                *store_checks(settings, limit),
                *machine_checks(settings, limit),
            ]
        )
    finally:
        await resolver.close()


def _broker_checks(settings: Settings, limit: float) -> list[Check]:
    address = settings.broker.address
    if isinstance(address, tuple):
        from relayq.app import rabbitmq_options
        from relayq.cli.doctor.rabbitmq import rabbitmq_checks

        return rabbitmq_checks(settings, rabbitmq_options(settings, address, limit, "doctor", is_worker=True), limit)
    from relayq.cli.doctor.embedded_file import embedded_checks

    return embedded_checks(settings, limit)
