"""Unbound as a validating resolver that trusts a zone of the tests and asks nobody outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.ports import free_port
from tests.support.processes import is_listening
from tests.support.receivers.jail import JailedServer

_CONFIGURATION = """\
server:
    interface: {address}
    port: {port}
    access-control: 127.0.0.0/8 allow
    do-daemonize: no
    do-not-query-localhost: no
    do-ip6: no
    num-threads: 1
    username: ""
    chroot: ""
    directory: "/etc/unbound"
    pidfile: ""
    use-syslog: no
    val-log-level: 2
    module-config: "validator iterator"
    local-zone: "." static
remote-control:
    control-enable: no
"""
_ZONE = """\
server:
    local-zone: "{zone}." transparent
stub-zone:
    name: "{zone}."
    stub-addr: {server}
"""


class Unbound(JailedServer):
    """Answers for some zones, and that nothing else exists.

    Attributes:
        address, port: Where it answers.
    """

    package = "unbound"
    address = "127.0.51.2"

    def __init__(self, zones: Sequence[str], server: str, trust_anchors: Mapping[str, str]) -> None:
        """``server`` is ``ip@port`` of the authoritative one; a zone without trust anchor is taken unvalidated."""
        super().__init__()
        self.port = free_port(self.address)
        self._zones = zones
        self._server = server
        self._trust_anchors = trust_anchors

    def configure(self) -> None:
        """One file."""
        text = _CONFIGURATION.format(address=self.address, port=self.port)
        text += "".join(_ZONE.format(zone=zone, server=self._server) for zone in self._zones)
        anchors = "".join(f'    trust-anchor: "{anchor}"\n' for anchor in self._trust_anchors.values())
        self.jail.write("etc/unbound/unbound.conf", f"{text}server:\n{anchors}")

    def command(self) -> Sequence[str]:
        """In the foreground."""
        return ["/usr/sbin/unbound", "-d", "-c", "/etc/unbound/unbound.conf"]

    def is_ready(self) -> bool:
        """Whether it listens."""
        return is_listening(self.address, self.port)
