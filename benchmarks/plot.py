"""Small plots as SVG: lines over a numeric or logarithmic axis, and horizontal bars. No library, no script, no font.

Colours are readable on light and dark pages; the same figures give the same octets, so pages can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 44, 46
COLOURS = ("#2f7ed8", "#d9822b", "#2e9e5b", "#b04bc0")
INK = "#808080"
BAR_HEIGHT, BAR_GAP, BAR_LEFT = 20, 10, 230


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name and its points, x ascending; not empty."""

    name: str
    points: tuple[tuple[float, float], ...]


def shown(value: float) -> str:
    """A number for an axis: 1500 → ``1.5 k``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from ``low`` to ``high``."""
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def lines_svg(title: str, x_name: str, y_name: str, lines: Sequence[Line], *, logarithmic: bool = False) -> str:
    """A plot whose y axis starts at 0.

    Args:
        title: Over the plot.
        x_name: What x is, with its unit.
        y_name: The same of y.
        lines: The curves, at most as many as there are colours.
        logarithmic: x by powers of ten; every x is more than 0 then.
    """
    every_x = sorted({x for line in lines for x, _ in line.points})
    place = math.log10 if logarithmic else float
    low, high = place(every_x[0]), place(every_x[-1])
    top = max(max(y for line in lines for _, y in line.points) * 1.05, 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (place(x) - low) / (high - low) if high > low else 0.5
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 18, title, weight="bold"), _text(WIDTH - RIGHT, HEIGHT - 8, x_name, anchor="end")]
    parts.append(_text(LEFT, 36, y_name))
    for y in _ticks(0.0, top):
        _, height = at(every_x[0], y)
        parts.append(_rule(LEFT, height, WIDTH - RIGHT, height))
        parts.append(_text(LEFT - 8, height + 4, shown(y), anchor="end"))
    for x in every_x if logarithmic or len(every_x) <= 6 else _ticks(every_x[0], every_x[-1], 6):
        across, _ = at(x, 0.0)
        parts.append(_text(across, HEIGHT - BOTTOM + 18, shown(x), anchor="middle"))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [at(x, y) for x, y in line.points]
        path = " ".join(f"{across:.1f},{height:.1f}" for across, height in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 20:
            parts += [
                f'<circle cx="{across:.1f}" cy="{height:.1f}" r="3" fill="{colour}"/>' for across, height in points
            ]
        if len(lines) > 1:
            parts.append(_text(WIDTH - RIGHT, 18 + 15 * number, line.name, anchor="end", colour=colour))
    return _document(title, HEIGHT, parts)


def bars_svg(title: str, unit: str, bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars with their values, the first one on top."""
    most = max((value for _, value in bars), default=0.0) or 1.0
    parts = [_text(12, 18, f"{title}, {unit}", weight="bold")]
    height = 36.0
    for name, value in bars:
        width = max(value / most * (WIDTH - BAR_LEFT - 80), 1.0)
        parts.append(_text(BAR_LEFT - 8, height + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{BAR_LEFT}" y="{height:.0f}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{COLOURS[0]}"/>'
        )
        parts.append(_text(BAR_LEFT + width + 6, height + 14, f"{value:,.0f}"))
        height += BAR_HEIGHT + BAR_GAP
    return _document(title, int(height) + 4, parts)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{INK}" stroke-width="0.4"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _document(title: str, height: int, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="12">\n<title>{escape(title)}</title>\n{body}\n</svg>\n'
    )
