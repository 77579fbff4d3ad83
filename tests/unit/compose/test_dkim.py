"""Signature fields: which headers they name, how they are written, when there is none (spec html-css-dkim.md 4)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relayq.compose.dkim import (
    STANDARD_HEADERS,
    HugeHeaderError,
    NoAuthorError,
    PreparedSignatures,
    SigningFailedError,
    prepare_signatures,
    sign_message,
)
from relayq.compose.headers import MAX_SIGNED_OCTETS
from relayq.compose.signing_keys import PrivateKeys, SigningKey, UnusableKeyError, parse_signing_keys

SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="  # RFC 8463 appendix A.2
NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
RSA_PEM = (
    rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)


def entry(**members: object) -> dict[str, object]:
    return {"domain": "example.com", "selector": "s1", "key": SEED, **members}


def keys_of(*entries: dict[str, object], is_required: bool = True) -> tuple[SigningKey, ...]:
    return parse_signing_keys([*entries], is_required=is_required)


def message_of(*lines: str, body: str = "x\r\n") -> bytes:
    return ("".join(f"{line}\r\n" for line in lines) + "\r\n" + body).encode()


def prepare(message: bytes, keys: Iterable[SigningKey], *, force: bool = False) -> PreparedSignatures:
    return prepare_signatures(message, keys, NOW, PrivateKeys(), force=force)


def tags_of(field: bytes) -> dict[str, str]:
    """Tags of the first signature field; blanks are insignificant in all that is looked at here."""
    value = field.partition(b"\r\nDKIM-Signature:")[0].partition(b":")[2]
    text = "".join(value.decode("ascii").split())
    return dict(tag.split("=", 1) for tag in text.split(";"))


def signed_names(message: bytes, **members: object) -> str:
    return tags_of(prepare(message, keys_of(entry(**members))).sign())["h"]


ABSENT = "from:from:reply-to:subject:to:cc"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), ABSENT),
        (("Subject: x",), "from:from:reply-to:subject:subject:to:cc"),
        (("SUBJECT: x", "subject : y"), "from:from:reply-to:subject:subject:subject:to:cc"),
        (("Reply-To: a@b.example", "To: x", "Cc: y"), "from:from:reply-to:reply-to:subject:to:to:cc:cc"),
        (("From: second@example.com",), "from:from:from:reply-to:subject:to:cc"),
    ],
)
def test_five_headers_are_always_oversigned(headers: tuple[str, ...], expected: str) -> None:
    assert signed_names(message_of("From: a@example.com", *headers)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Date",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "Feedback-ID",
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_some_are_oversigned_if_present(name: str, count: int) -> None:
    names = signed_names(message_of("From: a@example.com", *[f"{name}: x"] * count)).split(":")
    assert names.count(name.lower()) == count + 1


@pytest.mark.parametrize(
    "name",
    ["Sender", "In-Reply-To", "References", "List-ID", "List-Help", "List-Subscribe", "List-Post", "List-Owner"]
    + ["List-Archive"]
    + [f"Resent-{name}" for name in ("Date", "From", "Sender", "To", "Cc", "Message-ID")],
)
@pytest.mark.parametrize("count", [1, 2])
def test_some_are_signed_if_present(name: str, count: int) -> None:
    names = signed_names(message_of("From: a@example.com", *[f"{name}: x"] * count)).split(":")
    assert names.count(name.lower()) == count


def test_all_of_them_in_the_order_of_the_specification() -> None:
    headers = [f"{name.decode()}: x@example.com" for name in reversed(STANDARD_HEADERS)]
    assert signed_names(message_of(*headers), oversign=False) == (
        "from:reply-to:subject:date:to:cc:message-id:sender:in-reply-to:references:mime-version:content-type:"
        "content-transfer-encoding:list-unsubscribe:list-unsubscribe-post:list-id:list-help:list-subscribe:list-post:"
        "list-owner:list-archive:feedback-id:resent-date:resent-from:resent-sender:resent-to:resent-cc:resent-message-id"
    )


def test_without_oversigning_each_present_instance_is_named_once() -> None:
    message = message_of("From: a@example.com", "Subject: x", "Date: y", "Date: z", "X-A: 1")
    assert signed_names(message, oversign=False) == "from:subject:date:date"


def test_extra_headers_are_signed_if_present_behind_the_standard_set() -> None:
    message = message_of("X-B: 2", "From: a@example.com", "X-A: 1", "X-A: 2")
    assert signed_names(message, headers=["X-a", "x-absent", "X-B", "Subject", "x-A"]) == f"{ABSENT}:x-a:x-a:x-b"


@pytest.mark.parametrize(
    "name",
    [
        *[
            "Return-Path",
            "Received",
            "Bcc",
            "DKIM-Signature",
            "Authentication-Results",
            "Delivered-To",
            "Comments",
            "Keywords",
        ],
        *["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "X-MQ-Tag", "x;b", "ü"],
        "",
        "a b",
    ],
)
def test_some_headers_are_never_signed(name: str) -> None:
    message = message_of("From: a@example.com", f"{name}: x")
    prepared = prepare(message, keys_of(entry(headers=[name])))
    assert tags_of(prepared.sign())["h"] == ABSENT
    [note] = prepared.notes
    assert note.endswith("is never signed")
    assert note.isascii()


def test_a_long_name_is_cut_in_the_note() -> None:
    [note] = prepare(message_of("From: a@example.com"), keys_of(entry(headers=["ü" * 10_000]))).notes
    assert len(note) < 350


def test_the_tags_in_their_order() -> None:
    keys = keys_of(
        entry(expire="2026-11-28 20:00:00", identity="news@mail.example.com", report=True, canonicalization="simple")
    )
    field = prepare(message_of("From: a@example.com"), keys).sign()
    tags = tags_of(field)
    assert list(tags) == ["v", "a", "c", "d", "s", "t", "x", "i", "r", "h", "bh", "b"]
    assert {name: tags[name] for name in "vacdstxir"} == {
        "v": "1",
        "a": "ed25519-sha256",
        "c": "simple/simple",
        "d": "example.com",
        "s": "s1",
        "t": "1795291200",
        "x": "1795896000",
        "i": "news@mail.example.com",
        "r": "y",
    }


def test_optional_tags_are_left_out() -> None:
    tags = tags_of(prepare(message_of("From: a@example.com"), keys_of(entry(key=RSA_PEM))).sign())
    assert list(tags) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
    assert tags["a"] == "rsa-sha256"


@pytest.mark.parametrize("key", [SEED, RSA_PEM], ids=["ed25519", "rsa"])
def test_no_line_is_longer_than_78_columns(key: str) -> None:
    domain = "a-label-of-a-domain-name.that-is-quite-long.example.com"
    keys = keys_of(
        entry(key=key, domain=domain, selector="a-selector-of-some-length", identity=f"newsletter@{domain}")
        | {"report": True, "expire": "2026-11-28 20:00:00", "headers": [f"X-{'a' * 70}"]}
    )
    headers = [f"{name.decode()}: x@example.com" for name in STANDARD_HEADERS]
    field = prepare(message_of(*headers, *headers, f"X-{'a' * 70}: 1"), keys).sign()
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert all(line.startswith(b" ") for line in field.split(b"\r\n")[1:-1])
    assert field.isascii()


def test_what_cannot_be_folded_stands_on_a_line_of_its_own() -> None:
    selector = ".".join(["a" * 50] * 3)
    lines = prepare(message_of("From: a@example.com"), keys_of(entry(selector=selector))).sign().split(b"\r\n")
    assert f" s={selector};".encode() in lines


def test_the_lowest_priority_is_on_top() -> None:
    keys = keys_of(entry(selector="ten", priority=10), entry(selector="minus", priority=-2))
    field = prepare(message_of("From: a@example.com"), keys).sign()
    assert field.index(b" s=minus;") < field.index(b" s=ten;")
    assert field.count(b"DKIM-Signature:") == 2


def test_the_message_follows_its_signatures_unchanged() -> None:
    message = message_of("From: a@example.com", "DKIM-Signature: v=1; old")
    signed = sign_message(message, keys_of(entry()), NOW, PrivateKeys())
    assert signed.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")
    assert signed.endswith(b"\r\n" + message)


def test_no_keys_no_signature() -> None:
    assert prepare(message_of("Subject: x"), ()) == PreparedSignatures((), ())
    assert sign_message(b"anything", (), NOW, PrivateKeys()) == b"anything"


def test_an_expired_key_gives_neither_signature_nor_error() -> None:
    prepared = prepare(message_of("Subject: x"), keys_of(entry(expire="2026-11-21 19:59:59")))
    assert prepared.jobs == ()
    assert prepared.notes == ("s1._domainkey.example.com: expired, skipped",)


def test_only_rsa_keys_cost_something() -> None:
    message = message_of("From: a@example.com")
    assert prepare(message, keys_of(entry())).effort == 0
    assert prepare(message, keys_of(entry(), entry(selector="r", key=RSA_PEM))).effort == 0.125  # 1024 bits


# Failures (spec html-css-dkim.md 4.6).

BAD = [{"key": "AA=="}, {"identity": "a@example.org"}]


@pytest.mark.parametrize("members", BAD)
def test_a_key_of_the_message_that_cannot_be_used_is_an_error(members: dict[str, object]) -> None:
    with pytest.raises(UnusableKeyError, match=r"^s1\._domainkey\.example\.com: "):
        prepare(message_of("From: a@example.com"), keys_of(entry(**members)))


@pytest.mark.parametrize("members", BAD)
def test_with_force_it_is_skipped_and_the_others_sign(members: dict[str, object]) -> None:
    keys = keys_of(entry(**members), entry(selector="s2"))
    prepared = prepare(message_of("From: a@example.com"), keys, force=True)
    assert tags_of(prepared.sign())["s"] == "s2"
    [note] = prepared.notes
    assert note.endswith(", skipped")


@pytest.mark.parametrize("members", BAD)
def test_a_key_of_the_database_that_cannot_be_used_is_skipped(members: dict[str, object]) -> None:
    prepared = prepare(message_of("From: a@example.com"), keys_of(entry(**members), is_required=False))
    assert prepared.jobs == ()
    assert len(prepared.notes) == 1


def test_warnings_about_a_key_are_noted() -> None:
    prepared = prepare(message_of("From: a@example.com"), keys_of(entry(key=RSA_PEM)))
    assert prepared.notes == ("s1._domainkey.example.com: RSA key of 1024 bits",)


@pytest.mark.parametrize("message", [message_of("Subject: x"), b"", b"\r\n", b"From a@example.com\r\n\r\nx\r\n"])
def test_without_from_a_message_that_asked_for_it_cannot_be_signed(message: bytes) -> None:
    with pytest.raises(NoAuthorError):
        prepare(message, keys_of(entry()))


@pytest.mark.parametrize(("is_required", "force"), [(True, True), (False, False), (False, True)])
def test_without_from_other_messages_go_unsigned(*, is_required: bool, force: bool) -> None:
    keys = keys_of(entry(), is_required=is_required)
    prepared = prepare(message_of("Subject: x"), keys, force=force)
    assert prepared.sign() == b""
    assert prepared.notes == ("no From field: not signed",)


HUGE = b"From: a@example.com\r\n" + b"X: y\r\n" * (MAX_SIGNED_OCTETS // 6) + b"\r\nx\r\n"


def test_a_huge_header_is_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare(HUGE.replace(b"X: y\r\n", b"", 4), keys_of(entry())).jobs
    monkeypatch.setattr("relayq.compose.dkim.MessageHeader", lambda message: pytest.fail("read as a whole"))
    with pytest.raises(HugeHeaderError, match=r"^header of more than 262144 octets to sign$"):
        prepare(HUGE, keys_of(entry()))
    for keys, force in ((keys_of(entry()), True), (keys_of(entry(), is_required=False), False)):
        prepared = prepare(HUGE, keys, force=force)
        assert (prepared.sign(), prepared.notes) == (b"", ("header of more than 262144 octets: not signed",))


def test_a_key_that_fails_while_signing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(message_of("From: a@example.com"), keys_of(entry()))

    def fail(key: object, digest: bytes) -> bytes:
        raise ValueError(f"{key}: no entropy for {digest!r}")

    monkeypatch.setattr("relayq.compose.signing_keys.PrivateKey.sign", fail)
    with pytest.raises(SigningFailedError):
        prepared.sign()


@pytest.mark.parametrize(
    "message", [b"From: a@example.com", b"From: a@example.com\r\n", b"From: a@example.com\r\nbody"]
)
def test_a_message_without_an_empty_line_is_signed_as_it_will_be_read(message: bytes) -> None:
    whole = b"From: a@example.com\r\n\r\n" + message.partition(b"\r\n")[2]
    assert prepare(message, keys_of(entry())).sign() == prepare(whole, keys_of(entry())).sign()


# The author, to find keys by (spec html-css-dkim.md 4.5).
