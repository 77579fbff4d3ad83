"""Every example and every row of a table in the specification of the language."""

from __future__ import annotations

import pytest

from relayq.compose.template import TemplateError
from tests.unit.compose.template.rendering import NOW_UNIX, render

DATA = {
    "n": 3,
    "s": "false",
    "list": [{"name": "a", "price": 3}, {"name": "b", "price": 9.5}],
    "m": {"b": 1, "a": 2},
    "total-price": 10,
    "h": "<i>",
    "abcd": ["a", "b", "c", "d"],
    "empty": [],
    "lines": "a\nb",
    "crlf": "a\r\nb",
}


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{$n-1}/{$n - 1}/{$total-price}/{$total_price}", "2/2/10/10"),
        ('{7/2} {7.0/2} {-7/2} {"2.5"+1} {"10"+"text"}', "3 3.5 -3 3.5 10"),
        ("{-1+3-2*10} {(1+3-2)*10} {1+3*10%5}", "-18 20 1"),
        ("{if $s}T{else}F{/if}{if not $n == 1}T{else}F{/if}", "TT"),
        ("{foreach $list as $i => $p}{$i}:{$p.name} {foreachelse}none{/foreach}", "0:a 1:b "),
        ("{foreach $m as $k => $v}{$k}={$v};{/foreach}{$m[0]}{$m.a}", "b=1;a=2;12"),
        ("{foreach $p in $list}{assign $t + $p.price to $t}{/foreach}{$t}", "12.5"),
        ("{foreach $x in $n}{$x}{foreachelse}none{/foreach}", "none"),
        ("{$x = 5}{$x}{$missing}{$missing.a[3]}", "5"),
        ("{ldelim}$n{rdelim} {literal}{$n}{/literal} {* no *}{ $n }", "{$n} {$n} { $n }"),
        ("p{color:red} @media x{p{margin:0}} {$n}", "p{color:red} @media x{p{margin:0}} 3"),
        ("{escape}<b>{$h}</b>{$h|raw}", "<b>&lt;i&gt;</b><i>"),
    ],
)
def test_worked_examples(template: str, output: str) -> None:
    assert render(template, DATA) == output


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{firstname}", "line 1: unknown tag {firstname}"),
        ("{if $n}", "line 1: unclosed if"),
        ("{1/0}", "line 1: division by zero"),
        ("{$1}", "line 1: unexpected character"),
        ("{if 1 foo 2}x{/if}", "line 1: unexpected token"),
        ("{if }x{/if}", "line 1: unexpected end of tag"),
    ],
)
def test_worked_errors(template: str, error: str) -> None:
    with pytest.raises(TemplateError) as raised:
        render(template, DATA)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ('{"SGk="|base64_decode}', "Hi"),
        ('{"Hi"|base64_encode}', "SGk="),
        ('{"jan s2 wit"|capitalize}', "Jan s2 Wit"),
        ('{"jan s2 wit"|capitalize:true}', "Jan S2 Wit"),
        ('{"a"|cat:"b":1}', "ab1"),
        ("{$abcd|count} {$n|count}", "4 0"),
        ('{"a b c"|count_characters} {"a b c"|count_characters:true}', "3 5"),
        ("{$lines|count_paragraphs}{$crlf|count_paragraphs}", "11"),
        ('{"one two - 3"|count_words}', "3"),
        ('{"1533081600"|date_format}', "Aug  1, 2018"),
        ('{$none|default:"x"}{0|default:"x"}', "x0"),
        ('{""|empty} {"0"|empty} {$empty|empty} {$abcd|empty}', "true false true false"),
        ('{"<R&D\'s>"|escape}', "&lt;R&amp;D&#39;s&gt;"),
        ('{"x"|indent:2}', "  x"),
        (r'{"a\tb"|jsondecode}', "a\tb"),
        ("{'a \"b\"'|jsonencode}", r"a \"b\""),
        ('{"ab"|md5}', "187ef4436122d1cc2f40dc2b92f0eba0"),
        ("{$lines|nl2br}{$crlf|nl2br}", "a<br />ba<br />b"),
        ('{1234567.891|number_format:2:",":"."}', "1.234.567,89"),
        ("{$abcd|range:1:3|jsonencode} {$abcd|range:2|jsonencode}", '["b","c"] ["a","b"]'),
        ("{$h|raw}", "<i>"),
        (r'{"a1b22"|regex_replace:"\d+":"#"}', "a#b#"),
        ('{"hello"|replace:"l":"L"}', "heLLo"),
        ('{"abc"|spacify:"-"}', "a-b-c"),
        ('{"Zoë"|strlen}', "3"),
        ('{"hello"|strpos:"lo"} {"hello"|strpos:"x"}', "3 -1"),
        ('{"a@b"|strstr:"@"} {"a@b"|strstr:"@":true}', "@b a"),
        ('{"hello"|substr:1:3} {"hello"|substr:9}', "ell hello"),
        ('{"ÀB"|tolower}{"ÀB"|lower}', "àbàb"),
        ('{"zoë"|toupper}{"zoë"|upper}', "ZOËZOË"),
        ('{" x "|trim}', "x"),
        ('{"jan"|ucfirst}', "Jan"),
        ('{"a+b%26"|urldecode}', "a b&"),
        ('{"a b&ü~"|urlencode}', "a+b%26%C3%BC%7E"),
    ],
)
def test_modifiers(template: str, output: str) -> None:
    assert render(template, DATA) == output


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ("13", "This is..."),
        ('13:""', "This is just"),
        ('13:"...":true', "This is ju..."),
        ("80", "This is just a simple test sentence."),
        ("0", ""),
    ],
)
def test_truncate(arguments: str, output: str) -> None:
    assert render(f'{{"This is just a simple test sentence."|truncate:{arguments}}}') == output


@pytest.mark.parametrize(
    ("template", "output"),
    [
        # loop variables after the loop, object order
        ("{foreach $m as $k => $v}{/foreach}{$k}{$v}", "a2"),
        # gte and lte
        ("{if 3 gte 3}y{/if}{if 3 lte 3}y{/if}", "yy"),
        # numeric equality does not truncate
        ("{if 3.7 == 3}y{else}n{/if}", "n"),
        # string numbers with a fraction
        ('{"2.5" * 2}', "5"),
        # indent by default
        ('{"x"|indent}', "    x"),
        # range
        ("{$abcd|range:0:2|jsonencode}", '["a","b"]'),
        # empty
        ('{if ""|empty}y{/if}', "y"),
        # hashes of arrays: over the values
        ("{if $abcd|md5 == 'abcd'|md5}y{/if}", "y"),
        # default on a non-empty array
        ('{$abcd|default:"x"|count}', "4"),
        # characters and case
        ('{"é"|strlen}{"É"|tolower}', "1é"),
        # other control characters in JSON
        ("{$control|jsonencode}", r"\u0001"),
        # line breaks of two characters
        ("{$crlf|nl2br}", "a<br />b"),
        # printed arrays and objects
        ("[{$abcd}{$m}]", "[]"),
        # a modifier in front of a comparison
        ("{if $abcd|count == 4}y{/if}", "y"),
    ],
)
def test_deliberate_deviations(template: str, output: str) -> None:
    assert render(template, {**DATA, "control": "\x01"}) == output


def test_predefined_variables() -> None:
    assert render("{$envelope} {$recipient} {$smarty.now}") == f"bounce@shop.test ann@example.test {NOW_UNIX}"


def test_data_hides_predefined_variables() -> None:
    data = {"recipient": "me", "smarty": "s", "envelope": None}
    assert render("{$envelope}/{$recipient}/{$smarty}{$smarty.now}", data) == "/me/s"
