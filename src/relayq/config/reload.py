"""What of a changed configuration a running process takes over (spec config.md 5)."""

from __future__ import annotations

from dataclasses import dataclass

from relayq.config.checks import find_conflicts
from relayq.config.problems import ConfigurationError, Problem
from relayq.config.settings import Settings, build_settings, with_borrowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """The answer to a reload.

    Attributes:
        settings: What is in force from now on.
        applied: Keys whose new value that is, in the order of the table.
        needs_restart: Keys that changed but keep their running value.
    """

    settings: Settings
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def decide_reload(running: Settings, fresh: Settings) -> Reload:
    """Take the reloadable values of ``fresh`` and keep the others of ``running``.

    Raises:
        ConfigurationError: The mixture contradicts itself, although ``fresh`` alone would not; nothing is taken over.
    """
    changed = [key for key, item in fresh.effective.items() if item.value != running.effective[key].value]
    needs_restart = tuple(key for key in changed if not fresh.effective[key].setting.reloadable)
    mixed = with_borrowed(
        {key: item if item.setting.reloadable else running.effective[key] for key, item in fresh.effective.items()}
    )
    conflicts = find_conflicts({key: item.value for key, item in mixed.items()})
    problems = [Problem(where=mixed[key].where, key=key, text=f"{text} until the restart") for key, text in conflicts]
    if problems:
        raise ConfigurationError(problems, fresh.warnings)
    applied = tuple(key for key, item in mixed.items() if item.value != running.effective[key].value)
    return Reload(settings=build_settings(mixed, fresh.warnings), applied=applied, needs_restart=needs_restart)
