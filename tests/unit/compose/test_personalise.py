"""Templates in a string MIME: what is a template, and that nothing else changes (spec templates.md 1, 6, 7 and 9)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relayq.compose.personalise import Unrendered, personalise_mime
from relayq.compose.template import TemplateContext, TemplateError, template_context
from tests.support.torture import MESSAGES, TortureMessage

NOW = datetime(2026, 11, 21, 20, 0, 0, tzinfo=UTC)


def context(**data: object) -> TemplateContext:
    return template_context(data, envelope="b@shop.test", recipient="ann@customer.test", now=NOW)


def message(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("utf-8")


def header(field: str, *names: str, **data: object) -> str:
    """What becomes of one header field."""
    mime, unrendered = personalise_mime(
        message("X: 1", field, "Y: 2", "", "x", ""), context(**data), headers=names or ("subject",)
    )
    assert not unrendered
    text = mime.decode()
    assert text.startswith("X: 1\r\n")
    assert text.endswith("\r\nY: 2\r\n\r\nx\r\n")
    return text.removeprefix("X: 1\r\n").removesuffix("Y: 2\r\n\r\nx\r\n")


@pytest.mark.parametrize("given", MESSAGES.values(), ids=lambda given: given.name)
def test_messages_without_tags_stay_octet_identical(given: TortureMessage) -> None:
    assert personalise_mime(given.mime, context(name="x")) == (given.mime, ())


@pytest.mark.parametrize(
    "body",
    ["no tag", "{ $name }", "p{color:red}", "{literal", "{$name|default:'{$name}'}", "a\nb\rc\r\n{literal }"],
)
def test_a_result_equal_to_the_source_changes_nothing(body: str) -> None:
    mime = message("Subject: { x }  y", "Content-Transfer-Encoding: 8bit", "Content-Length: 7", "", body)
    assert personalise_mime(mime, context(name="{$name|default:'{$name}'}")) == (mime, ())


def test_output_is_not_rendered_again() -> None:
    mime = message("Subject: {$name}", "", "{$name}", "")
    assert personalise_mime(mime, context(name="{$secret}", secret="s"))[0] == message(
        "Subject: {$secret}", "", "{$secret}", ""
    )


def test_fields_and_parts_do_not_see_each_others_variables() -> None:
    mime = message("Subject: {$n = 5}{$n}", "", "[{$n}]", "")
    assert personalise_mime(mime, context())[0] == message("Subject: 5", "", "[]", "")


def test_line_ends_of_the_result() -> None:
    mime = message("", "{$text}", "{$name}", "end")
    expected = message("", "a", "b", "c", "", "x", "end")
    assert personalise_mime(mime, context(text="a\nb\rc\r\n", name="x"))[0] == expected


class TestSubject:
    @pytest.mark.parametrize(
        ("field", "expected"),
        [
            ("Subject: {$name}", "Subject: Ann"),
            ("SUBJECT:{$name}", "SUBJECT: Ann"),
            ("subject :  {$name} ", "subject: Ann"),
            ("Subject: Hi\r\n {$name}\r\n\t!", "Subject: Hi Ann !"),
            ("Subject: =?utf-8?b?eyRuYW1lfQ==?=", "Subject: Ann"),
            ("Subject: =?utf-8?q?=7B=24na?= =?utf-8?q?me=7D_=C3=A9?=", "Subject: =?utf-8?b?QW5uIMOp?="),
            ("Subject: {$city}", "Subject: =?utf-8?b?xYHDs2TFug==?="),
            ("Subject: é {$name}", "Subject: =?utf-8?b?w6kgQW5u?="),
            ("Subject: {$nothing}", "Subject: "),
            ("Subject: {$controls}|", "Subject: a b c d |"),
            ("Subject: {$word}", "Subject: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?="),
            ("Subject: { $x }  double  =?us-ascii?q?blanks?=", "Subject: { $x }  double  =?us-ascii?q?blanks?="),
            ("X-Subject: {$name}", "X-Subject: {$name}"),
        ],
    )
    def test_field(self, field: str, expected: str) -> None:
        data = {
            "name": "Ann",
            "city": "Łódź",
            "controls": " a\r\nb\0\x07c\u2028 \x85d\x7f",
            "word": "=?utf-8?q?x?=",
        }
        assert header(field, **data) == expected + "\r\n"

    def test_only_the_first_one(self) -> None:
        mime = message("Subject: {$n}", "X: Subject: {$n}", "Subject: {$n}", "", "")
        assert personalise_mime(mime, context(n=1))[0] == message(
            "Subject: 1", "X: Subject: {$n}", "Subject: {$n}", "", ""
        )

    def test_not_the_first_field(self) -> None:
        mime = message("X: a", " Subject: {$n}", "Subject: {$n}", "", "")
        assert personalise_mime(mime, context(n=1))[0] == message("X: a", " Subject: {$n}", "Subject: 1", "", "")

    def test_long_text_is_folded(self) -> None:
        text = "word " * 40
        lines = header("Subject: {$text}", text=text).split("\r\n")
        assert "".join(lines) == f"Subject: {text.strip()}"
        assert max(map(len, lines)) <= 78

    def test_message_without_subject_or_header(self) -> None:
        assert personalise_mime(b"\r\n{$n}", context(n=1))[0] == b"\r\n1"
        assert personalise_mime(b"", context(n=1)) == (b"", ())

    def test_no_header_is_a_template_when_none_is_named(self) -> None:
        mime = message("Subject: {$n}", "", "{$n}")
        assert personalise_mime(mime, context(n=1), headers=())[0] == message("Subject: {$n}", "", "1")


class TestAddressHeaders:
    @pytest.mark.parametrize(
        ("field", "expected"),
        [
            ("To: {$name} <{$recipient}>", 'To: "Doe, John" <ann@customer.test>'),
            ('To: "{$name}" <a@b.test>', 'To: "Doe, John" <a@b.test>'),
            ("To: =?utf-8?q?=7B=24name=7D?= <a@b.test>", 'To: "Doe, John" <a@b.test>'),
            ("To: {$recipient}, x@y.test", "To: ann@customer.test, x@y.test"),
            ('To: {$none|default:"a, b <c>"} <a@b.test>', 'To: "a, b <c>" <a@b.test>'),
            ("To: {$city} <a@{$domain}>", "To: =?utf-8?b?xYHDs2TFug==?= <a@xn--bcher-kva.test>"),
            ("To: {$evil} <a@b.test>", 'To: "a Bcc: x@y.test" <a@b.test>'),
            ("To: (a) b@c.test", "To: (a) b@c.test"),
            ("To: { x } <b@c.test>", "To: { x } <b@c.test>"),
            ("Cc: {$name} <a@b.test>", "Cc: {$name} <a@b.test>"),
        ],
    )
    def test_field(self, field: str, expected: str) -> None:
        data = {"name": "Doe, John", "city": "Łódź", "domain": "bücher.test", "evil": "a\r\nBcc: x@y.test"}
        assert header(field, "to", **data) == expected + "\r\n"

    @pytest.mark.parametrize("value", ["", "a", "a@b.test, c@d.test", "a@b.test>\r\nX: <y", "<a@b.test>"])
    def test_no_address_after_rendering(self, value: str) -> None:
        mime = message("To: x <{$a}>", "", "{$a}")
        with pytest.raises(TemplateError) as raised:
            personalise_mime(mime, context(a=value), headers=("to",))
        assert str(raised.value) == "to: line 1: no valid address after rendering"
        forced, unrendered = personalise_mime(mime, context(a=value), headers=("to",), force=True)
        assert forced.startswith(b"To: x <{$a}>\r\n")
        assert unrendered == (Unrendered("to", 1, "no valid address after rendering"),)

    def test_other_headers_are_lines(self) -> None:
        assert header("X-Tag: {$n}", "x-tag", n="é") == "X-Tag: =?utf-8?b?w6k=?=\r\n"


class TestParts:
    def test_entities_are_understood_in_html_only(self) -> None:
        html = message("Content-Type: text/html", "", "{if 1 &lt; 2}y{/if}")
        assert personalise_mime(html, context())[0].endswith(b"\r\n\r\ny")
        with pytest.raises(TemplateError, match="part 1 text/plain: line 1: unexpected character"):
            personalise_mime(html.replace(b"html", b"plain"), context())

    @pytest.mark.parametrize(
        ("kind", "escape", "body", "expected"),
        [
            ("html", "html", "{$v}", "&lt;"),
            ("html", "html", "{mode=raw}{$v}", "<"),
            ("html", "none", "{$v}", "<"),
            ("html", "none", "{escape}{$v}", "&lt;"),
            ("plain", "html", "{$v}", "<"),
            ("plain", "html", "{escape}{$v}", "&lt;"),
        ],
    )
    def test_escaping_by_default(self, kind: str, escape: str, body: str, expected: str) -> None:
        mime = message(f"Content-Type: text/{kind}", "", body)
        assert personalise_mime(mime, context(v="<"), escape=escape)[0].endswith(f"\r\n\r\n{expected}".encode())

    def test_octets_of_no_charset_survive(self) -> None:
        mime = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff{$n}\xc3\xa9"
        assert personalise_mime(mime, context(n=1))[0] == mime.replace(b"{$n}", b"1")

    def test_broken_octets_reach_every_modifier(self) -> None:
        names = "md5 sha512 base64_encode urlencode urldecode jsonencode escape upper capitalize spacify strlen"
        chains = names.split()
        tags = "".join(f"{{'\N{LATIN SMALL LETTER Y WITH DIAERESIS}'|{chain}}}" for chain in chains)
        mime = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + tags.encode("latin-1")
        assert b"%" in personalise_mime(mime, context())[0]

    def test_broken_encoding_is_left_alone(self) -> None:
        mime = message("Content-Transfer-Encoding: quoted-printable", "", "{if} =zz")
        assert personalise_mime(mime, context()) == (mime, ())


class TestErrors:
    MIME = message(
        "Subject: {if $n}",
        "Content-Type: multipart/mixed; boundary=b",
        *("", "--b", "", "{$n}", "{1/0}", "--b", "", "{$n}", "--b", "Content-Type: text/html", "", "{$n", "--b--"),
    )

    def test_first_error_ends_it(self) -> None:
        with pytest.raises(TemplateError) as raised:
            personalise_mime(self.MIME, context(n=1))
        assert str(raised.value) == "subject: line 1: unclosed if"

    def test_with_force_the_rest_is_rendered(self) -> None:
        mime, unrendered = personalise_mime(self.MIME, context(n=1), force=True)
        assert [str(one) for one in unrendered] == [
            "subject: line 1: unclosed if",
            "part 1 text/plain: line 2: division by zero",
            "part 3 text/html: line 1: unexpected end of template",
        ]
        assert mime == self.MIME.replace(b"\r\n\r\n{$n}\r\n--b", b"\r\n\r\n1\r\n--b")

    def test_time_is_shared_by_all_fields(self) -> None:
        seconds = iter([1.0, 0.0, 0.0, 0.0])
        loop = "{foreach $l as $x}{/foreach}."
        mime = message(f"Subject: {loop}", "", loop)
        shared = template_context(
            {"l": [0] * 200}, envelope="", recipient="r", now=NOW, time_left=lambda: next(seconds)
        )
        result, unrendered = personalise_mime(mime, shared, force=True)
        assert result == message("Subject: .", "", loop)
        assert [str(one) for one in unrendered] == ["part 1 text/plain: line 1: takes too long"]

    def test_a_template_error_says_nothing_of_the_data(self) -> None:
        mime = message("", "{if 'x' =~ $secret}{/if}")
        with pytest.raises(TemplateError) as raised:
            personalise_mime(mime, context(secret="(s3cret"))
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
