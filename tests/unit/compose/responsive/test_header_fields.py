"""Header fields of generated messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

import pytest

from relayq.compose.responsive import DocumentError, Occasion, ResponsiveOptions, build_mime, parse_document
from relayq.compose.responsive.header_fields import format_date
from relayq.model import parse_address
from tests.support.documents import SEEN_AT, compose, parsed, plan_of
from tests.support.mime_oracle import check_by_two_parsers


def lines(mime: Mapping[str, object], **how: object) -> list[str]:
    """Header lines between ``To`` and ``Content-Type``, without the ones every message has."""
    header = compose(mime, **how).decode().partition("\r\nContent-Type:")[0].split("\r\n")
    return [line for line in header if not line.startswith(("From:", "To: und", "Date:", "Message-ID:", "MIME-V"))]


def names(mime: Mapping[str, object], **how: object) -> list[str]:
    """Names of all header fields in order."""
    header = compose(mime, **how).decode().partition("\r\n\r\n")[0].split("\r\n")
    return [line.partition(":")[0] for line in header if not line.startswith(" ")]


def test_order() -> None:
    mime = {
        "headers": {"X-B": 1, "X-A": [2, 3]},
        "unsubscribe": {"url": "https://u.example/1", "oneclick": True},
        "subject": "s", "cc": "c@x.test", "to": "t@x.test", "reply_to": "r@x.test", "from": ["f@x.test", "g@x.test"],
        "text": "x",
    }  # fmt: skip
    expected = (
        "From Sender Reply-To To Cc Subject Date Message-ID MIME-Version X-B X-A X-A List-Unsubscribe "
        "List-Unsubscribe-Post Content-Type Content-Transfer-Encoding"
    )
    assert names(mime) == expected.split()


@pytest.mark.parametrize("name", ["replyTo", "reply-to", "reply_to", "replyto", "Reply-To", "REPLYTO"])
def test_names_of_properties_are_read_leniently(name: str) -> None:
    assert lines({name: "r@x.test"}) == ["Reply-To: r@x.test"]


def test_the_usual_spelling_of_a_property_wins() -> None:
    assert lines({"Subject": "a", "subject": "b", "SUBJECT": "c"}) == ["Subject: b"]
    assert lines({"Subject": "a", "SUBJECT": "c"}) == ["Subject: c"]
    assert lines({"Subject": "a", "subject": None}) == ["Subject: a"]


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("", []),
        (None, []),
        (" \t", []),
        ("Order 42", ["Subject: Order 42"]),
        (" Order  42 ", ["Subject: Order  42"]),
        ("Order  42\t!", ["Subject: Order 42 !"]),
        ("a\r\nBcc: x@y.test\0b", ["Subject: a Bcc: x@y.test b"]),
        ("Bestelling nº 42 – verzonden", ["Subject: =?utf-8?q?Bestelling_n=C2=BA_42_=E2=80=93_verzonden?="]),
        ("ü", ["Subject: =?utf-8?b?w7w=?="]),
        ("\ud83d", ["Subject: =?utf-8?q?=3F?="]),
    ],
)
def test_subject(subject: str | None, written: list[str]) -> None:
    assert lines({"subject": subject}) == written


@pytest.mark.parametrize("value", [[], {}, 5, True])
def test_subject_of_a_wrong_type(value: object) -> None:
    with pytest.raises(DocumentError, match=r"^mime\.subject: expected a string$"):
        compose({"subject": value})
    assert lines({"subject": value}, force=True) == []


@pytest.mark.parametrize(
    ("headers", "written"),
    [
        ({"X-A": "b"}, ["X-A: b"]),
        ({"x-a": 42, "X-B": 1.5, "X-C": True, "X-D": None}, ["x-a: 42", "X-B: 1.5", "X-C: true"]),
        ({"X-A": ["1", 2, False]}, ["X-A: 1", "X-A: 2", "X-A: false"]),
        ({"X-A": []}, []),
        ({"X-A": [None, "1", None]}, ["X-A: 1"]),
        ([], []),
        (None, []),
        ({"X-A": "a\r\n b\r\n\tc"}, ["X-A: a b\tc"]),
        ({"X-A": "Zoë"}, ["X-A: =?utf-8?q?Zo=C3=AB?="]),
        ({"MIME-Version": "2", "Content-Type": "x", "content-transfer-encoding": "y", "Bcc": "z", "Return-Path": "a",
          "Resent-Bcc": "b"}, []),
        ({"Content-Language": "nl"}, ["Content-Language: nl"]),
        ({"subject": "mine"}, ["subject: mine"]),
        ({"Reply-To": "Zoë <z@x.test>"}, ["Reply-To: =?utf-8?q?Zo=C3=AB?= <z@x.test>"]),
    ],
)  # fmt: skip
def test_headers(headers: object, written: list[str]) -> None:
    assert lines({"headers": headers}) == written


def test_headers_replace_generated_ones_in_place() -> None:
    mime = {
        "subject": "a",
        "headers": {"X-A": 1, "SUBJECT": "b", "message-id": "<1@x.test>", "Date": "now", "To": "me"},
    }
    header = compose(mime).decode().partition("\r\nContent-Type:")[0]
    assert header == (
        "From: bounces@shop.example\r\nTo: me\r\nSUBJECT: b\r\nDate: now\r\nmessage-id: <1@x.test>\r\n"
        "MIME-Version: 1.0\r\nX-A: 1"
    )
    assert "To: undisclosed" not in compose({"headers": {"Cc": "c@x.test"}}).decode()


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X-A": "1\r\nBcc: x@example.org"}, "X-A"),
        ({"X-A": "1\nBcc: x@example.org"}, "X-A"),
        ({"X-A": "1\n folded by hand"}, "X-A"),
        ({"X-A": "1\r"}, "X-A"),
        ({"X-A": "1\0"}, "X-A"),
        ({"X-A": ["1", "\n"]}, "X-A"),
        ({"X-A": {}}, "X-A"),
        ({"X-A": [["1"]]}, "X-A"),
        ({"X A": "1"}, "X A"),
        ({"X-A: 1\r\nBcc": "1"}, r"X-A: 1\\r\\nBcc"),
        ({"": "1"}, ""),
        ({"é": "1"}, r"\\xe9"),
    ],
)
def test_header_errors(headers: dict[str, object], path: str) -> None:
    with pytest.raises(DocumentError, match=rf"^mime\.headers\.{path}: ") as caught:
        compose({"headers": headers})
    assert "\n" not in str(caught.value)
    assert lines({"headers": {**headers, "X-B": "2"}}, force=True)[-1] == "X-B: 2"
    assert "Bcc: x" not in compose({"headers": headers}, force=True).decode()


def test_headers_of_a_wrong_type() -> None:
    with pytest.raises(DocumentError, match=r"^mime\.headers: expected an object$"):
        compose({"headers": ["X-A: 1"]})


def test_rendered_values_stay_in_their_line() -> None:
    data = {"v": "1\nBcc: x@example.org"}
    assert lines({"headers": {"X-A": "{$v}"}}, data=data) == ["X-A: 1 Bcc: x@example.org"]
    assert lines({"subject": "{$v}"}, data=data) == ["Subject: 1 Bcc: x@example.org"]
    assert lines({"subject": "{$none}  {$w}  a"}, data={"w": " b"}) == ["Subject: b a"]
    assert lines({"headers": {"{$v}": "x"}}, data=data) == ["{$v}: x"]
    with pytest.raises(DocumentError, match=r"^mime\.headers\.X-A: CR, LF or NUL"):
        compose({"headers": {"X-A": "{$v}\nx"}}, data=data)
    with pytest.raises(DocumentError, match=r"^mime\.headers\.X-A: line 1: "):
        compose({"headers": {"X-A": "{$"}}, data=data)
    assert lines({"headers": {"X-A": "{$"}}, data=data, force=True) == ["X-A: {$"]


@pytest.mark.parametrize(
    ("unsubscribe", "written"),
    [
        ({"url": "https://u.example/1"}, ["List-Unsubscribe: <https://u.example/1>"]),
        ({"email": "u@x.test"}, ["List-Unsubscribe: <mailto:u@x.test>"]),
        ({"email": "u?x&y%z@x.test"}, ["List-Unsubscribe: <mailto:u%3Fx%26y%25z@x.test>"]),
        ({"url": "http://u.example/ü >", "oneclick": True}, ["List-Unsubscribe: <http://u.example/%C3%BC%20%3E>"]),
        ({"email": "u@x.test", "oneclick": "yes"}, ["List-Unsubscribe: <mailto:u@x.test>"]),
        ({"url": "https://u.example/1", "oneclick": "no"}, ["List-Unsubscribe: <https://u.example/1>"]),
        ({}, []),
        ([], []),
    ],
)  # fmt: skip
def test_unsubscribe(unsubscribe: object, written: list[str]) -> None:
    assert lines({"unsubscribe": unsubscribe}) == written


def test_unsubscribe_with_a_template() -> None:
    mime = {
        "unsubscribe": {
            "url": "https://u.example.com/{$token|urlencode}", "email": "u+{$token}@example.com", "oneclick": True,
        }
    }  # fmt: skip
    assert lines(mime, data={"token": "a/b"}) == [
        "List-Unsubscribe: <https://u.example.com/a%2Fb>, <mailto:u+a/b@example.com>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ]
    assert lines({**mime, "headers": {"list-unsubscribe": "<x:y>"}}, data={"token": "a/b"}) == [
        "list-unsubscribe: <x:y>"
    ]


@pytest.mark.parametrize(
    ("unsubscribe", "path"),
    [
        ({"url": "ftp://x"}, ".url"),
        ({"url": 1}, ".url"),
        ({"email": "x"}, ".email"),
        ({"email": "a@x.test\r\nX: y"}, ".email"),
        ({"url": "https://x.test", "oneclick": "perhaps"}, ".oneclick"),
        ("https://x.test", ""),
    ],
)
def test_unsubscribe_errors(unsubscribe: object, path: str) -> None:
    with pytest.raises(DocumentError, match=rf"^mime\.unsubscribe{path}: "):
        compose({"unsubscribe": unsubscribe})
    assert lines({"unsubscribe": unsubscribe}, force=True)[1:] == []


def test_one_click_without_https_is_told() -> None:
    plan = plan_of({"unsubscribe": {"url": "http://x.test", "oneclick": True}})
    assert plan.notes == ("mime.unsubscribe.oneclick: left out: the url is not https",)


def test_date() -> None:
    assert format_date(datetime(2031, 5, 1, 7, 3, 9, tzinfo=UTC)) == "Thu, 01 May 2031 07:03:09 +0000"
    assert (
        format_date(datetime(2031, 5, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "Wed, 30 Apr 2031 23:00:00 +0000"
    )


def message_id(mime: str, **how: object) -> str:
    arguments: dict[str, object] = {
        "envelope": parse_address("b@shop.example"),
        "recipient": "r@x.test",
        "seen_at": SEEN_AT,
    }
    plan = parse_document(mime.encode(), Occasion(**{**arguments, **how}))  # type: ignore[arg-type]
    message = build_mime(plan, lambda: "=_b").decode()
    return message.partition("Message-ID: <")[2].partition(">")[0]


def test_message_id() -> None:
    texts = ('"b@shop.example"', '"r@x.test"', '{"from":"a@Bücher.example","text":"a  b"}', '{"a":1.10}',
             '"2026-11-21 20:00:00"')  # fmt: skip
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]
    assert message_id('{"from": "a@Bücher.example",\n "text": "a  b"}', data=b'{ "a" : 1.10 }') == (
        f"{digest}@xn--bcher-kva.example"
    )


def test_message_id_is_that_of_the_delivery() -> None:
    mime = '{"text":"x"}'
    same = message_id(mime)
    assert same == message_id('{ "text" : "x" }', seen_at=SEEN_AT.replace(microsecond=999_999))
    others = [
        message_id('{"text":"y"}'),
        message_id(mime, recipient="s@x.test"),
        message_id(mime, envelope=parse_address("c@shop.example")),
        message_id(mime, data=b"{}"),
        message_id(mime, seen_at=SEEN_AT + timedelta(seconds=1)),
    ]
    assert len({same, *others}) == 6
    assert message_id('{"from":"a@x.test"}', envelope=None).endswith("@x.test")


def test_domain_of_the_message_id_is_that_of_the_from_field() -> None:
    assert message_id('{"headers":{"From":"A <a@y.test>"}}').endswith("@y.test")
    assert message_id('{"headers":{"From":"nobody"}}', options=ResponsiveOptions(host_name="mta.test")).endswith(
        "@mta.test"
    )


def test_numbers_and_halves_of_characters_no_decoder_likes() -> None:
    mime = '{"text": "\\ud83d x", "size": 1e400, "n": ' + "9" * 5000 + "}"
    assert message_id(mime) == message_id(mime.replace(": ", ":"))
    assert "? x" in compose({"text": "\ud83d x"}).decode()


@pytest.mark.parametrize("mime", ["[1]", '"x"', "5", "{", '{"a":NaN}', '{"text": "\\ud83d", "b": NaN}'])
def test_what_is_no_object(mime: str) -> None:
    with pytest.raises(DocumentError, match=r"^mime: "):
        message_id(mime)


def test_empty_arrays_count_as_objects() -> None:
    assert message_id("[]")


def test_signing_keys() -> None:
    entry = {"domain": "Shop.example", "selector": "s1", "key": "secret"}
    keys = plan_of({"dkim": [entry, {**entry, "selector": "s2", "oversign": False}]}).signing_keys
    assert [(key.domain, key.selector, key.oversign) for key in keys] == [
        ("shop.example", "s1", True), ("shop.example", "s2", False),
    ]  # fmt: skip
    assert not plan_of({"dkim": entry}, options=ResponsiveOptions(oversign=False)).signing_keys[0].oversign
    assert plan_of({}).signing_keys == plan_of({"dkim": []}).signing_keys == ()
    with pytest.raises(DocumentError, match=r"^mime\.dkim: ") as caught:
        plan_of({"dkim": [entry, {"key": "secret"}]})
    assert "secret" not in str(caught.value)
    assert len(plan_of({"dkim": [{"key": "secret"}, entry, "x"]}, force=True).signing_keys) == 1


def test_keys_are_no_templates() -> None:
    entry = {"domain": "shop.example", "selector": "s1", "key": "{$x"}
    assert plan_of({"dkim": entry}, data={}).signing_keys[0].key == "{$x"


def test_encoded_words_are_those_of_the_author() -> None:
    word = "=?utf-8?q?=22=2C_evil=40x=2Etest?="
    mime = {"to": "{$v} <a@x.test>", "subject": "{$v}", "headers": {"X-A": "{$v}"}}
    for message in (compose(mime, data={"v": word}), compose({"to": {"name": word, "address": "a@x.test"}})):
        check_by_two_parsers(message)
        read = parsed(message)
        assert [(one.display_name, one.addr_spec) for one in read["To"].addresses] == [(word, "a@x.test")]
        assert {read["Subject"], read["X-A"]} <= {word, None}
        assert word.encode() not in message
    assert lines({"to": "=?iso-8859-1?q?Zo=EB?= <a@x.test>"}) == ["To: =?utf-8?q?Zo=C3=AB?= <a@x.test>"]
    assert lines({"to": f"{word} <a@x.test>"}) == ['To: "\\", evil@x.test" <a@x.test>']
    assert lines({"subject": "=?utf-8?q?=C3=AB?="}) == ["Subject: =?utf-8?q?=C3=AB?="]
