"""Which wishes about delivery reports are passed on to the peer (spec messages.md 4.13, delivery.md 12.1)."""

from __future__ import annotations

import msgspec

from relayq.model import DsnOptions


def relayed_wishes(given: DsnOptions | None, configured: DsnOptions | None) -> DsnOptions | None:
    """Wishes of a message, completed by those the configuration names; ``None`` when there are none at all.

    Args:
        given: ``dsn`` of the message.
        configured: ``dsn-notify`` and ``dsn-ret`` where the configuration names them; ``None`` when it names neither.
    """
    if given is None or configured is None:
        return given or configured
    return msgspec.structs.replace(given, notify=given.notify or configured.notify, ret=given.ret or configured.ret)
