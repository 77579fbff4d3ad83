"""The file of the embedded broker: ours, whole, on a local disk, not for everybody."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from relayq.adapters.embedded import find_file
from relayq.adapters.embedded.location import network_file_system
from relayq.app import open_inspector
from relayq.cli.doctor.examination import in_thread
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.config import EmbeddedAddress
from relayq.ports import BrokerError, BrokerRefusedError, TopologyError

if TYPE_CHECKING:
    from pathlib import Path

    from relayq.config import Settings

AREA: Final = "broker"

_finding = partial(Finding, AREA)


def embedded_checks(settings: Settings, limit: float) -> list[Check]:
    """One check."""
    address = settings.broker.address
    assert isinstance(address, EmbeddedAddress)

    async def examine() -> list[Finding]:
        try:
            path = find_file(address.path)
            findings = await in_thread(lambda: look_at_file(path))
            return [*findings, await _look_inside(settings, limit / 2)]
        except BrokerError as error:
            return [_finding("embedded broker", Verdict.WRONG, str(error), "a queue file of relayq", _fix(error))]

    return [Check(area=AREA, subject="embedded broker", examine=examine, limit=limit, fix="see whether its disk hangs")]


async def _look_inside(settings: Settings, limit: float) -> Finding:
    inspector = open_inspector(settings, time_limit=limit)
    try:
        await inspector.open()
        states = await inspector.look((settings.queues.outbox,))
    finally:
        await inspector.close()
    outbox = states[0]
    counts = f"{outbox.ready} messages ready, {outbox.delayed} delayed, {outbox.unsettled} in hand"
    return _finding(inspector.broker, Verdict.OK, counts)


def look_at_file(path: Path) -> Iterator[Finding]:
    """Place and permissions; what is in it is looked at by opening it."""
    kind = network_file_system(path)
    if kind is not None:
        fix = "put it on a local disk: rabbitmq-address: embedded:///PATH; for several machines use RabbitMQ"
        yield _finding(
            str(path), Verdict.WRONG, f"is on {kind}, whose locks cannot be relied on", "a local file system", fix
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield from _look_at_missing(path)
        return
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        yield _finding(
            str(path),
            Verdict.WARNING,
            f"mode {stat.S_IMODE(mode):04o}: mail is readable by others",
            "mode 0600",
            f"chmod 0600 {path} {path}-wal {path}-shm {path}-locks",
        )
    else:
        yield _finding(str(path), Verdict.OK, f"mode {stat.S_IMODE(mode):04o}")


def _look_at_missing(path: Path) -> Iterator[Finding]:
    if path.parent.is_dir():
        yield _finding(str(path), Verdict.OK, "not there yet; made when relayq starts")
    else:
        fix = f"mkdir {path.parent}, owned by the user relayq runs as, or correct rabbitmq-address"
        yield _finding(str(path), Verdict.WRONG, f"there is no folder {path.parent}", "an existing folder", fix)


def _fix(error: BrokerError) -> str:
    if isinstance(error, BrokerRefusedError):
        return "run relayq and its commands as the owner of the file"
    if isinstance(error, TopologyError):
        return "name another file in rabbitmq-address"
    return "restore it from a backup, or move it away: relayq then begins with an empty one"
