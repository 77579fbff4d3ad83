"""Addresses of documents: taken apart, rendered, written."""

from __future__ import annotations

import time

import pytest

from relayq.compose.responsive import DocumentError
from relayq.compose.responsive.addresses import split_addresses
from tests.support.documents import compose, parsed, plan_of


def field(value: object, *, name: str = "to", **how: object) -> str:
    """The ``To`` field a value becomes, unfolded."""
    message = compose({"from": "shop@example.com", name: value}, **how).decode()
    header = message.partition("\r\n\r\n")[0].replace("\r\n ", " ")
    return next(line for line in header.split("\r\n") if line.startswith(("To:", "Cc:", "Reply-To:")))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("ann@example.org", "ann@example.org"),
        (" ann@example.org ", "ann@example.org"),
        ("<ann@example.org>", "ann@example.org"),
        ("Ann <ann@example.org>", "Ann <ann@example.org>"),
        ("Ann Lee  <ann@example.org>", "Ann Lee <ann@example.org>"),
        ('"Jr., Bob" <bob@example.org>', '"Jr., Bob" <bob@example.org>'),
        ('"Ann" Lee <ann@example.org>', "Ann Lee <ann@example.org>"),
        (r'"a \"b\" c" <ann@example.org>', r'"a \"b\" c" <ann@example.org>'),
        ('"john doe"@example.org', '"john doe"@example.org'),
        ("ann@example.org (work), Bob (the (one)) <b@example.org>", "ann@example.org, Bob <b@example.org>"),
        ("a@example.org, Bob <b@example.org>", "a@example.org, Bob <b@example.org>"),
        ("Team: a@example.org, b@example.org;, c@example.org", "a@example.org, b@example.org, c@example.org"),
        ("Nobody:;, c@example.org", "c@example.org"),
        ("a@example.org, Team: b@example.org;", "a@example.org, b@example.org"),
        ("user@[192.0.2.7]", "user@[192.0.2.7]"),
        ("user@[IPv6:2001:db8::1]", "user@[IPv6:2001:db8::1]"),
        ({"name": "Ann", "address": "ann@example.org"}, "Ann <ann@example.org>"),
        ({"name": "Ann", "email": "ann@example.org"}, "Ann <ann@example.org>"),
        ({"address": "ann@example.org"}, "ann@example.org"),
        ({"name": "", "address": "ann@example.org"}, "ann@example.org"),
        ({"name": "a, b; <c>", "address": "ann@example.org"}, '"a, b; <c>" <ann@example.org>'),
        ({"name": "A\r\nBcc: x@y.test\t!", "address": "ann@example.org"}, '"A Bcc: x@y.test !" <ann@example.org>'),
        ({"name": "Zoë", "address": "z@example.org"}, "=?utf-8?q?Zo=C3=AB?= <z@example.org>"),
        (["a@example.org", {"address": "b@example.org"}, "C <c@example.org>, a@example.org"],
         "a@example.org, b@example.org, C <c@example.org>, a@example.org"),
        ("info@bücher.example", "info@xn--bcher-kva.example"),
        ("jürgen@example.org", "jürgen@example.org"),
        ("Nobody:;", "undisclosed-recipients:;"),
        ([], "undisclosed-recipients:;"),
        (None, "undisclosed-recipients:;"),
    ],
)  # fmt: skip
def test_forms(value: object, written: str) -> None:
    assert field(value) == f"To: {written}"


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "ann", "ann@", "@example.org", "a b@example.org", "a@example.org,", "a@example.org,,b@example.org",
        ",a@example.org", "Ann <a@example.org> x", "a@example.org; b@example.org", "Ann <a@example.org",
        '"Ann <a@x.test>',
        "a@example.org\r\nBcc: b@example.org", "a@exa\nmple.org",
        "a\u2028b@x.test", "a\xa0b@x.test", "\ud800@x.test", "user@[192.0.2.7", "<a@b.test><c@d.test>",
        {"name": "Ann"}, {"address": "Ann <a@example.org>"}, {"address": ""}, {"address": 5},
        {"name": [], "address": "a@b.c"},
        5, True, ["a@example.org", 5], [["x"]],
    ],
)  # fmt: skip
def test_errors(value: object) -> None:
    with pytest.raises(DocumentError, match=r"^mime\.to") as caught:
        field(value)
    assert not caught.value.is_temporary


def test_errors_are_left_out_with_force() -> None:
    assert field(["a@example.org", "broken", {"name": "x"}, "b@example.org"], force=True) == (
        "To: a@example.org, b@example.org"
    )
    assert field("broken", name="replyTo", force=True) == "To: undisclosed-recipients:;"
    plan = plan_of({"to": "broken"}, force=True)
    assert [note.partition(":")[0] for note in plan.notes] == ["mime.to"]


def test_author() -> None:
    def author(mime: dict[str, object], envelope: str | None = "b@shop.example") -> str:
        return compose(mime, envelope=envelope).decode().partition("\r\nTo:")[0]

    assert author({}) == "From: b@shop.example"
    assert author({"from": "Ann <a@x.test>"}) == "From: Ann <a@x.test>"
    assert author({"from": ["a@x.test", "B <b@y.test>"]}) == "From: a@x.test, B <b@y.test>\r\nSender: a@x.test"
    assert author({"headers": {"From": "c@z.test"}}, None) == "From: c@z.test"
    for how in ({}, {"force": True}):
        with pytest.raises(DocumentError, match=r"^mime\.from: no author"):
            compose({"text": "x"}, envelope=None, **how)
    with pytest.raises(DocumentError, match=r"^mime\.from: no author"):
        compose({"from": "broken"}, envelope=None, force=True)


@pytest.mark.parametrize(
    ("value", "data", "written"),
    [
        ("{$name} <{$mail}>", {"name": "Doe, John", "mail": "j@example.org"}, '"Doe, John" <j@example.org>'),
        ("{$name} <{$recipient}>", {"name": "A <x@y.test>"}, '"A <x@y.test>" <ann@example.org>'),
        ('"{$name}" <{$mail}>', {"name": 'a"b', "mail": "j@example.org"}, r'"a\"b" <j@example.org>'),
        ('{$name|default:"x, <y>"} <{$mail}>', {"mail": "j@example.org"}, '"x, <y>" <j@example.org>'),
        ('"{$name|default:"x, y"}" <{$mail}>', {"mail": "j@example.org"}, '"x, y" <j@example.org>'),
        ("{* a, <b> *}{$mail}", {"mail": "j@example.org"}, "j@example.org"),
        ("{if $vip}Dear {/if}{$name} <{$mail}>", {"vip": 1, "name": "J", "mail": "j@x.test"}, "Dear J <j@x.test>"),
        ("{$a},{$b}", {"a": "a@x.test", "b": "b@x.test"}, "a@x.test, b@x.test"),
        ({"name": "{$n}", "address": "{$m}"}, {"n": "a\r\nb", "m": "m@x.test"}, "a b <m@x.test>"),
        ({"name": "{$n}", "address": "m@x.test"}, {"n": ""}, "m@x.test"),
        ("{ x <m@x.test>", {}, '"{ x" <m@x.test>'.replace('"', "")),
        ("a{b}c@x.test", None, "a{b}c@x.test"),
    ],
)  # fmt: skip
def test_templates(value: object, data: dict[str, object] | None, written: str) -> None:
    assert field(value, data=data) == f"To: {written}"


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("{$mail}", {}),
        ("{$mail}", {"mail": "a@x.test, b@x.test"}),
        ("{$mail}", {"mail": "a@x.test\r\nBcc: b@x.test"}),
        ("N <{$mail}>", {"mail": "a@x.test> <b@x.test"}),
        ("{if $a", {}),
        ("{$a|default:\"x} <a@x.test>", {}),
    ],
)  # fmt: skip
def test_template_errors(value: str, data: dict[str, object]) -> None:
    with pytest.raises(DocumentError, match=r"^mime\.to: "):
        field(value, data=data)


def test_long_names_and_lists_are_folded() -> None:
    people = [{"name": f"Ëve {number} {'x' * 50}", "address": f"p{number}@example.org"} for number in range(40)]
    people.append({"name": "y" * 3000, "address": "q@example.org"})
    people.append({"name": '"' * 500, "address": "r@example.org"})
    message = compose({"to": people})
    assert max(map(len, message.split(b"\r\n"))) <= 998
    read = parsed(message)["To"].addresses
    assert [address.addr_spec for address in read] == [one["address"] for one in people]
    assert [address.display_name for address in read[:40]] == [one["name"] for one in people[:40]]


@pytest.mark.parametrize("text", ['"', "<", "[", "(", "{a", "{$", '"{a', "{a'", '{a"', "<{a", "a:", "{*", "\\"])
def test_time_is_linear(text: str) -> None:
    start = time.process_time()
    split_addresses(text * 100_000, has_tags=True)
    split_addresses(text * 100_000)
    assert time.process_time() - start < 30
