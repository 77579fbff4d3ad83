"""DKIM keys of a message next to what DNS publishes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryResolver
from relayq.cli.doctor.dkim_keys import UnreadableMessageError, dkim_checks, parse_record, read_keys
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.compose import parse_signing_keys
from relayq.ports import DnsFailureKind

SEED = base64.b64encode(bytes(range(32))).decode()
PUBLIC = base64.b64encode(
    Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
).decode()
ENTRY = {"domain": "shop.example", "selector": "s1", "key": SEED}
NAME = "s1._domainkey.shop.example"


async def look(*records: str, failure: DnsFailureKind | None = None, **members: str) -> list[Finding]:
    resolver = MemoryResolver(SystemClock())
    if records:
        resolver.set_txt(NAME, *records)
    if failure is not None:
        resolver.fail_txt(NAME, failure)
    (check,) = dkim_checks(parse_signing_keys(ENTRY | members), resolver, 5.0)
    return list(await check.examine())


@pytest.mark.parametrize(
    "record",
    [
        f"v=DKIM1; k=ed25519; p={PUBLIC}",
        f"k=ed25519 ;p= {PUBLIC[:10]} {PUBLIC[10:]};",
        f"v=DKIM1; h=sha256; k=ed25519; t=s; n=note; p={PUBLIC}",
    ],
)
async def test_a_published_key(record: str) -> None:
    (finding,) = await look("v=spf1 -all", record)
    assert (finding.verdict, finding.subject, finding.found) == (Verdict.OK, NAME, "published, ed25519")


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ((), "there is no TXT record"),
        (("v=spf1 -all",), "no key record"),
        ((f"v=DKIM1; k=rsa; p={PUBLIC}",), "another key is published"),
        (("v=DKIM1; k=ed25519; p=AAAA",), "another key is published"),
        (("v=DKIM1; k=ed25519; p=",), "revoked"),
        ((f"v=DKIM1; k=ed25519; p={PUBLIC}", "v=DKIM1; p=AAAA"), "2 key records"),
    ],
)
async def test_keys_nobody_can_verify(records: tuple[str, ...], text: str) -> None:
    finding = (await look(*records))[0]
    assert (finding.verdict, text in finding.found) == (Verdict.WRONG, True)
    if len(records) < 2:
        assert finding.fix == f"publish as TXT record of {NAME}: v=DKIM1; k=ed25519; p={PUBLIC}"


async def test_warnings() -> None:
    (test,) = await look(f"v=DKIM1; k=ed25519; t=s:y; p={PUBLIC}")
    assert (test.verdict, "t=y" in test.found) == (Verdict.WARNING, True)
    expired, published = await look(f"v=DKIM1; k=ed25519; p={PUBLIC}", expire="2020-01-01 00:00:00")
    assert (expired.verdict, published.verdict) == (Verdict.WARNING, Verdict.OK)


async def test_keys_that_cannot_sign() -> None:
    (finding,) = await look(key="nonsense")
    assert (finding.verdict, "cannot sign" in finding.found) == (Verdict.WRONG, True)
    assert "nonsense" not in str(finding)


async def test_trouble_with_dns() -> None:
    (finding,) = await look(failure=DnsFailureKind.TIMEOUT)
    assert (finding.verdict, finding.fix) == (Verdict.WRONG, "see what is told about dns")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "message.json"
    path.write_text(json.dumps({"recipient": "a@b.test", "dkim": [ENTRY, ENTRY | {"selector": "s2"}]}))
    assert [key.name for key in read_keys(path)] == [NAME, "s2._domainkey.shop.example"]
    path.write_text("{}")
    assert read_keys(path) == ()
    for text in ("", "[]", '{"dkim": 7}', '{"dkim": {"domain": "x.test"}}', '{"dkim": ', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(UnreadableMessageError):
            read_keys(path)
    with pytest.raises(UnreadableMessageError):
        read_keys(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "v=spf1 -all", "v=DKIM2; p=x", "p", ";;;=;"])
def test_other_records(text: str) -> None:
    assert parse_record(text) is None
