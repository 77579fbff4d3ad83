"""Blocks, precedence and nesting (spec templates.md 2.3 and 4)."""

from __future__ import annotations

import pytest

from relayq.compose.template import TemplateError
from relayq.compose.template.limits import MAX_MODIFIERS, MAX_NESTING
from tests.unit.compose.template.rendering import render

DATA = {"a": 3, "b": 4, "t": "text", "list": ["x", "y"], "o": {"k": {"l": [1, 2, {"m": "deep"}]}}, "s": "1.0", "one": 1}


@pytest.mark.parametrize(
    ("expression", "output"),
    [
        ("1 or 0 and 0", "true"),
        ("(1 or 0) and 0", "false"),
        ("0 || 0 || 3", "true"),
        ("1 && 1 && 0", "false"),
        ("1 and 1", "true"),
        ("0 or 0", "false"),
        ("not 1 == 2", "true"),
        ("!1 == 2", "true"),
        ("not not 5", "true"),
        ("!!0", "false"),
        ("not 1 or 1", "true"),
        ("1 and not 0", "true"),
        ("1 == 2 or 3 == 3", "true"),
        ("1 < 2 == true", "true"),
        ("3 > 2 > 1", "false"),
        ("1 < 2 < 3", "true"),
        ("1 + 2 < 4", "true"),
        ("2 + 3 * 4", "14"),
        ("20 - 3 - 2", "15"),
        ("20 / 3 / 2", "3"),
        ("2 * 3 % 4", "2"),
        ("-2 * -3", "6"),
        ("- - 2", "2"),
        ("-$a|strlen", "-1"),
        ("$a + $b|strlen", "4"),
        ("($a + $b)|strlen", "1"),
        ("($a + $b) * 2", "14"),
        ("$o.k.l[2].m", "deep"),
        ("$o['k']['l'][1 - 1]", "1"),
        ("$o.k.l[$one + 1].m|upper|lower|ucfirst", "Deep"),
        ("$t|upper|substr:0:2", "TE"),
        ("'a'|upper == 'A'", "true"),
        ("$t|cat:$a:-1:true:'x':1.5", "text3-1truex1.5"),
        ("$t eq 'text'", "true"),
        ("$t ne 'text'", "false"),
        ("$t <> 'text'", "false"),
        ("$t != 'text'", "false"),
        ("1 eq 1 ne 0", "true"),
        ("1 == 1 == 1 == 1", "true"),
        ("1 == 2 == false", "true"),
        ("'a' == 'a' == 'x'", "true"),
        ("'a' == 'b' =~ '^false$'", "true"),
        ("$t =~ 'ex'", "true"),
        ("3 lt 4", "true"),
        ("3 le 3", "true"),
        ("3 lte 2", "false"),
        ("3 gt 3", "false"),
        ("3 ge 3", "true"),
        ("3 gte 4", "false"),
        ("3 <= 3", "true"),
        ("3 >= 4", "false"),
        ("(1)", "1"),
        ("((('x')))", "x"),
    ],
)
def test_precedence(expression: str, output: str) -> None:
    # Assigned first, so that every expression stands behind something that makes it a tag.
    assert render(f"{{$v = {expression}}}{{$v}}", DATA) == output


@pytest.mark.parametrize(
    ("left", "operator", "right", "expected"),
    [
        # a number literal or arithmetic: numeric
        ("'John'", "==", "0", True),
        ("'5 pcs'", "==", "5", True),
        ("$s", "==", "1", True),
        ("$s", "==", "$one + 0", True),
        ("$s", "==", "-(-1)", True),
        ("true", "==", "1", True),
        ("2", "==", "true", False),
        # a boolean, comparison or logic: boolean
        ("'false'", "==", "true", True),
        ("$s", "==", "1 < 2", True),
        ("$t", "==", "not 0", None),
        ("$t", "==", "(not 0)", True),
        ("$t", "==", "(1 and 1)", True),
        ("''", "==", "false", True),
        ("$list", "==", "true", True),
        ("$nothing", "!=", "true", True),
        # otherwise as printed
        ("$s", "==", "$one", False),
        ("$s", "==", "'1.0'", True),
        ("$a|strlen", "==", "'1'", True),
        ("$list", "==", "''", True),
        ("'É'", "==", "'é'", False),
    ],
)
def test_equality_follows_how_the_operands_are_written(
    left: str, operator: str, right: str, expected: bool | None
) -> None:
    text = f"{{if {left} {operator} {right}}}y{{else}}n{{/if}}"
    if expected is None:
        with pytest.raises(TemplateError):
            render(text, DATA)
    else:
        assert render(text, DATA) == ("y" if expected else "n")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("{if 0}a{elseif 0}b{elseif 1}c{elseif 1}d{else}e{/if}", "c"),
        ("{if 0}a{elseif 0}b{else}e{endif}", "e"),
        ("{if 0}a{elseif 0}b{/if}|", "|"),
        ("{if 1}{/if}{if 0}{else}{/if}|", "|"),
        ("{if 1}{if 0}a{else}b{/if}{else}c{/if}", "b"),
        ("{foreach $list as $v}{$v}{/foreach}", "xy"),
        ("{foreach $v in $list}{$v}{/foreach}", "xy"),
        ("{foreach $in in $list}{$in}{/foreach}", "xy"),
        ("{foreach $list as $k => $v}{$k}{$v}{/foreach}", "0x1y"),
        ("{foreach $o.k.l as $v}[{$v}]{/foreach}", "[1][2][]"),
        ("{foreach $o.k as $k => $v}{$k}{/foreach}", "l"),
        ("{foreach $v in $o}{$v.l[0]}{/foreach}", "1"),
        ("{foreach $v in $list|range:1:2}{$v}{/foreach}", "y"),
        ("{foreach ($list) as $v}{$v}{/foreach}", "xy"),
        ("{foreach $list as $v}{foreachelse}e{/foreach}|", "|"),
        ("{foreach $t as $v}x{/foreach}|", "|"),
        ("{foreach $nothing as $k => $v}x{foreachelse}e{/foreach}", "e"),
        ("{foreach $list as $a}{foreach $list as $b}{$a}{$b} {/foreach}{/foreach}{$a}", "xx xy yx yy y"),
        ("{foreach $list as $v}{if $v == 'x'}1{else}2{/if}{/foreach}", "12"),
        ("{assign $a * 2 to $d}{$d}", "6"),
        ("{$t = $t|upper}{$t}", "TEXT"),
        ("{$x-y = 1}{$x-y}{$x_y}", "11"),
    ],
)
def test_blocks(text: str, output: str) -> None:
    assert render(text, DATA) == output


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{if 1}x", "line 1: unclosed if"),
        ("\n{if 1}{foreach $a as $b}\n", "line 2: unclosed foreach"),
        ("{foreach $a in $b}{foreachelse}", "line 1: unclosed foreach"),
        ("{else}", "line 1: else without if"),
        ("\n{elseif 1}", "line 2: elseif without if"),
        ("{/if}", "line 1: /if without if"),
        ("{endif}", "line 1: endif without if"),
        ("{/foreach}", "line 1: /foreach without foreach"),
        ("{foreachelse}", "line 1: foreachelse without foreach"),
        ("{if 1}{/foreach}{/if}", "line 1: /foreach without foreach"),
        ("{if 1}{foreachelse}{/if}", "line 1: foreachelse without foreach"),
        ("{foreach $a as $b}{else}{/foreach}", "line 1: else without if"),
        ("{foreach $a as $b}{/if}", "line 1: /if without if"),
        ("{if 1}{else}{else}{/if}", "line 1: second else"),
        ("{if 1}{else}{elseif 1}{/if}", "line 1: elseif behind else"),
        ("{foreach $a as $b}{foreachelse}{foreachelse}{/foreach}", "line 1: second foreachelse"),
        ("{foreach $a}x{/foreach}", "line 1: unexpected end of tag"),
        ("{foreach $a as 5}x{/foreach}", "line 1: unexpected token"),
        ("{foreach $a as $b =>}x{/foreach}", "line 1: unexpected end of tag"),
        ("{foreach $a as $b => 5}x{/foreach}", "line 1: unexpected token"),
        ("{foreach $a.b in $c}x{/foreach}", "line 1: unexpected token"),
        ("{foreach $a + 1 as $b}x{/foreach}", "line 1: unexpected token"),
        ("{foreach $a as $b x}x{/foreach}", "line 1: unexpected token"),
        ("{assign 5}", "line 1: unexpected end of tag"),
        ("{assign 5 to}", "line 1: unexpected end of tag"),
        ("{assign 5 to x}", "line 1: unexpected token"),
        ("{assign 5 to $x.y}", "line 1: unexpected token"),
        ("{assign to $x}", "line 1: unexpected token"),
        ("{$x = }", "line 1: unexpected end of tag"),
        ("{$x = 5 6}", "line 1: unexpected token"),
        ("{$x.y = 5}", "line 1: unexpected token"),
        ("{$x = $y = 5}", "line 1: unexpected token"),
        ("{$x $y}", "line 1: unexpected token"),
        ("{$x +}", "line 1: unexpected end of tag"),
        ("{$x == !1}", "line 1: unexpected token"),
        ("{$x + not 1}", "line 1: unexpected token"),
        ("{-!1 + $x", None),
        ("{$x[1}", "line 1: unexpected end of tag"),
        ("{$x[]}", "line 1: unexpected token"),
        ("{$x[1)}", "line 1: unexpected token"),
        ("{if (1}x{/if}", "line 1: unexpected end of tag"),
        ("{$x|upper:}", "line 1: unexpected end of tag"),
        ("{$x|cat:-'a'}", "line 1: unexpected token"),
        ("{$x|cat:-$y}", "line 1: unexpected token"),
        ("{$x|cat:(1)}", "line 1: unexpected token"),
        ("{$x|cat:foo}", "line 1: unexpected token"),
        ("{$x|strlen-foo}", "line 1: unexpected token"),
    ],
)
def test_syntax_errors(text: str, error: str | None) -> None:
    if error is None:
        assert render(text, DATA) == text
        return
    with pytest.raises(TemplateError) as raised:
        render(text, DATA)
    assert str(raised.value) == error


NESTINGS = {
    "parentheses": lambda depth: "{if " + "(" * depth + "1" + ")" * depth + "}y{/if}",
    "sums": lambda depth: "{if " + "(1+" * depth + "1" + ")" * depth + "}y{/if}",
    "minus": lambda depth: "{if " + "- " * depth + "1}y{/if}",
    "not": lambda depth: "{if " + "!" * depth + "0}y{else}y{/if}",
    "brackets": lambda depth: "{if 1 or " + "$a[" * depth + "1" + "]" * depth + "}y{/if}",
    "if": lambda depth: "{if 1}" * depth + "y" + "{/if}" * depth,
    "foreach": lambda depth: "{foreach $one-list as $v}" * depth + "y" + "{/foreach}" * depth,
}


@pytest.mark.parametrize("name", NESTINGS)
def test_nesting_limit(name: str) -> None:
    data = {"one-list": [1], "a": 1}
    assert render(NESTINGS[name](MAX_NESTING), data) == "y"
    for depth in (MAX_NESTING + 1, 5000):
        with pytest.raises(TemplateError, match="nested too deeply") as raised:
            render(NESTINGS[name](depth), data)
        assert raised.value.line == 1


def test_the_nesting_limit_is_an_error_where_text_was_possible() -> None:
    with pytest.raises(TemplateError, match="nested too deeply"):
        render("{" + "(" * 200 + "1" + ")" * 200 + "}")


def test_blocks_and_expressions_nest_together() -> None:
    deep = "(1+" * MAX_NESTING + "1" + ")" * MAX_NESTING
    assert render("{if 1}" * MAX_NESTING + "{$a + " + deep + "}" + "{/if}" * MAX_NESTING, {"a": 1}) == "102"


def test_no_mix_of_operators_is_visible_as_recursion() -> None:
    deep = "(1 or 1 and not 1 == 1 < 1 + 1 * -$a[" * 33 + "1" + "])" * 33
    assert outcome("{if " + deep + "}y{/if}") in {"y", "nested too deeply"}


def outcome(text: str) -> str:
    try:
        return render(text, {"a": [1, 2]})
    except TemplateError as error:
        return error.cause


def test_modifier_limit() -> None:
    assert render("{$x" + "|upper" * MAX_MODIFIERS + "}", {"x": "y"}) == "Y"
    with pytest.raises(TemplateError, match="more than 1000 modifiers"):
        render("{$x" + "|upper" * (MAX_MODIFIERS + 1) + "}", {"x": "y"})
    with pytest.raises(TemplateError, match="more than 1000 modifiers"):
        render("{5" + "|upper" * (MAX_MODIFIERS + 1) + "}", {"x": "y"})


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("{if " + "0 or " * 20_000 + "1}y{/if}", "y"),
        ("{$x = " + "1+" * 20_000 + "1}{$x}", "20001"),
        ("{$x = " + "1==" * 20_001 + "1}{$x}", "true"),
        ("{$x = " + "1<" * 20_000 + "2}{$x}", "true"),
        ("{$x" + ".a" * 20_000 + "}y", "y"),
        ("{$x" + "[0]" * 20_000 + "}y", "y"),
        ("{if 0}x" + "{elseif 0}x" * 20_000 + "{else}y{/if}", "y"),
    ],
)
def test_long_chains_do_not_nest(text: str, output: str) -> None:
    assert render(text) == output
