"""DKIM keys of a message in a file: can they sign, and does DNS publish the same ones.

Keys come with messages (``dkim``), not with the configuration, so one message stands for those like it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.compose import PrivateKeys, SigningKey, SigningKeyError, UnusableKeyError, parse_signing_keys
from relayq.model.message_json import InvalidBodyError, decode_members
from relayq.ports import DnsError, DnsFailureKind, Resolver

AREA: Final = "dkim"

_finding = partial(Finding, AREA)
LARGEST_FILE: Final = 128 * 1024 * 1024
MOST_KEYS: Final = 20
SHOWN_RECORD: Final = 900
"""Characters of a record in a fix; one of an RSA key of 4096 bits has 760."""
_BLANKS: Final = re.compile(r"\s+")


class UnreadableMessageError(Exception):
    """The file holds no message."""


def read_keys(path: Path) -> tuple[SigningKey, ...]:
    """Entries of ``dkim`` of the message in a file.

    Raises:
        UnreadableMessageError: The file cannot be read, is no JSON object, or has entries that are none.
    """
    try:
        with path.open("rb") as file:
            members = decode_members(file.read(LARGEST_FILE))
        return parse_signing_keys(msgspec.json.decode(members["dkim"]) if "dkim" in members else None)
    except OSError as error:
        raise UnreadableMessageError(f"{path}: {error.strerror}") from None
    except (InvalidBodyError, msgspec.DecodeError, RecursionError) as error:
        raise UnreadableMessageError(f"{path} holds no JSON object: {error}") from None
    except SigningKeyError as error:
        raise UnreadableMessageError(f"{path}: {error}") from None


def dkim_checks(keys: tuple[SigningKey, ...], resolver: Resolver, limit: float) -> list[Check]:
    """One check per key, at most some."""
    known = PrivateKeys()

    def check(key: SigningKey) -> Check:
        async def examine() -> list[Finding]:
            return await look_at_key(key, known, resolver, datetime.now(UTC))

        return Check(area=AREA, subject=key.name, examine=examine, limit=limit, fix="see what is told about dns")

    return [check(key) for key in keys[:MOST_KEYS]]


async def look_at_key(key: SigningKey, known: PrivateKeys, resolver: Resolver, now: datetime) -> list[Finding]:
    """Whether the key can sign, and what DNS says about it."""
    try:
        private = await asyncio.to_thread(known.load, key.key)
    except UnusableKeyError as error:
        fix = "put a usable private key into dkim.key: RSA of 2048 bits or Ed25519"
        return [_finding(key.name, Verdict.WRONG, f"the private key cannot sign: {error}", "a private key", fix)]
    findings = [
        _finding(key.name, Verdict.WARNING, warning, "RSA of 2048 to 4096 bits", "make a new key with a new selector")
        for warning in private.warnings
    ]
    if key.expire_at is not None and key.expire_at <= now:
        findings.append(
            _finding(key.name, Verdict.WARNING, "expired: it is skipped", "a date to come", "correct dkim.expire")
        )
    record = private.dns_record()
    try:
        answer = await resolver.fetch_txt(key.name)
    except DnsError as error:
        if error.kind is not DnsFailureKind.NXDOMAIN:
            return [
                *findings,
                _finding(key.name, Verdict.WRONG, str(error), "its TXT record", "see what is told about dns"),
            ]
        texts: tuple[str, ...] = ()
    else:
        texts = tuple(map(str, answer.records))
    return [*findings, *judge_records(key.name, texts, record)]


def judge_records(name: str, texts: tuple[str, ...], wanted: str) -> Iterator[Finding]:
    """What the TXT records of a key name say, next to what the private key belongs to (RFC 6376 section 3.6.1)."""
    publish = f"publish as TXT record of {name}: {wanted[:SHOWN_RECORD]}"
    tags = [parsed for text in texts if (parsed := parse_record(text)) is not None]
    expected = "the public key of dkim.key"
    if not tags:
        found = "no key record" if texts else "there is no TXT record"
        yield _finding(name, Verdict.WRONG, f"{found}: signatures cannot be verified", expected, publish)
        return
    if len(tags) > 1:
        fix = "leave only the record of the key that signs"
        yield _finding(name, Verdict.WRONG, f"{len(tags)} key records: receivers may take any", "one", fix)
    ours = parse_record(wanted)
    assert ours is not None
    if any(each.get("p") == ours["p"] and each.get("k", "rsa") == ours["k"] for each in tags):
        is_test = any("y" in each.get("t", "").split(":") for each in tags)
        if is_test:
            found = "published, but as a test (t=y): receivers treat the mail as unsigned"
            yield _finding(name, Verdict.WARNING, found, "no t=y", publish)
        else:
            yield _finding(name, Verdict.OK, f"published, {ours['k']}")
        return
    found = "the key is revoked (p is empty)" if not tags[0].get("p") else "another key is published"
    yield _finding(name, Verdict.WRONG, f"{found}: signatures are not valid", expected, publish)


def parse_record(text: str) -> dict[str, str] | None:
    """Tags of a key record, blanks removed; ``None`` when the text is none: without ``p=``, or of another version."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(), _BLANKS.sub("", value))
    return tags if "p" in tags and tags.get("v", "DKIM1") == "DKIM1" else None
