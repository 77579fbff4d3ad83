"""Addresses: what is accepted, what is refused, and what the dialogue gets (spec messages.md 3.1 and 9)."""

from __future__ import annotations

import pytest

from relayq.model import EmailAddress, InvalidAddressError, parse_address, parse_domain


def wire_of(text: str, *, loose: bool = False) -> str:
    return parse_address(text, loose=loose).wire.decode("utf-8")


@pytest.mark.parametrize(
    ("text", "wire", "domain"),
    [
        ("anna@example.test", "anna@example.test", "example.test"),
        ("Anna.Smith+tag@Example.TEST", "Anna.Smith+tag@Example.TEST", "example.test"),
        ("  anna@example.test ", "anna@example.test", "example.test"),
        ("a@localhost", "a@localhost", "localhost"),
        ("!#$%&'*+-/=?^_`{|}~@x.test", "!#$%&'*+-/=?^_`{|}~@x.test", "x.test"),
        ('"a b"@x.test', '"a b"@x.test', "x.test"),
        ('"a>b"@x.test', '"a>b"@x.test', "x.test"),
        ('"a@b"@x.test', '"a@b"@x.test', "x.test"),
        (r'"a\"b\\"@x.test', r'"a\"b\\"@x.test', "x.test"),
        ('""@x.test', '""@x.test', "x.test"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a@1.2x.test", "a@1.2x.test", "1.2x.test"),
    ],
)
def test_an_ascii_address_goes_out_as_it_came(text: str, wire: str, domain: str) -> None:
    assert parse_address(text) == EmailAddress(text.strip(), wire.encode("ascii"), domain)


@pytest.mark.parametrize(
    ("text", "wire", "domain"),
    [
        ("info@bücher.example", "info@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("info@BÜCHER.Example", "info@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("info@faß.example", "info@xn--fa-hia.example", "xn--fa-hia.example"),  # non-transitional: not fass
        ("info@例え.テスト", "info@xn--r8jz45g.xn--zckzah", "xn--r8jz45g.xn--zckzah"),
        ("info@ｅｘａｍｐｌｅ。test", "info@example.test", "example.test"),
        ("info@cafe\u0301.test", "info@xn--caf-dma.test", "xn--caf-dma.test"),
    ],
)
def test_an_international_domain_goes_out_in_a_labels_and_needs_no_extension(text: str, wire: str, domain: str) -> None:
    assert parse_address(text) == EmailAddress(text, wire.encode("ascii"), domain)


def test_an_international_local_part_goes_out_as_given_and_needs_smtputf8() -> None:
    address = parse_address("jürgen@bücher.example")

    assert address.wire == "jürgen@xn--bcher-kva.example".encode()
    assert address.needs_smtputf8


def test_an_international_quoted_local_part_is_a_local_part() -> None:
    assert parse_address('"jürgen müller"@x.test').needs_smtputf8


@pytest.mark.parametrize(
    ("text", "domain", "ip"),
    [
        ("user@[192.0.2.7]", "[192.0.2.7]", "192.0.2.7"),
        ("user@[IPv6:2001:DB8:0:0::1]", "[IPv6:2001:db8::1]", "2001:db8::1"),
        ("user@[ipv6:::1]", "[IPv6:::1]", "::1"),
        ("user@[IPv6:::ffff:192.0.2.7]", "[192.0.2.7]", "192.0.2.7"),
    ],
)
def test_a_literal_is_compared_by_value_and_sent_as_given(text: str, domain: str, ip: str) -> None:
    assert parse_address(text) == EmailAddress(text, text.encode("ascii"), domain, ip)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "<>",
        "anna",
        "postmaster",
        "@x.test",
        "anna@",
        "anna@ ",
        "Anna <a@x.test>",
        "<a@x.test>",
        "a@x.test>",
        "a@x.test, b@x.test",
        "a@x.test b@x.test",
        "a b@x.test",
        "(comment)a@x.test",
        "a@x.test (comment)",
        "@relay.test:a@x.test",
        "mailto:a@x.test",
        "a@b@x.test",
        ".a@x.test",
        "a.@x.test",
        "a..b@x.test",
        r"a\@x.test",
        '"a@x.test',
        'a"@x.test',
        '"a"b"@x.test',
        '"a"b@x.test',
        '"a\\"@x.test',
        "a@x_y.test",
        "a@-x.test",
        "a@x-.test",
        "a@x..test",
        "a@.x.test",
        "a@x.test.",
        "a@bücher.example.",
        "a@x test",
        "a@x.te\u00adst.",
        "a@i❤.example",
        "a@\ud800.test",
        "\ud800@x.test",
        f"a@{'l' * 64}.test",
        f"a@{'ü' * 64}.test",
    ],
)
def test_what_is_no_bare_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(text)


@pytest.mark.parametrize(
    "literal",
    [
        "[192.0.2.7",
        "[]",
        "[192.0.2]",
        "[192.0.2.07]",
        "[192.0.2.256]",
        "[192.0.2.7 ]",
        "[192.0.2.7/32]",
        "[１92.0.2.7]",
        "[2001:db8::1]",
        "[IPv6:192.0.2.7]",
        "[IPv6:fe80::1%eth0]",
        "[IPv6:2001:db8::1/64]",
        "[IPv6:2001:db8:::1]",
        "[IPv6:]",
        "[IPv4:192.0.2.7]",
        "[x-tag:content]",
        "[localhost]",
        "[[192.0.2.7]]",
    ],
)
def test_a_literal_without_a_plain_ip_address_is_refused(literal: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(f"user@{literal}", loose=True)


@pytest.mark.parametrize("control", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))])
@pytest.mark.parametrize(
    "form", ["{}a@x.test", "a{}b@x.test", '"a{}b"@x.test', "a@x{}.test", "a@x.test{}", "a@x.test{}DATA"]
)
def test_a_control_character_is_refused_in_both_modes(form: str, control: str) -> None:
    text = form.format(control)

    for loose in (False, True):
        with pytest.raises(InvalidAddressError):
            parse_address(text, loose=loose)


def test_lengths_are_bounded_in_octets() -> None:
    labels = ".".join(["l" * 61] * 3)
    longest = f"{'a' * 64}@{labels}.{'d' * 3}"

    assert len(parse_address(longest).wire) == 254
    with pytest.raises(InvalidAddressError, match="longer than 254"):
        parse_address(longest + "d")
    with pytest.raises(InvalidAddressError, match="longer than 64"):
        parse_address(f"{'a' * 65}@x.test")
    assert parse_address(f"{'ü' * 32}@x.test").needs_smtputf8
    with pytest.raises(InvalidAddressError, match="longer than 64"):
        parse_address(f"{'ü' * 32}a@x.test")
    with pytest.raises(InvalidAddressError, match="longer than 254"):
        parse_address(f"{'ü' * 100}@{'x' * 60}.test", loose=True)


def test_a_domain_may_have_253_octets() -> None:
    longest = ".".join(["l" * 63] * 3 + ["d" * 61])

    assert len(longest) == 253
    assert parse_domain(longest) == longest
    with pytest.raises(InvalidAddressError, match="longer than 253"):
        parse_domain(longest + "d")


def test_a_domain_may_not_grow_beyond_253_octets_in_a_labels() -> None:
    with pytest.raises(InvalidAddressError):
        parse_domain(".".join(["ü" * 50] * 5))


def test_characters_that_the_mapping_drops_do_not_make_a_huge_text_a_name() -> None:
    assert parse_domain("ex\u00adample.test") == "example.test"
    with pytest.raises(InvalidAddressError, match="longer than 253"):
        parse_domain("\u00ad" * 100_000 + "example.test")


@pytest.mark.parametrize("text", ["x" * 1_000_000, "a." * 500_000 + "@x.test", '"' + "a" * 1_000_000 + '"@x.test'])
def test_a_huge_text_is_refused_by_its_length(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(text, loose=True)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("anna@x.test", "anna@x.test"),
        ("a..b@x.test", "a..b@x.test"),
        (".a.@x.test", ".a.@x.test"),
        ("a@b@x.test", "a@b@x.test"),
        (r"a\b@x.test", r"a\b@x.test"),
        ("(a,b;c:d)[e]@x.test", "(a,b;c:d)[e]@x.test"),
        (f"{'a' * 65}@x.test", f"{'a' * 65}@x.test"),
        ('"quoted string"@x.test', '"quoted string"@x.test'),
        ("john doe@x.test", '"john doe"@x.test'),
        ("a>b@x.test", '"a>b"@x.test'),
        ("a<b@x.test", '"a<b"@x.test'),
        ('a"b@x.test', r'"a\"b"@x.test'),
        ('"a"> SIZE=1 <b@x.test', r'"\"a\"> SIZE=1 <b"@x.test'),
        (r"a\"b@x.test", r'"a\\\"b"@x.test'),
        ("a\u00a0b@x.test", "a\u00a0b@x.test"),
        ("jürgen müller@x.test", '"jürgen müller"@x.test'),
    ],
)
def test_loose_mode_takes_any_local_part_and_quotes_what_could_end_the_path(text: str, wire: str) -> None:
    assert wire_of(text, loose=True) == wire


@pytest.mark.parametrize(
    "text", ["", "@x.test", "anna", "a@", "Anna <a@x.test>", "<a@x.test>", "a@x y.test", "a@x_y.test", "a@x.test."]
)
def test_loose_mode_still_wants_a_domain_that_could_be_looked_up(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(text, loose=True)


def test_the_reason_does_not_quote_the_address() -> None:
    with pytest.raises(InvalidAddressError) as caught:
        parse_address("secret token@x.test")

    assert "secret" not in str(caught.value)
