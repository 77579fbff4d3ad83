"""MTA-STS policies as domains publish them: the record that announces one, and the file it is in (RFC 8461).

Pure, and strict where leniency would weaken what a domain asks for; bounded, because both come from strangers.
"""

from __future__ import annotations

import enum
import re

import msgspec

from relayq.policy.tls import matching_name

MAX_AGE = 31_557_600.0
"""Seconds; one year, the most a policy may ask for (RFC 8461 section 3.2)."""
MAX_POLICY_OCTETS = 65_536
MAX_PATTERNS = 100

_VERSION = "STSv1"
_RECORD = re.compile(r"v=STSv1[ \t]*;(.*)", re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*))*")
_AGE = re.compile(r"[0-9]{1,10}")


class StsMode(enum.Enum):
    """What a domain wants done with hosts that do not meet its policy."""

    ENFORCE = "enforce"
    TESTING = "testing"
    """Deliver, and report."""
    NONE = "none"
    """Deliver: the domain takes its policy back."""


class StsPolicy(msgspec.Struct, frozen=True):
    """What a domain says about its mail hosts.

    Attributes:
        mode: How seriously it is meant.
        patterns: Names of mail hosts in lower case, ``*.`` in front standing for one label.
        max_age: Seconds it may be kept.
    """

    mode: StsMode
    patterns: tuple[str, ...] = ()
    max_age: float = 0.0

    def allows(self, host: str) -> bool:
        """Whether a host is one of those the domain names (RFC 8461 section 4.1)."""
        return matching_name((host,), self.patterns) is not None


NO_POLICY = StsPolicy(StsMode.NONE)


class BadPolicyError(ValueError):
    """What should be a policy is none; says why."""


def find_policy_id(texts: tuple[str, ...]) -> str | None:
    """Id of the policy that TXT records at ``_mta-sts`` announce; ``None`` if they announce none, or several."""
    announced = [match[1] for text in texts if (match := _RECORD.fullmatch(text))]
    if len(announced) != 1:
        return None
    for field in announced[0].split(";"):
        name, _, value = field.strip(" \t").partition("=")
        if name.rstrip(" \t") == "id":
            value = value.strip(" \t")
            return value if _ID.fullmatch(value) else None
    return None


def parse_policy(octets: bytes) -> StsPolicy:
    """The policy in a file, where the first of several equal names counts, except for ``mx``.

    Raises:
        BadPolicyError: It is none.
    """
    if len(octets) > MAX_POLICY_OCTETS:
        raise BadPolicyError("too long")
    try:
        lines = octets.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise BadPolicyError("not UTF-8") from None
    values: dict[str, str] = {}
    patterns: list[str] = []
    for line in lines:
        name, colon, value = line.strip(" \t\r").partition(":")
        if not colon:
            continue
        value = value.strip(" \t")
        if name == "mx":
            patterns.append(_parse_pattern(value))
        else:
            values.setdefault(name, value)
    if values.get("version") != _VERSION:
        raise BadPolicyError("not of version STSv1")
    try:
        mode = StsMode(values.get("mode", ""))
    except ValueError:
        raise BadPolicyError("mode is none of enforce, testing, none") from None
    age = values.get("max_age", "")
    if not _AGE.fullmatch(age):
        raise BadPolicyError("max_age is no number")
    if not patterns and mode is not StsMode.NONE:
        raise BadPolicyError("no mx")
    if len(patterns) > MAX_PATTERNS:
        raise BadPolicyError(f"more than {MAX_PATTERNS} mx")
    return StsPolicy(mode, tuple(patterns), min(float(age), MAX_AGE))


def _parse_pattern(value: str) -> str:
    if len(value) > 255 or not _PATTERN.fullmatch(value):
        raise BadPolicyError("mx is no host name")
    return value.lower()
