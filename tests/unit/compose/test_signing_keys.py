"""Entries of ``dkim`` and their key material (spec html-css-dkim.md 4.1 and 4.2, messages.md 4.12)."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from relayq.compose import signing_keys
from relayq.compose.signing_keys import (
    PrivateKeys,
    SigningKey,
    SigningKeyError,
    UnusableKeyError,
    encode_identity,
    load_private_key,
    parse_signing_keys,
    select_keys,
)

SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="  # RFC 8463 appendix A.2
RECORD = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
SHORT_RSA = (  # 512 bits, PKCS#1
    "MIIBOwIBAAJBAOmQq9dR/lrz6GuikbqPE6NNjb+zi/bMPIVM9xlBKG64K/YYvblV7EYRn+lq/aifOXd5Pn5a1zbgnroHn98H+5cC"
    "AwEAAQJANcsCKOdTg7MlVpTsp2EIjtXvzbUWiVLkpXbiekiNfWIw1GefcGS8bZVToQB3iR4OL8huK5NGLlzm7vi9n0qyoQIhAP5h"
    "ZQyotC6ICvAo2bTzvPCWAkVMYIr8zblfcEkhjB0JAiEA6w1Zs9igKrlqxCIN3ajiBm7EpxtcrA8lSvuM+6DiG58CIQDK5YJE65bz"
    "+lzHG74yH6sXNn9PKNFkaqnobqBQJGruiQIhAMnGrSGBLYVfpDJ4VVTZ/CWvgus8xuIBIm9q38zGgDNbAiBaRSgcal2A39kWg7gx"
    "deP7Z/334Hl0LT9p+75CEA2Duw=="
)
NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(SEED))


def entry(**members: object) -> dict[str, object]:
    return {"domain": "example.com", "selector": "s1", "key": SEED, **members}


def parse(**members: object) -> SigningKey:
    [key] = parse_signing_keys(entry(**members))
    return key


def test_an_entry_with_the_required_members_has_the_defaults_of_the_specification() -> None:
    assert parse() == SigningKey(
        domain="example.com",
        selector="s1",
        key=SEED,
        expire_at=None,
        headers=(),
        header_canonicalization="relaxed",
        body_canonicalization="simple",
        protocols=frozenset({"dkim"}),
        report=False,
        priority=0,
        oversign=True,
        identity=None,
        is_required=True,
    )


def test_every_member_is_read() -> None:
    key = parse(
        domain="Bücher.Example",
        selector="mail.2026",
        expire="2026-11-28 20:00:00",
        headers=["Feedback-ID", " X-A ", "feedback-id"],
        canonicalization="simple/relaxed",
        protocols=["dkim", "arc"],
        report=True,
        priority=-2,
        algorithm="sha256",
        oversign=False,
        identity="news@example.com",
        unknown={"a": 1},
    )
    assert key == SigningKey(
        domain="xn--bcher-kva.example",
        selector="mail.2026",
        key=SEED,
        expire_at=datetime(2026, 11, 28, 20, tzinfo=UTC),
        headers=(b"feedback-id", b"x-a"),
        header_canonicalization="simple",
        body_canonicalization="relaxed",
        protocols=frozenset({"dkim", "arc"}),
        report=True,
        priority=-2,
        oversign=False,
        identity="news@example.com",
    )
    assert key.name == "mail.2026._domainkey.xn--bcher-kva.example"


@pytest.mark.parametrize("value", [None, []])
def test_no_entries(value: object) -> None:
    assert parse_signing_keys(value) == ()


def test_null_counts_as_absent() -> None:
    absent = dict.fromkeys(
        ("expire", "headers", "canonicalization", "protocols", "report", "priority", "algorithm", "oversign")
    )
    assert parse(**absent, identity=None) == parse()


def test_an_array_keeps_its_order_and_takes_the_defaults_given() -> None:
    keys = parse_signing_keys([entry(selector="b"), entry(selector="a")], oversign=False, is_required=False)
    assert [key.selector for key in keys] == ["b", "a"]
    assert not any(key.oversign or key.is_required for key in keys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relaxed", ("relaxed", "simple")),
        ("simple", ("simple", "simple")),
        ("Relaxed/Relaxed", ("relaxed", "relaxed")),
        ("simple/relaxed", ("simple", "relaxed")),
    ],
)
def test_one_word_of_canonicalization_means_a_simple_body(text: str, expected: tuple[str, str]) -> None:
    key = parse(canonicalization=text)
    assert (key.header_canonicalization, key.body_canonicalization) == expected


def test_sha1_is_taken_as_sha256_with_a_warning() -> None:
    key = parse(algorithm="sha1")
    assert select_keys([key], "dkim", NOW) == (
        [key],
        ["s1._domainkey.example.com: sha1 is forbidden by RFC 8301, signing with sha256"],
    )


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"domain": None}, "domain"),
        ({"domain": ""}, "domain"),
        ({"domain": "a b"}, "domain"),
        ({"domain": "x;d=y"}, "domain"),
        ({"domain": 5}, "domain"),
        ({"selector": None}, "selector"),
        ({"selector": ""}, "selector"),
        ({"selector": "a;b"}, "selector"),
        ({"selector": "a..b"}, "selector"),
        ({"selector": "s\r\nX: y"}, "selector"),
        ({"selector": "s\n"}, "selector"),
        ({"selector": ".".join(["a" * 60] * 4)}, "selector"),
        ({"key": None}, "key"),
        ({"key": ""}, "key"),
        ({"key": ["x"]}, "key"),
        ({"expire": "tomorrow"}, "expire"),
        ({"expire": 5}, "expire"),
        ({"headers": "Subject"}, "headers"),
        ({"headers": [1]}, "headers"),
        ({"canonicalization": "none"}, "canonicalization"),
        ({"canonicalization": "relaxed/simple/x"}, "canonicalization"),
        ({"canonicalization": 1}, "canonicalization"),
        ({"protocols": "dkim"}, "protocols"),
        ({"protocols": ["dkmi"]}, "protocols"),
        ({"protocols": [None]}, "protocols"),
        ({"report": "perhaps"}, "report"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"algorithm": "md5"}, "algorithm"),
        ({"oversign": []}, "oversign"),
        ({"identity": 7}, "identity"),
    ],
)
def test_a_wrong_member_is_named_and_never_quoted(members: dict[str, object], named: str) -> None:
    with pytest.raises(SigningKeyError, match=rf"^dkim\.{named}: ") as caught:
        parse(**members)
    assert SEED not in str(caught.value)


@pytest.mark.parametrize("value", ["x", 1, True, [[1]], ["x"], [[]], [None]])
def test_an_entry_is_an_object(value: object) -> None:
    with pytest.raises(SigningKeyError):
        parse_signing_keys(value)


def test_the_private_key_is_not_in_the_repr() -> None:
    assert SEED not in repr(parse())


# Selection.


def test_the_lowest_number_comes_first_and_equal_ones_keep_their_order() -> None:
    keys = [parse(selector=name, priority=priority) for name, priority in (("a", 10), ("b", 0), ("c", -2), ("d", 0))]
    chosen, notes = select_keys(keys, "dkim", NOW)
    assert [key.selector for key in chosen] == ["c", "b", "d", "a"]
    assert notes == []


def test_one_signature_per_domain_and_selector_the_first_source_wins() -> None:
    outer, inner, other = parse(report=True), parse(), parse(domain="other.example")
    assert select_keys([outer, inner, other], "dkim", NOW)[0] == [outer, other]


@pytest.mark.parametrize(("expire", "is_skipped"), [("2026-11-21 20:00:00", True), ("2026-11-21 20:00:01", False)])
def test_an_expired_key_is_skipped_with_a_note(expire: str, *, is_skipped: bool) -> None:
    chosen, notes = select_keys([parse(expire=expire)], "dkim", NOW)
    assert (len(chosen), notes) == ((0, ["s1._domainkey.example.com: expired, skipped"]) if is_skipped else (1, []))


def test_an_expired_entry_does_not_hide_a_later_one() -> None:
    assert select_keys([parse(expire="2020-01-01 00:00:00"), parse()], "dkim", NOW)[0] == [parse()]


def test_a_key_signs_only_by_its_protocols() -> None:
    dkim, arc, both, neither = (
        parse(selector=str(number), protocols=protocols)
        for number, protocols in enumerate((["dkim"], ["ARC"], ["arc", "dkim"], []))
    )
    keys = [dkim, arc, both, neither]
    assert select_keys(keys, "dkim", NOW)[0] == [dkim, both]
    assert select_keys(keys, "arc", NOW)[0] == [arc, both]


# Identity.


@pytest.mark.parametrize(
    ("identity", "written"),
    [
        ("@example.com", "@example.com"),
        ("news@example.com", "news@example.com"),
        ("news@Mail.Example.com", "news@mail.example.com"),
        ("a b;c=d@example.com", "a=20b=3Bc=3Dd@example.com"),
        ("ü\r\nX@example.com", "=C3=BC=0D=0AX@example.com"),
        ("a@b@example.com", "a@b@example.com"),
    ],
)
def test_an_identity_in_the_domain_is_quoted(identity: str, written: str) -> None:
    assert encode_identity(identity, "example.com") == written


@pytest.mark.parametrize(
    "identity",
    [
        *("", "news", "example.com", "a@example.org", "a@badexample.com", "a@com", "a@", "\ud800@example.com"),
        *("x" * 250 + "@example.com", "a@example.com;d=x"),
    ],
)
def test_an_identity_outside_of_the_domain_is_not_usable(identity: str) -> None:
    with pytest.raises(UnusableKeyError):
        encode_identity(identity, "example.com")


# Key material.


def pem_of(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode("ascii")


def bare(pem: str) -> str:
    return "".join(pem.splitlines()[1:-1])


RSA_FORMS = [pem_of(RSA), pem_of(RSA, PrivateFormat.TraditionalOpenSSL)]
ED25519_PEM = pem_of(ED25519)


@pytest.mark.parametrize("pem", [*RSA_FORMS, ED25519_PEM], ids=["pkcs8", "pkcs1", "ed25519"])
@pytest.mark.parametrize(
    "respell",
    [
        lambda pem: pem,
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", "\r"),
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: pem.replace("\n", "\\r\\n"),
        lambda pem: pem.replace("\n", " "),
        lambda pem: "  " + pem.strip(),
        bare,
        lambda pem: textwrap.fill(bare(pem), 40) + "\n",
        lambda pem: bare(pem).rstrip("="),
        lambda pem: pem.partition("-----END")[0],
        lambda pem: "Bag Attributes: x\n" + pem,
        lambda pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + pem,
    ],
)
def test_every_spelling_of_a_key_is_read(pem: str, respell: object) -> None:
    assert callable(respell)
    expected = load_private_key(pem)
    assert load_private_key(respell(pem)).dns_record() == expected.dns_record()
    assert expected.algorithm == ("ed25519-sha256" if pem == ED25519_PEM else "rsa-sha256")
    assert expected.effort == (pem != ED25519_PEM)


@pytest.mark.parametrize("text", [SEED, SEED.rstrip("="), f" {SEED}\n", ED25519_PEM, bare(ED25519_PEM)])
def test_an_ed25519_seed_is_a_key(text: str) -> None:
    assert load_private_key(text).dns_record() == RECORD


def test_the_record_of_an_rsa_key_is_its_public_key() -> None:
    octets = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = load_private_key(pem_of(RSA)).dns_record()
    assert record == f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode('ascii')}"


def damaged_rsa(position: str) -> str:
    numbers = RSA.private_numbers()
    parts = {name: getattr(numbers, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
    modulus = numbers.public_numbers.n
    if position == "n":
        modulus += 2
    else:
        parts[position] += 2
    integers = [0, modulus, 65537, *(parts[name] for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp"))]
    return base64.b64encode(der_sequence(integers)).decode("ascii")


def der_sequence(integers: list[int]) -> bytes:
    body = b"".join(der(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in integers)
    return der(0x30, body)


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x80 + (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )
    return bytes([tag]) + length + content


def test_the_numbers_of_an_rsa_key_are_read_as_they_are_written_here() -> None:
    numbers = RSA.private_numbers()
    integers = [0, numbers.public_numbers.n, 65537, numbers.d, numbers.p, numbers.q]
    whole = der_sequence([*integers, numbers.dmp1, numbers.dmq1, numbers.iqmp])
    assert load_private_key(base64.b64encode(whole).decode("ascii")).effort


@pytest.mark.parametrize("position", ["n", "p", "q", "d", "dmp1", "dmq1", "iqmp"])
def test_an_rsa_key_with_a_wrong_number_is_unusable(position: str) -> None:
    with pytest.raises(UnusableKeyError):
        load_private_key(damaged_rsa(position))


def test_an_rsa_key_that_is_consistent_but_does_not_work_is_unusable() -> None:
    # p is not prime: e and d fit modulo p - 1, but not modulo the order of the group.
    numbers = RSA.private_numbers()
    q = numbers.q
    p = (1 << 1023) + 3
    while (p - 1) % 65537 == 0 or pow(2, p - 1, p) == 1 or p % q == 0 or p % 65537 == 0:
        p += 2
    d = pow(65537, -1, (p - 1) * (q - 1))
    integers = [0, p * q, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)]
    with pytest.raises(UnusableKeyError):
        load_private_key(base64.b64encode(der_sequence(integers)).decode("ascii"))


def unusable_keys() -> Iterator[tuple[str, str]]:
    curve = ec.generate_private_key(ec.SECP256R1())
    for name, key in (
        ("ec", curve),
        ("dsa", dsa.generate_private_key(1024)),
        ("ed448", ed448.Ed448PrivateKey.generate()),
    ):
        yield name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    yield "sec1", curve.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    encrypted = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()
    yield "encrypted", encrypted
    yield "encrypted, bare", bare(encrypted)
    old = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))
    yield "encrypted, old", old.decode()
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    yield "public", public
    yield "public, bare", bare(public)
    yield "public, PKCS#1", RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    yield "no base64", "this is not base64 ü"
    yield "one octet", "AA=="
    yield "31 octets", base64.b64encode(bytes(31)).decode()
    yield "33 octets", base64.b64encode(bytes(33)).decode()
    yield "blanks", " \n"
    yield "empty armour", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"
    yield "dashes", "-" * 1000
    yield "half a pair", "\ud800"
    yield "too long", "A" * 20_000


UNUSABLE = dict(unusable_keys())


@pytest.mark.parametrize("name", UNUSABLE)
def test_other_keys_are_unusable_and_not_quoted(name: str) -> None:
    with pytest.raises(UnusableKeyError) as caught:
        load_private_key(UNUSABLE[name])
    assert len(str(caught.value)) < 80
    assert UNUSABLE[name].strip()[:20] not in str(caught.value) or name == "blanks"


def test_an_rsa_key_below_1024_bits_is_unusable() -> None:
    with pytest.raises(UnusableKeyError, match=r"less than 1024 bits|not a private key"):
        load_private_key(SHORT_RSA)


def test_the_size_is_checked_whatever_the_library_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "MIN_RSA_BITS", 2049)
    with pytest.raises(UnusableKeyError, match="less than 2049 bits"):
        load_private_key(pem_of(RSA))


@pytest.mark.parametrize(("bits", "warnings"), [(1024, ("RSA key of 1024 bits",)), (2048, ()), (3072, ())])
def test_a_short_rsa_key_is_used_with_a_warning(bits: int, warnings: tuple[str, ...]) -> None:
    key = RSA if bits == 2048 else rsa.generate_private_key(65537, bits)
    assert load_private_key(pem_of(key)).warnings == warnings


def test_a_long_rsa_key_is_used_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    # A real one of more than 4096 bits takes seconds to make.
    monkeypatch.setattr(signing_keys, "_USUAL_RSA_BITS", (1024, 2047))
    assert load_private_key(pem_of(RSA)).warnings == ("RSA key of 2048 bits",)


def test_an_rsa_key_with_too_many_bits_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "MAX_RSA_BITS", 2047)
    with pytest.raises(UnusableKeyError, match="more than 2047 bits"):
        load_private_key(pem_of(RSA))


# The table of parsed keys.


def test_a_key_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    load = signing_keys.load_private_key

    def counting(text: str) -> signing_keys.PrivateKey:
        parsed.append(text)
        return load(text)

    monkeypatch.setattr(signing_keys, "load_private_key", counting)
    private_keys = PrivateKeys()
    assert private_keys.load(SEED) is private_keys.load(SEED)
    for _ in range(2):
        with pytest.raises(UnusableKeyError, match="not a private key"):
            private_keys.load("AA==")
    assert parsed == [SEED, "AA=="]


def test_the_least_recently_used_key_is_forgotten() -> None:
    private_keys = PrivateKeys(limit=2)
    seeds = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
    first, second = private_keys.load(seeds[0]), private_keys.load(seeds[1])
    assert private_keys.load(seeds[0]) is first
    private_keys.load(seeds[2])
    assert private_keys.load(seeds[0]) is first
    assert private_keys.load(seeds[1]) is not second


def test_the_text_of_a_key_is_not_kept() -> None:
    private_keys = PrivateKeys()
    private_keys.load(SEED)
    assert SEED not in repr(vars(private_keys))
