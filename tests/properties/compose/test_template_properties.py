"""Whatever is written into a template or its data: text, or a `TemplateError`, within the limits."""

from __future__ import annotations

import contextlib
import html
import json
import math
import random
import urllib.parse
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from relayq.compose.personalise import personalise_mime
from relayq.compose.template import TemplateCache, TemplateContext, TemplateError, template_context
from relayq.compose.template.limits import MAX_OCTETS
from relayq.compose.template.modifiers import MODIFIERS
from tests.support.torture import MESSAGES

NOW = datetime(2026, 11, 21, 20, 0, 0, tzinfo=UTC)
FUZZED = 20_000

PIECES = [
    *("{", "}", "$", "$a", "$b", "$l", "$o", "$o.k", "$l[0]", "$none", "{$a}", "{$l|count}", " ", "\n", "\u00a0", "x"),
    *(
        "{if ",
        "{if $a}",
        "{elseif 1}",
        "{else}",
        "{/if}",
        "{endif}",
        "{foreach $l as $i}",
        "{foreach $k in $o}",
        "{/foreach}",
    ),
    *("{foreachelse}", "{foreach $o as $k => $v}", "{assign 1 to $a}", "{$a = ", "{literal}", "{/literal}", "{*", "*}"),
    *("{ldelim}", "{escape}", "{mode=json}", "{(", "{'", "{1", "{true", "{not ", "{unknown}", "{color:red}"),
    *(
        "=",
        "==",
        "=~",
        "!=",
        "<",
        ">",
        "<=",
        "&lt;",
        "&amp;&amp;",
        "&quot;",
        "&#39;",
        "&nbsp;",
        "||",
        "&&",
        "!",
        "not ",
        "and ",
    ),
    *(
        "or ",
        "+",
        "-",
        "*",
        "/",
        "%",
        "(",
        ")",
        "[",
        "]",
        ".",
        "|",
        ":",
        "1",
        "0",
        "2.5",
        "9223372036854775807",
        "1.5e300",
    ),
    *("'", '"', "\\", "'x'", '"(a+)+"', "'%d'", "true", "false", "é", "\udcff", "😀", "\0", "to ", "in ", "as ", "=>"),
    *(f"|{name}" for name in MODIFIERS),
    *(f"|{name}:" for name in MODIFIERS),
]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
data_objects = st.fixed_dictionaries(dict.fromkeys("ablo", json_values))
templates = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=25).map("".join)


def context_of(data: dict[str, object]) -> TemplateContext:
    return template_context(data, envelope="b@shop.test", recipient="ann@customer.test", now=NOW)


def outcome(text: str, data: dict[str, object], *, is_html: bool = False) -> str | TemplateError:
    """Output or error; nothing else may come."""
    try:
        template = TemplateCache().get(text, is_html=is_html, escape="null", time_left=lambda: 1.0)
        return template.render(context_of(data))
    except TemplateError as error:
        return error


def output(text: str, **data: object) -> str:
    result = outcome(text, data)
    assert isinstance(result, str), result
    return result


@settings(max_examples=300, deadline=None)
@given(templates, data_objects, st.booleans())
def test_any_template_gives_text_or_an_error(text: str, data: dict[str, object], is_html: bool) -> None:
    result = outcome(text, data, is_html=is_html)
    if isinstance(result, TemplateError):
        assert result.cause
        assert 1 <= result.line <= text.count("\n") + 1
    else:
        assert len(result.encode("utf-8", "surrogatepass")) <= MAX_OCTETS
        assert outcome(text, data, is_html=is_html) == result


@given(st.text().filter(lambda text: "{" not in text), st.booleans())
def test_text_without_a_brace_is_itself(text: str, is_html: bool) -> None:
    assert outcome(text, {}, is_html=is_html) == text


@given(st.text().filter(lambda text: "{/literal}" not in text.lower()))
def test_literal_text_is_itself(text: str) -> None:
    assert output("{literal}" + text + "{/literal}") == text


@given(st.text(), st.text().filter(lambda text: "{" not in text))
def test_data_is_never_a_template(value: str, around: str) -> None:
    assert output(around + "{$v}" + around, v=value) == around + value + around


@given(st.text())
def test_a_string_literal_is_its_content(text: str) -> None:
    literal = text.replace('"', '\\"')
    if not text.endswith("\\"):
        assert output('{$v = "' + literal + '"}{$v}') == text


@given(st.text())
def test_escapes_are_undone(text: str) -> None:
    assert output("{$v|urlencode|urldecode}", v=text) == text
    assert output("{$v|base64_encode|base64_decode}", v=text) == text
    assert output("{$v|jsonencode|jsondecode}", v=text) == text
    assert json.loads(f'"{output("{$v|jsonencode}", v=text)}"', strict=True) == text


@given(
    st.lists(st.sampled_from(["%", "+", "=", "41", "%C3%A9", "%e2", "%82%ac", "%0A", "%zz", "é"]) | st.text(max_size=2))
)
def test_urls_are_decoded_as_elsewhere(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert output("{$v|urldecode}", v=text) == urllib.parse.unquote_plus(text)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 20))
def test_formatted_numbers_are_rounded(number: float, decimals: int) -> None:
    result = output("{$v|number_format:$d}", v=number, d=decimals)
    assert len(result.partition(".")[2]) == decimals
    assert abs(Decimal(result) - Decimal(repr(number))) <= Decimal(5).scaleb(-decimals - 1)


@given(st.text())
def test_escaped_text_cannot_leave_its_place_in_html(text: str) -> None:
    escaped = output("{escape}{$v}", v=text)
    assert not set("<>\"'") & set(escaped)
    if "&" not in text:
        assert html.unescape(escaped) == text


@given(json_values)
def test_an_array_as_json_is_read_back(value: object) -> None:
    assert json.loads(output("{$v|jsonencode}", v=[value])) == [value]


def combine(parts: tuple[tuple[str, int | None], str, tuple[str, int | None]]) -> tuple[str, int | None]:
    """Text and value of an operation, the value ``None`` for a division by zero."""
    (left_text, left), operator, (right_text, right) = parts
    text = f"({left_text} {operator} {right_text})"
    if left is None or right is None or (operator in "/%" and right == 0):
        return text, None
    if operator == "/":
        return text, math.trunc(left / right)
    if operator == "%":
        return text, int(math.fmod(left, right))
    return text, {"+": left + right, "-": left - right, "*": left * right}[operator]


def negate(parts: tuple[str, int | None]) -> tuple[str, int | None]:
    text, value = parts
    return f"(-{text})", None if value is None else -value


expressions = st.recursive(
    st.integers(0, 1000).map(lambda number: (str(number), number)),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/%"), inner).map(combine) | inner.map(negate),
    max_leaves=8,
)


@given(expressions)
def test_arithmetic_is_that_of_integers(expression: tuple[str, int | None]) -> None:
    text, value = expression
    if value is not None and abs(value) > 1 << 53:
        return  # the oracle divides by way of doubles
    result = outcome("{$v = " + text + "}{$v}", {})
    if value is None:
        assert isinstance(result, TemplateError)
        assert result.cause == "division by zero"
    else:
        assert result == str(value)


def test_mutated_templates() -> None:
    """A bounded walk from working templates: pieces cut out, doubled, swapped and put in."""
    source = random.Random(20261121)
    data: dict[str, object] = {"a": "12 apples", "b": -2.5, "l": ["x", 1, None, [2]], "o": {"k": "v", "a-b": {"c": 1}}}
    seeds = [
        "Dear {$a|default:'you'|upper}, {if $b < 0 and not $o.k == 'w'}{$l[1]}{elseif $a}{$b}{else}-{/if}",
        "{foreach $l as $i => $v}{$i}:{$v|cat:','|trim:','}{foreachelse}none{/foreach}{assign $b * 2 to $c}{$c}",
        "p{color:red} {* note *}{literal}{$x}{/literal}{ldelim}{$o['a_b'].c + 1 % 2}{if 'a1' =~ '\\d'}y{/if}",
        "{mode=html}{$a|truncate:5:\"..\":true|escape}{'7'|date_format:'%F'}{1234.5|number_format:2:',':'.'}",
    ]
    results = {"text": 0, "error": 0}
    for _ in range(FUZZED):
        text = source.choice(seeds)
        for _ in range(source.randrange(1, 4)):
            start, end = sorted((source.randrange(len(text) + 1), source.randrange(len(text) + 1)))
            piece = source.choice(
                (text[start:end], source.choice(PIECES), "", source.choice(PIECES) * source.randrange(3))
            )
            text = text[:start] + piece + text[source.choice((start, min(start + 1, len(text)), end)) :]
        result = outcome(text, data, is_html=source.random() < 0.5)
        results["error" if isinstance(result, TemplateError) else "text"] += 1
    assert min(results.values()) > FUZZED // 20, results


octets = st.lists(
    st.sampled_from(
        [b"\r\n", b"--b", b"Subject: ", b"Content-Type: text/html; charset=", b"utf-8", b"{$a}", b"{if", b"}", b"=7B"]
    )
    | st.sampled_from(
        [b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Transfer-Encoding: ", b"base64", b"\xff"]
    )
    | st.binary(max_size=5),
    max_size=30,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(octets, json_values, st.booleans())
def test_any_octets_can_be_personalised(mime: bytes, value: object, force: bool) -> None:
    headers = ("subject", "from", "to")
    with contextlib.suppress(TemplateError) if not force else contextlib.nullcontext():
        result, unrendered = personalise_mime(mime, context_of({"a": value}), force=force, headers=headers)
        assert force or not unrendered
        if b"{" not in mime and b"=" not in mime and b"base64" not in mime:
            assert result == mime


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(MESSAGES)), st.text())
def test_a_value_of_the_subject_changes_only_the_subject(name: str, value: str) -> None:
    mime = b"Subject: {$v}\r\n" + MESSAGES[name].mime
    if not MESSAGES[name].mime[:1].isalnum():
        return
    result, _ = personalise_mime(mime, context_of({"v": value}), force=True)
    assert result.endswith(MESSAGES[name].mime)
    assert result[: -len(MESSAGES[name].mime)].count(b"\n") == result[: -len(MESSAGES[name].mime)].count(b"\r\n")
