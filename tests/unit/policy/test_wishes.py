"""Whose wishes about reports are passed on."""

from __future__ import annotations

import pytest

from relayq.model import DsnOptions
from relayq.policy.wishes import relayed_wishes

FAILURE = DsnOptions(notify=("FAILURE",))
FULL = DsnOptions(ret="FULL", envid="e", orcpt="a@b.test")
BOTH = DsnOptions(notify=("DELAY",), ret="HDRS")


@pytest.mark.parametrize(
    ("given", "configured", "relayed"),
    [
        (None, None, None),
        (None, FAILURE, FAILURE),
        (FULL, None, FULL),
        (FULL, BOTH, DsnOptions(notify=("DELAY",), ret="FULL", envid="e", orcpt="a@b.test")),
        (FAILURE, BOTH, DsnOptions(notify=("FAILURE",), ret="HDRS")),
        (DsnOptions(notify=("NEVER",)), FAILURE, DsnOptions(notify=("NEVER",))),
        (DsnOptions(), BOTH, BOTH),
    ],
)
def test_wishes(given: DsnOptions | None, configured: DsnOptions | None, relayed: DsnOptions | None) -> None:
    assert relayed_wishes(given, configured) == relayed
