"""Settings for tests of the doctor."""

from __future__ import annotations

from relayq.config import Settings, load, parse_options


def settings(*options: str) -> Settings:
    """A configuration that has nothing to warn about and writes nothing, with more options."""
    given = ["--hostname=mail.example.org", "--rabbitmq-results=results", "--journal-directory=", *options]
    return load(parse_options(given), no_default_config=True)
