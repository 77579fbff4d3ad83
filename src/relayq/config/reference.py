"""The reference page of all settings, written from the table that the program itself follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relayq.config.compatibility import ALIASES, NO_EFFECT, PARTS, REPLACED
from relayq.config.environment import PREFIX, variable_of
from relayq.config.load import DEFAULT_FILE
from relayq.config.setting import Supported
from relayq.config.table import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relayq.config.setting import Section, Setting

_INTRODUCTION = f"""\
# Settings

<!-- Written by scripts/generate_settings_reference.py from src/relayq/config/table. Do not edit. -->

A value comes from the strongest of these places that names the setting:

1. the command line: `--key=value` or `--key value`; for switches also `--key` and `--no-key`
2. the environment: `{variable_of("rabbitmq-address")}` is `rabbitmq-address`, and so on; `{PREFIX}KEY_FILE` names a
   file whose content is the value, for secrets
3. files given as `--config-file`, the last one first
4. `{DEFAULT_FILE}`, unless `--no-default-config` is given
5. the default

Files contain lines `key: value`. Lines starting with `#` are comments; there are no quotes and no comments behind a
value. A value left blank switches a queue, path, address, login or list off, and means the default everywhere else.
`relayq check-config` reads everything and reports all mistakes at once.

Columns: **Tier** says how early a setting matters: A for the basic behaviour, B in production, C later.
**Reload** says whether `SIGHUP` applies a change. **Works** says which values do already; others are refused.
"""

_HEAD = """\
| Setting | Value | Default | Meaning | Tier | Reload | Works |
| --- | --- | --- | --- | --- | --- | --- |
"""

_OLD_NAMES = """\
## Names of MailerQ

These are understood so that an existing file loads.

| Name | What becomes of it |
| --- | --- |
"""


def render_reference() -> str:
    """Return the whole page, Markdown."""
    return "\n".join((_INTRODUCTION, *map(_section, SECTIONS), f"{_OLD_NAMES}{_lines(_old_names())}"))


def _section(section: Section) -> str:
    return f"## {section.title}\n\n{_HEAD}{_lines(map(_row, section.settings))}"


def _row(setting: Setting) -> Iterable[str]:
    secret = " Secrets in it are never shown." if setting.secret else ""
    return (
        f"`{setting.key}`",
        setting.type.expected,
        _default(setting),
        f"{setting.sentence}{secret}",
        setting.tier,
        "yes" if setting.reloadable else "no",
        _works(setting),
    )


def _default(setting: Setting) -> str:
    if setting.default_note:
        return setting.default_note
    return f"`{setting.default}`" if setting.default else "none"


def _works(setting: Setting) -> str:
    if setting.supported is Supported.YES:
        return "yes"
    if setting.supported is Supported.NOT_YET:
        return "default only"
    texts = dict.fromkeys((setting.default, *setting.supported))
    return ", ".join(f"`{text}`" for text in texts)


def _old_names() -> Iterable[Iterable[str]]:
    for name, key in ALIASES.items():
        yield f"`{name}`", f"means `{key}`"
    for name, composed in PARTS.items():
        yield f"`{name}`", f"becomes part of `{composed.key}`"
    for name, advice in REPLACED.items():
        yield f"`{name}`", advice
    for name, reason in NO_EFFECT.items():
        yield f"`{name}`", reason


def _lines(rows: Iterable[Iterable[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
