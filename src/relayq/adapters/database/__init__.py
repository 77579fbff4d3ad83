"""The database of rules: the port made real for SQLite, PostgreSQL and MySQL. Layer 4."""

from relayq.adapters.database.database import SqlDatabase, rule_tables
from relayq.adapters.database.open import open_database

__all__ = ["SqlDatabase", "open_database", "rule_tables"]
