"""Haraka, from its package for Node.js; needs no privileges.

Its plugin ``store`` keeps the octets of every message with the line ends they came with.
"""

from tests.support.receivers.haraka.server import ADDRESSES, LOGIN, OTHER, PLAIN, SIZE_LIMIT, Haraka

__all__ = ["ADDRESSES", "LOGIN", "OTHER", "PLAIN", "SIZE_LIMIT", "Haraka"]
