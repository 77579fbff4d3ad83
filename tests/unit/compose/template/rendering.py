"""Rendering templates in tests: one call, everything else fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from relayq.compose.template import TemplateCache, TemplateContext, template_context

NOW = datetime(2026, 11, 21, 20, 0, 0, tzinfo=UTC)
NOW_UNIX = 1795291200


class StepClock:
    """Seconds that go by with every question."""

    def __init__(self, seconds: float, step: float = 1.0) -> None:
        self.left = seconds
        self.questions = 0
        self._step = step

    def __call__(self) -> float:
        self.questions += 1
        self.left -= self._step
        return self.left


def context(data: Mapping[str, object] | None = None, time_left: Callable[[], float] = lambda: 1.0) -> TemplateContext:
    return template_context(
        data or {}, envelope="bounce@shop.test", recipient="ann@example.test", now=NOW, time_left=time_left
    )


def render(
    text: str,
    data: Mapping[str, object] | None = None,
    *,
    is_html: bool = False,
    escape: str = "null",
    time_left: Callable[[], float] = lambda: 1.0,
) -> str:
    """Output of a template that is compiled afresh."""
    template = TemplateCache().get(text, is_html=is_html, escape=escape, time_left=time_left)
    return template.render(context(data, time_left))
