"""The resolver: cached DNS look-ups over our own UDP and TCP transport. Layer 4, port ``relayq.ports.Resolver``."""

from relayq.adapters.dns.options import DnsOptions, NameServer
from relayq.adapters.dns.overrides import Overrides
from relayq.adapters.dns.resolver import DnsResolver, DnsStatistics

__all__ = ["DnsOptions", "DnsResolver", "DnsStatistics", "NameServer", "Overrides"]
