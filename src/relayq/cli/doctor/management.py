"""What only RabbitMQ's management plugin tells: policies, alarms of each node, and the time it has there."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.cli.doctor.queue_verdicts import AREA, DELIVERY_LIMIT, SAFE_DELIVERY_LIMIT

if TYPE_CHECKING:
    import aiohttp

    from relayq.adapters.rabbitmq import Endpoint

_finding = partial(Finding, AREA)

MAX_ANSWER_OCTETS: Final = 4 * 1024 * 1024
SMALL_OFFSET: Final = 2.0
"""Seconds two clocks may differ; the header tells whole seconds."""
LARGE_OFFSET: Final = 60.0
_DANGERS: Final = ("max-length", "max-length-bytes", "message-ttl", "expires")

T = TypeVar("T")


class BadManagementUrlError(ValueError):
    """Text that is no address of a management plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementAddress:
    """Where the plugin is and how to log in there."""

    url: str
    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"ManagementAddress({self.url})"


def parse_management_url(text: str, endpoint: Endpoint) -> ManagementAddress:
    """Parse ``http://user:password@host:15672``; without credentials those of the broker's address are used.

    Raises:
        BadManagementUrlError: It is none; the text is not quoted, for it may hold a password.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadManagementUrlError("is not an address") from None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise BadManagementUrlError("is not an address like http://user:password@host:15672")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    return ManagementAddress(
        url=f"{parts.scheme}://{place}{parts.path.rstrip('/')}",
        user=endpoint.user if parts.username is None else unquote(parts.username),
        password=endpoint.password if parts.username is None else unquote(parts.password or ""),
    )


class _Node(msgspec.Struct, frozen=True):
    """One element of ``/api/nodes``."""

    name: str = ""
    running: bool = False
    mem_alarm: bool = False
    disk_free_alarm: bool = False
    partitions: tuple[str, ...] = ()


class _Queue(msgspec.Struct, frozen=True):
    """``/api/queues/VHOST/NAME``; what statistics have not brought yet is unset."""

    type: str = ""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    policy: str | msgspec.UnsetType | None = msgspec.UNSET
    operator_policy: str | msgspec.UnsetType | None = msgspec.UNSET
    effective_policy_definition: dict[str, Any] | list[Any] | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """What policies set; RabbitMQ writes nothing as an empty list."""
        given = self.effective_policy_definition
        return given if isinstance(given, dict) else {}


def management_checks(address: ManagementAddress, vhost: str, outbox: str, limit: float) -> list[Check]:
    """One check."""

    async def examine() -> list[Finding]:
        return await look_at_management(address, vhost, outbox, limit)

    return [Check(area=AREA, subject="management", examine=examine, limit=limit + 1, fix=_fix(address))]


async def look_at_management(address: ManagementAddress, vhost: str, outbox: str, limit: float) -> list[Finding]:
    """Ask the plugin three things."""
    import aiohttp

    login = base64.b64encode(f"{address.user}:{address.password}".encode()).decode("ascii")
    patience = aiohttp.ClientTimeout(total=limit)
    try:
        # Plain, so that the limit on octets is one on memory.
        headers = {"Accept-Encoding": "identity", "Authorization": f"Basic {login}"}
        async with aiohttp.ClientSession(timeout=patience, headers=headers, auto_decompress=False) as session:
            place = f"{quote(vhost, safe='')}/{quote(outbox, safe='')}"
            nodes, at = await _get(session, f"{address.url}/api/nodes", tuple[_Node, ...])
            queue, _ = await _get(session, f"{address.url}/api/queues/{place}", _Queue)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, _RefusedError) as error:
        text = f"{address.url}: {_describe(error)}"
        return [_finding("management", Verdict.WARNING, text, "answers of the management plugin", _fix(address))]
    findings = list(judge_nodes(nodes or ()))
    if at is not None:
        findings.append(judge_offset(time.time() - at))
    return [*findings, *judge_policy(queue, vhost, outbox)]


class _RefusedError(Exception):
    """The plugin answered, but not with what was asked for."""


async def _get(session: aiohttp.ClientSession, url: str, wanted: type[T]) -> tuple[T | None, float | None]:
    """The answer, ``None`` when there is no such thing; and the time of its header in seconds since the epoch."""
    async with session.get(url, allow_redirects=False) as response:
        body = await response.content.read(MAX_ANSWER_OCTETS)
        while len(body) < MAX_ANSWER_OCTETS and (more := await response.content.read(MAX_ANSWER_OCTETS - len(body))):
            body += more
        if response.status == 404:
            return None, None
        if response.status != 200:
            raise _RefusedError(f"HTTP status {response.status}")
        return msgspec.json.decode(body, type=wanted), _read_date(response.headers.get("Date"))


def _read_date(text: str | None) -> float | None:
    try:
        return None if text is None else email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, msgspec.MsgspecError):
        return "an answer that is not RabbitMQ's"
    return str(error) or type(error).__name__


def judge_nodes(nodes: tuple[_Node, ...]) -> Iterator[Finding]:
    """Nodes that are down, short of something, or do not see each other."""
    troubles = []
    for node in nodes:
        if not node.running:
            troubles.append(f"{node.name} does not run")
        troubles += [
            f"{node.name} has a {what} alarm"
            for what, has_alarm in (("memory", node.mem_alarm), ("disk", node.disk_free_alarm))
            if has_alarm
        ]
        if node.partitions:
            troubles.append(f"{node.name} is cut off from {', '.join(node.partitions)}")
    if troubles:
        fix = "see `rabbitmq-diagnostics cluster_status` and `rabbitmq-diagnostics alarms`"
        yield _finding("nodes", Verdict.WRONG, "; ".join(troubles[:10]), "all running, no alarms", fix)
    else:
        yield _finding("nodes", Verdict.OK, f"{len(nodes)} running, no alarms")


def judge_offset(offset: float) -> Finding:
    """Difference of the two clocks: due times of other programs are read by ours."""
    if abs(offset) <= SMALL_OFFSET:
        return _finding("clock of the broker", Verdict.OK, "as ours")
    verdict = Verdict.WRONG if abs(offset) > LARGE_OFFSET else Verdict.WARNING
    side = "ahead of" if offset > 0 else "behind"
    found = f"ours is {abs(offset):.0f} s {side} it"
    return _finding("clock of the broker", verdict, found, "the same time", "let both hosts keep it by NTP")


def judge_policy(queue: _Queue | None, vhost: str, outbox: str) -> Iterator[Finding]:
    """Policies that limit the outbox, and the delivery limit that results."""
    subject = f"policy of {outbox}"
    if queue is None:
        yield _finding(subject, Verdict.OK, "the queue is not there yet")
        return
    if queue.policy is msgspec.UNSET:
        fix = "call the doctor again in some seconds"
        yield _finding(subject, Verdict.UNKNOWN, "the plugin has no statistics of the queue yet", "its policy", fix)
        return
    definition = queue.definition
    name = queue.policy or queue.operator_policy or ""
    clear = f"`rabbitmqctl clear_policy --vhost {shlex.quote(vhost)} {shlex.quote(str(name))}`, or narrow its pattern"
    for key in _DANGERS:
        if key in definition:
            found = f"policy {name} sets {key} {definition[key]}: messages beyond that are lost or refused"
            yield _finding(subject, Verdict.WRONG, found, f"no {key}", clear)
    limits = [value for value in (definition.get("delivery-limit"), queue.arguments.get(DELIVERY_LIMIT)) if value]
    limit = min((value for value in limits if isinstance(value, int) and value > 0), default=None)
    if queue.type == "quorum" and limit is not None and limit < SAFE_DELIVERY_LIMIT:
        found = f"a message is dropped after {limit} deliveries, and every restart of relayq counts for what it held"
        expected = f"a delivery-limit of at least {SAFE_DELIVERY_LIMIT}, better 1000"
        yield _finding(subject, Verdict.WRONG, found, expected, clear)
    elif not any(key in definition for key in _DANGERS):
        yield _finding(subject, Verdict.OK, f"{name or 'none'}; nothing limits the queue")


def _fix(address: ManagementAddress) -> str:
    user = shlex.quote(address.user)
    return (
        "`rabbitmq-plugins enable rabbitmq_management` on the broker, "
        f"`rabbitmqctl set_user_tags {user} monitoring`; then correct --management-url"
    )
