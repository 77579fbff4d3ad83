"""Knot DNS as an authoritative server that signs the zones it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.ports import free_port
from tests.support.processes import is_listening
from tests.support.receivers.jail import JailedServer

_CONFIGURATION = """\
server:
    rundir: "/run/knot"
    listen: "{address}@{port}"
database:
    storage: "/var/lib/knot"
log:
  - target: stderr
    any: warning
policy:
  - id: tests
    algorithm: ecdsap256sha256
    single-type-signing: on
template:
  - id: default
    storage: "/etc/knot"
    file: "%s.zone"
    journal-content: none
    zonefile-load: whole
    zonefile-sync: -1
zone:
"""
_SIGNED = "    dnssec-signing: on\n    dnssec-policy: tests\n"
_HEAD = "$TTL 300\n@ SOA ns admin 1 3600 600 86400 300\n@ NS ns\nns A {address}\n"
CONF = "/etc/knot/knot.conf"


class Knot(JailedServer):
    """Serves zones.

    Attributes:
        address, port: Where it answers, UDP and TCP.
        trust_anchors: DS record of each signed zone, once it runs.
    """

    package = "knot"
    address = "127.0.51.1"

    def __init__(self, signed: Mapping[str, str], unsigned: Mapping[str, str]) -> None:
        """Both: zone name to records in presentation format, without SOA and NS."""
        super().__init__()
        self.port = free_port(self.address)
        self.trust_anchors: dict[str, str] = {}
        self._signed = signed
        self._unsigned = unsigned

    def configure(self) -> None:
        """Configuration, zones, keys."""
        zones = "".join(f"  - domain: {zone}\n{_SIGNED}" for zone in self._signed)
        zones += "".join(f"  - domain: {zone}\n" for zone in self._unsigned)
        text = _CONFIGURATION.format(address=self.address, port=self.port)
        self.jail.write("etc/knot/knot.conf", text + zones)
        for zone, records in {**self._signed, **self._unsigned}.items():
            self.jail.write(f"etc/knot/{zone}.zone", _HEAD.format(address=self.address) + records)
        self.jail.folder("run/knot")
        self.jail.folder("var/lib/knot")
        for zone in self._signed:
            self.jail.run(
                "/usr/sbin/keymgr", "-c", CONF, zone, "generate", "algorithm=ecdsap256sha256", "ksk=yes", "zsk=yes"
            )
            lines = self.jail.run("/usr/sbin/keymgr", "-c", CONF, zone, "ds").splitlines()
            self.trust_anchors[zone] = next(line for line in lines if " 13 2 " in line)

    def command(self) -> Sequence[str]:
        """In the foreground."""
        return ["/usr/sbin/knotd", "-c", CONF]

    def is_ready(self) -> bool:
        """Whether it listens."""
        return is_listening(self.address, self.port)
