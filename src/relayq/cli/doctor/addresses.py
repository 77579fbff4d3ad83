"""Local addresses to send from, the names this host gives itself, and the ports it listens on."""

from __future__ import annotations

import asyncio
import errno
import http.client
import ipaddress
import os
import socket
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from relayq.cli.doctor.examination import in_thread
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.ports import DnsError, Resolver

if TYPE_CHECKING:
    from relayq.config import Settings

AREA: Final = "addresses"

_finding = partial(Finding, AREA)
SERVER_PATIENCE: Final = 2.0
MAX_ANSWER_OCTETS: Final = 1000
_FAR: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses (RFC 5737, RFC 3849): a route to them is a route to the outside; nothing is sent there."""
_LISTENERS: Final = (
    ("www-port", "www-ip"),
    ("www-secure-port", "www-ip"),
    ("smtp-port", "smtp-ip"),
    ("smtp-secure-port", "smtp-ip"),
)
_REVERSE_FIX: Final = "let the owner of the address set its PTR record to a name that has this address"


def address_checks(settings: Settings, resolver: Resolver, limit: float) -> list[Check]:
    """Binding, listening, and names by DNS."""
    checks = [
        Check(
            area=AREA, subject="sending", examine=lambda: in_thread(lambda: look_at_local_ips(settings)), limit=limit
        ),
        Check(area=AREA, subject="ports", examine=lambda: in_thread(lambda: look_at_ports(settings)), limit=limit),
        Check(
            area=AREA,
            subject="own names",
            examine=lambda: _look_at_names(settings, resolver, limit / 2),
            limit=limit,
            fix="see what is told about dns",
        ),
    ]
    target = settings.route.sink_address or settings.smarthost.host
    if target is not None:
        key = "smtp-sink-address" if settings.route.sink_address is not None else "smarthost"
        checks.append(
            Check(
                area=AREA,
                subject=key,
                examine=lambda: _look_at_target(key, target, resolver),
                limit=limit,
                fix="see what is told about dns",
            )
        )
    return checks


def look_at_local_ips(settings: Settings) -> Iterator[Finding]:
    """Own name; whether each configured address is one of this host; without any, whether there is a way out at all."""
    yield _judge_host_name(settings)
    for address in settings.route.default_ips:
        trouble = _bind(address, 0)
        if trouble is None:
            yield _finding(f"smtp-default-ips {address}", Verdict.OK, "is an address of this host")
            continue
        length = 128 if ":" in address else 32
        yield _finding(
            f"smtp-default-ips {address}",
            Verdict.WRONG,
            f"cannot be sent from: {trouble}",
            "an address of this host",
            f"add it: `ip address add {address}/{length} dev INTERFACE`, or take it out of smtp-default-ips",
        )
    if not settings.route.default_ips:
        yield from _look_at_routes(settings)


def _look_at_routes(settings: Settings) -> Iterator[Finding]:
    found = {family: source_address(family) for family in _FAR}
    v4, v6 = found[socket.AF_INET], found[socket.AF_INET6]
    shown = ", ".join(address for address in (v4, v6) if address is not None)
    if not shown:
        yield _finding(
            "smtp-default-ips",
            Verdict.WARNING,
            "not set, and the system knows no way to the outside",
            "a route over IPv4 or IPv6",
            "see `ip route`, or name a smarthost that can be reached",
        )
    else:
        yield _finding("smtp-default-ips", Verdict.OK, f"not set: the system chooses, for distant hosts {shown}")
    if settings.route.ipv6 == "yes" and v6 is None:
        yield _finding(
            "smtp-out-ipv6",
            Verdict.WARNING,
            "is yes, and there is no route over IPv6",
            "a route over IPv6",
            "set smtp-out-ipv6: auto",
        )


def source_address(family: socket.AddressFamily) -> str | None:
    """The address the system would send from to a distant host; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_FAR[family], 9))
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return None


def look_at_ports(settings: Settings) -> Iterator[Finding]:
    """Whether every port that is to be listened on can be opened."""
    for port_key, ip_key in _LISTENERS:
        for port in settings.effective[port_key].value or ():
            for address in settings.effective[ip_key].value or ("0.0.0.0",):  # noqa: S104 - what the setting means
                yield _look_at_port(port_key, address, port)


def _look_at_port(key: str, address: str, port: int) -> Finding:
    subject, trouble = f"{key} {port}", _bind(address, port)
    if trouble is None:
        return _finding(subject, Verdict.OK, f"free on {address}")
    if trouble == os.strerror(errno.EADDRINUSE) and key == "www-port" and (running := _look_at_server(address, port)):
        return running
    fix = f"see who listens: `ss -ltnp 'sport = :{port}'`; or choose another port in {key}"
    verdict = Verdict.WARNING if trouble == os.strerror(errno.EADDRINUSE) else Verdict.WRONG
    expected = "a free port, unless relayq itself runs already"
    return _finding(subject, verdict, f"cannot be opened on {address}: {trouble}", expected, fix)


def _look_at_server(address: str, port: int) -> Finding | None:
    """What the running server says of itself, ``None`` when who listens there is not relayq."""
    subject = f"www-port {port}"
    connection = http.client.HTTPConnection(address, port, timeout=SERVER_PATIENCE)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        status, text = response.status, response.read(MAX_ANSWER_OCTETS).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _finding(subject, Verdict.WARNING, f"relayq runs, but is not ready: {text}", "ready", "look at its log")
    if status == HTTPStatus.OK:
        return _finding(subject, Verdict.OK, "relayq runs, and is ready")
    return None


def _bind(address: str, port: int) -> str | None:
    """Why the address cannot be bound, ``None`` when it can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.strerror or str(error)
    return None


async def _look_at_names(settings: Settings, resolver: Resolver, limit: float) -> list[Finding]:
    findings: list[Finding] = []
    if settings.smarthost.host is not None or settings.route.sink_address is not None:
        return findings  # only the next host sees our name and address
    addresses = settings.route.default_ips or tuple(filter(None, map(source_address, _FAR)))
    for found in await asyncio.gather(*(_look_at_address(address, settings, resolver, limit) for address in addresses)):
        findings += found
    return findings


def _judge_host_name(settings: Settings) -> Finding:
    name, key = settings.process.hostname, "hostname"
    if settings.session.ehlo_name is not None:
        name, key = settings.session.ehlo_name, "smtp-out-hostname"
    if "." in name.strip(".") and not name.endswith((".localdomain", ".local", ".localhost")):
        return _finding(key, Verdict.OK, name)
    return _finding(
        key,
        Verdict.WARNING,
        f"{name} is no name others can look up: many servers refuse such an EHLO",
        "a full host name, such as mail.example.org",
        "set hostname, or smtp-out-hostname",
    )


async def _look_at_address(address: str, settings: Settings, resolver: Resolver, limit: float) -> list[Finding]:
    subject = f"reverse name of {address}"
    if not ipaddress.ip_address(address).is_global:
        found = "a private address: receivers see the one it is translated to"
        fix = "look up the PTR record of that address: `dig -x ADDRESS`; it should name this host"
        return [_finding(subject, Verdict.UNKNOWN, found, "a name that resolves back", fix)]
    async with asyncio.timeout(limit):
        reverse = await resolver.fetch_name(address)
    if reverse is None:
        found = "none, or one that does not resolve back: many servers refuse mail from such an address"
        return [_finding(subject, Verdict.WARNING, found, "a name that resolves back", _REVERSE_FIX)]
    findings = [_finding(subject, Verdict.OK, reverse)]
    name = settings.session.ehlo_name
    if name is not None and name.lower() != reverse and not await _has_address(resolver, name, address, limit):
        found = f"{name} does not have the address {address}"
        expected = f"that it resolves to {address}, or is {reverse}"
        fix = f"add the address to the name, or leave smtp-out-hostname empty: EHLO then says {reverse}"
        findings.append(_finding("smtp-out-hostname", Verdict.WARNING, found, expected, fix))
    return findings


async def _has_address(resolver: Resolver, name: str, address: str, limit: float) -> bool:
    try:
        async with asyncio.timeout(limit):
            return address in (await resolver.fetch_addresses(name, ipv6=":" in address)).records
    except DnsError:
        return False


async def _look_at_target(key: str, host: str, resolver: Resolver) -> list[Finding]:
    """Whether the one server everything goes to has an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [_finding(key, Verdict.OK, host)]
    answers = await asyncio.gather(
        *(resolver.fetch_addresses(host, ipv6=ipv6) for ipv6 in (False, True)), return_exceptions=True
    )
    found = [str(record) for answer in answers if not isinstance(answer, BaseException) for record in answer.records]
    if found:
        return [_finding(key, Verdict.OK, f"{host} is {', '.join(found[:5])}")]
    trouble = next((str(answer) for answer in answers if isinstance(answer, DnsError)), f"{host} has no address")
    return [_finding(key, Verdict.WRONG, trouble, "a name with an address", f"correct {key}, or the name in DNS")]
