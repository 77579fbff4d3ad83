"""Time spans for people."""

from __future__ import annotations

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def show_duration(seconds: float) -> str:
    """The two largest units that say something: ``42 s``, ``5 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(0, int(seconds))
    for position, (size, name) in enumerate(_UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            smaller, smaller_name = _UNITS[position + 1] if position + 1 < len(_UNITS) else (1, "")
            part = f" {rest // smaller} {smaller_name}" if smaller_name and rest >= smaller else ""
            return f"{count} {name}{part}"
    return f"{whole} s"
