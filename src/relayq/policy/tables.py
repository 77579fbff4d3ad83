"""Tables of the database of rules (spec operations.md 25). Their names are those of MailerQ, their columns ours."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
"""Of this schema, kept in ``settings_version``."""

# Table → columns: name, and what it holds: id, integer, name (255 characters) or text.
TABLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "dkim_keys": (
        ("id", "id"),
        ("domain", "name"),
        ("selector", "name"),
        ("private_key", "text"),
        ("expire", "name"),
        ("headers", "text"),
        ("canonicalization", "name"),
        ("protocols", "name"),
        ("report", "integer"),
        ("priority", "integer"),
        ("oversign", "integer"),
        ("identity", "name"),
        ("match_dns", "integer"),
    ),
    "dkim_patterns": (("id", "id"), ("key_id", "integer"), ("kind", "name"), ("pattern", "name")),
    "settings_version": (("id", "id"), ("version", "integer")),
}
