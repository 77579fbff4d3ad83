"""No address that is accepted can be mistaken for anything else in a command (spec messages.md 3.1)."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from relayq.model import EmailAddress, InvalidAddressError, parse_address, parse_domain
from relayq.model.values import parse_ip

characters = st.sampled_from('aZ09.-_@"\\<>[]:;,() %+=!ü例\u00ad\u00a0\u200d\u2028\r\n\t\0\x7f\x85\ud83d')
texts = st.text(characters, max_size=30) | st.text(max_size=20)
addresses = (
    texts
    | st.tuples(texts, st.sampled_from(["@x.test", "@[192.0.2.7]", "@bücher.example"])).map("".join)
    | st.tuples(texts, st.just("@"), texts).map("".join)
    | texts.map(lambda text: f'"{text}"@x.test')
)


def path_of(wire: bytes) -> tuple[bytes, bytes]:
    """Read a path up to its ``>`` as RFC 5321 section 4.1.2 says, quotes and quoted pairs included."""
    line = b"<" + wire + b"> SIZE=1"
    at, quoted, last_at = 1, False, -1
    while True:
        octet = line[at : at + 1]
        if quoted:
            if octet == b"\\":
                at += 1
            elif octet == b'"':
                quoted = False
        elif octet == b'"':
            quoted = True
        elif octet == b">":
            break
        elif octet == b"@":
            last_at = at
        else:
            assert octet not in {b"<", b" ", b""}, wire
        at += 1
    return line[1:last_at], line[last_at + 1 : at]


@given(addresses, st.booleans())
@example('"a>b"@x.test', False)
@example('a"> SIZE=1 <b@x.test', True)
@example('a\\"b c@x.test', True)
@example('"a\\"@x.test', True)
@example("\\@x.test", True)
def test_the_end_of_the_path_is_the_end_of_the_address(text: str, loose: bool) -> None:
    try:
        address = parse_address(text, loose=loose)
    except InvalidAddressError:
        return
    wire = address.wire
    assert not any(octet < 0x20 or octet == 0x7F for octet in wire)
    local, domain = path_of(wire)
    assert local + b"@" + domain == wire
    assert len(wire) <= 254
    assert domain.isascii()
    assert local.isascii() is not address.needs_smtputf8
    check_domain(address, domain.decode("ascii"))


def check_domain(address: EmailAddress, domain: str) -> None:
    if address.literal_ip is not None:
        assert parse_ip(address.literal_ip) == address.literal_ip
        assert (domain[:1], domain[-1:]) == ("[", "]")
    else:
        assert domain.lower() == address.domain == parse_domain(address.domain)
        assert all(1 <= len(label) <= 63 for label in address.domain.split("."))


@given(addresses)
def test_whatever_is_accepted_strictly_is_accepted_loosely_as_the_same_address(text: str) -> None:
    try:
        strict = parse_address(text)
    except InvalidAddressError:
        return
    assert parse_address(text, loose=True) == strict


@given(addresses)
def test_what_goes_out_is_an_address_again(text: str) -> None:
    try:
        address = parse_address(text, loose=True)
    except InvalidAddressError:
        return
    again = parse_address(address.wire.decode("utf-8"), loose=True)
    assert again.wire == address.wire
    assert again.domain == address.domain


@given(st.text(max_size=60))
def test_a_domain_name_is_lower_case_letters_digits_and_hyphens_or_none(text: str) -> None:
    try:
        domain = parse_domain(text)
    except InvalidAddressError:
        return
    assert set(domain) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert 1 <= len(domain) <= 253
    assert parse_domain(domain) == domain
