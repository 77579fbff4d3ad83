"""Messages of every odd shape arrive octet for octet as they were meant, and their signatures verify.

Each message of the torture set goes out twice, signed: as it is, through personalisation and inlining that find nothing
in it; and as a part beside one that is personalised and inlined. What is expected is put together here, without asking
the code under test; it is compared with what Postfix's ``smtp-sink`` wrote down. dkimpy verifies.
"""

from __future__ import annotations

import asyncio
import email
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relayq.adapters.memory import MemoryStore
from relayq.compose import PrivateKeys
from tests.integration.dkim.verifiers import verify_with_dkimpy
from tests.support.engine import Engine, mail
from tests.support.servers import SmtpSink
from tests.support.torture import MESSAGES

OUTER = (
    b"From: Shop <news@shop.test>\r\nTo: ann@example.test\r\nSubject: %s\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="=_around"\r\n\r\n'
    b"--=_around\r\nContent-Type: text/html; charset=utf-8\r\n\r\n%s\r\n--=_around\r\n%s--=_around--\r\n"
)
GIVEN = (b"Dear {$name}", b"<style>p{color:red} p:hover{top:0}</style>\r\n<p>Dear {$name}")
MEANT = (b"Dear Ann", b'<style> p:hover{top:0!important}</style>\r\n<p style="color:red">Dear Ann')

NO_MESSAGES_FOR_DKIMPY = {"space-before-colon", "missing-separator", "missing-separator-8bit"}
"""It refuses a header with a line that it takes for no field; `tests/integration/dkim` asks others about the first."""


class Case(NamedTuple):
    """A message and what is to arrive.

    Attributes:
        name: Of the torture message, ``+`` behind it where it is a part.
        given: What the producer hands over.
        meant: What the server is to get, behind the signature.
        force: It has something that is an error otherwise.
    """

    name: str
    given: bytes
    meant: bytes
    force: bool


def cases() -> list[Case]:
    found: list[Case] = []
    for name, message in MESSAGES.items():
        mime = message.mime
        has_nul = b"\0" in mime
        # Without an author nothing can be signed.
        is_unsigned = email.message_from_bytes(mime)["From"] is None
        found.append(Case(name, mime, mime.replace(b"\0", b""), has_nul or is_unsigned))
        html = GIVEN[1] if name == "too-many-parts" else MEANT[1]  # nobody looks into so many
        given, meant = OUTER % (*GIVEN, mime), OUTER % (MEANT[0], html, mime.replace(b"\0", b""))
        found.append(Case(f"{name}+", given, meant, has_nul))
    return found


CASES = cases()


@pytest.fixture(scope="module")
def signing_key() -> tuple[dict[str, str], dict[str, str]]:
    """``dkim`` of a message, and what DNS says of it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    entry = {"domain": "shop.test", "selector": "s", "key": pem, "canonicalization": "simple/simple"}
    return entry, {"s._domainkey.shop.test": PrivateKeys().load(pem).dns_record()}


async def outbox_messages(store: MemoryStore, dkim: dict[str, str]) -> list[dict[str, Any]]:
    """What JSON can carry goes into it, the rest into the store."""
    messages: list[dict[str, Any]] = []
    for number, case in enumerate(CASES):
        facts: dict[str, Any] = {
            "data": {"name": "Ann"}, "inlinecss": True, "dkim": dkim, "force": case.force,
            "recipient": f"u{number}@example.test",
        }  # fmt: skip
        try:
            facts["mime"] = case.given.decode("utf-8")
        except UnicodeDecodeError:
            await store.save(str(number), case.given, datetime.now(UTC) + timedelta(days=1))
            facts |= {"mime": None, "key": str(number)}
        messages.append(mail(case.name, **facts))
    return messages


def received(sink: SmtpSink) -> dict[str, bytes]:
    """Octets of the content by case, CRLF again; what the sink puts around them is taken off."""
    found: dict[str, bytes] = {}
    for dump in sink.messages():
        own, _, rest = dump.partition(b"\nReceived: ")
        recipient = re.search(rb"X-Rcpt-Args: <u(\d+)@", own)
        assert recipient is not None
        _, _, content = rest.partition(b" (UTC)\n")
        assert content.endswith(b"\n\n")  # it ends what it wrote with an empty line
        found[CASES[int(recipient[1])].name] = content[:-1].replace(b"\n", b"\r\n")
    return found


def split_signature(content: bytes) -> tuple[bytes, bytes]:
    """The signature on top, empty if there is none, and the rest."""
    signature = re.match(rb"DKIM-Signature: v=1; a=rsa-sha256;(?:[^\r]|\r\n[ \t])*\r\n", content)
    return (signature[0], content[signature.end() :]) if signature else (b"", content)


async def test_all_of_them_arrive_as_meant_and_verify(
    smtp_sink_factory: Callable[..., SmtpSink], signing_key: tuple[dict[str, str], dict[str, str]]
) -> None:
    dkim, records = signing_key
    store = MemoryStore()
    async with Engine("smtp-out-security=optional", "storage-policy=none", store=store) as engine:
        sink = smtp_sink_factory(port=engine.port, keep=True)
        await engine.send(*await outbox_messages(store, dkim))
        for case in CASES:
            outcome = await engine.outcome(case.name, patience=60.0)
            assert outcome.kind == "success", (case.name, outcome.last)
        await engine.stop()
        contents = received(sink)
    assert contents.keys() == {case.name for case in CASES}
    parts = {name: split_signature(content) for name, content in contents.items()}
    assert {case.name: parts[case.name][1] == case.meant for case in CASES} == {case.name: True for case in CASES}

    signed = [name for name, (signature, _) in parts.items() if signature]
    unsigned = contents.keys() - set(signed)
    assert unsigned <= {case.name for case in CASES if case.force}
    verdicts = await asyncio.to_thread(
        verify_with_dkimpy, [contents[name] for name in signed], records, datetime.now(UTC)
    )
    failed = {name for name, verdict in zip(signed, verdicts, strict=True) if verdict[:1] != [True]}
    assert failed == NO_MESSAGES_FOR_DKIMPY
    assert len(signed) >= 250


def test_there_are_enough() -> None:
    assert len(MESSAGES) >= 100
