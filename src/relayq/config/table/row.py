"""How a row of the table is written: short, because there are two hundred of them."""

from __future__ import annotations

from relayq.config.setting import Setting, Supported, Tier
from relayq.config.value_types import ValueType

A, B, C = Tier.A, Tier.B, Tier.C
RELOAD, RESTART = True, False
"""What a new value waits for."""

YES = Supported.YES
NOT_YET = Supported.NOT_YET


def only(*texts: str) -> tuple[str, ...]:
    """Mark a setting of which, besides the default, only these values work yet."""
    return texts


def row(
    key: str,
    type_: ValueType,
    default: str,
    tier: Tier,
    reloadable: bool,
    sentence: str,
    supported: Supported | tuple[str, ...],
    *,
    secret: bool = False,
    note: str = "",
) -> Setting:
    """One row; see `relayq.config.setting.Setting` for what each column says."""
    return Setting(
        key=key,
        type=type_,
        default=default,
        default_note=note,
        tier=tier,
        reloadable=reloadable,
        secret=secret,
        sentence=sentence,
        supported=supported,
    )
