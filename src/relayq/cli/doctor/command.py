"""The command ``relayq doctor``."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    from relayq.ports import Resolver

DEFAULT_LIMIT: Final = 10.0
NAME_LIMIT: Final = 3.0
"""Seconds for the system to tell its own name: it may ask a name server that does not answer."""
RESOLV_CONF: Final = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """What the command line says.

    Attributes:
        limit: Seconds for one check.
        management_url: Of RabbitMQ's management plugin; may hold a password.
        message: File with a message whose keys are looked at.
    """

    limit: float
    management_url: str | None = field(repr=False)
    message: Path | None


@click.command(
    "doctor",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq doctor                       look at everything
  relayq doctor --problems            tell only what somebody should look at
  relayq doctor --json                for programs
  relayq doctor --message mail.json   also the DKIM keys of a message, and what DNS says about them

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
@click.option(
    "--management-url",
    metavar="URL",
    help="RabbitMQ's management plugin, http://user:password@host:15672: policies, alarms, its clock.",
)
@click.option(
    "--message",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also look at the DKIM keys of this message (JSON) and their DNS records.",
)
@takes_settings()
def command(
    words: Sequence[str],
    no_default_config: bool,
    problems: bool,
    as_json: bool,
    timeout: float,
    management_url: str | None,
    message: Path | None,
) -> int:
    """Look at everything relayq needs: broker, DNS, addresses, store, machine; tell what is wrong, with its fix."""
    options = DoctorOptions(limit=timeout, management_url=management_url, message=message)
    findings = _diagnose(words, no_default_config, options)
    if findings is None:
        return ExitCode.OK
    verdict = worst(findings)
    if as_json:
        click.echo(render_json(findings, verdict))
    else:
        print_text(findings, problems_only=problems)
    return ExitCode.CONFIGURATION if verdict is Verdict.WRONG else ExitCode.OK


def _diagnose(words: Sequence[str], no_default_config: bool, options: DoctorOptions) -> list[Finding] | None:
    from relayq.cli.doctor.configuration import describe_problems
    from relayq.cli.doctor.machine import ClockCheck

    clock = ClockCheck()
    try:
        settings = load_settings_alone(words, no_default_config=no_default_config, system_hostname=own_name)
    except ConfigurationError as error:
        return list(describe_problems(error))
    findings = run(lambda stop: until_stopped(_examine(settings, options), stop))
    return None if findings is None else [*findings, *clock.findings()]


def own_name(limit: float = NAME_LIMIT) -> str:
    """Full name of this host, or its short one when asking takes longer than ``limit`` seconds."""
    names: list[str] = []
    asking = threading.Thread(target=lambda: names.append(socket.getfqdn()), daemon=True)
    asking.start()
    asking.join(limit)
    return names[0] if names else socket.gethostname()


async def _examine(settings: Settings, options: DoctorOptions) -> list[Finding]:
    from relayq.adapters.clock import SystemClock
    from relayq.adapters.dns import DnsResolver
    from relayq.app.rules import dns_options
    from relayq.cli.doctor.addresses import address_checks
    from relayq.cli.doctor.certificates import certificate_checks
    from relayq.cli.doctor.configuration import configuration_checks
    from relayq.cli.doctor.examination import examine
    from relayq.cli.doctor.machine import machine_checks
    from relayq.cli.doctor.name_servers import name_server_checks
    from relayq.cli.doctor.proxies import proxy_checks
    from relayq.cli.doctor.stores import store_checks

    limit = options.limit
    # No look-up may take longer than the check it is for.
    patience = msgspec.structs.replace(
        dns_options(settings), attempts=2, interval=min(settings.dns.interval, limit / 4), timeout=limit / 4
    )
    resolver = DnsResolver(patience, SystemClock(), random.Random())
    try:
        return await examine(
            [
                *configuration_checks(settings, os.environ, limit),
                *_broker_checks(settings, options),
                *name_server_checks(settings, RESOLV_CONF, limit),
                *address_checks(settings, resolver, limit),
                *proxy_checks(settings, resolver, limit),
                *certificate_checks(settings, limit),
                *store_checks(settings, limit),
                *(() if options.message is None else _dkim_checks(options.message, resolver, limit)),
                *machine_checks(settings, limit),
            ]
        )
    finally:
        await resolver.close()


def _dkim_checks(path: Path, resolver: Resolver, limit: float) -> list[Check]:
    from relayq.cli.doctor.dkim_keys import UnreadableMessageError, dkim_checks, read_keys

    try:
        return dkim_checks(read_keys(path), resolver, limit)
    except UnreadableMessageError as error:
        raise click.BadParameter(str(error), param_hint="--message") from None


def _broker_checks(settings: Settings, options: DoctorOptions) -> list[Check]:
    address, limit = settings.broker.address, options.limit
    if isinstance(address, tuple):
        from relayq.app import rabbitmq_options
        from relayq.cli.doctor.management import BadManagementUrlError, parse_management_url
        from relayq.cli.doctor.rabbitmq import rabbitmq_checks

        wanted = rabbitmq_options(settings, address, limit, "doctor", is_worker=True)
        if options.management_url is None:
            return rabbitmq_checks(settings, wanted, limit)
        try:
            management = parse_management_url(options.management_url, wanted.endpoints[0])
        except BadManagementUrlError as error:
            raise click.BadParameter(str(error), param_hint="--management-url") from None
        return rabbitmq_checks(settings, wanted, limit, management)
    from relayq.cli.doctor.embedded_file import embedded_checks

    return embedded_checks(settings, limit)
