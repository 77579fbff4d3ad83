"""Where tags begin, and what stands in them (spec templates.md 2.1 and 2.2)."""

from __future__ import annotations

import pytest

from relayq.compose.template import TemplateError
from tests.unit.compose.template.rendering import render

DATA = {"x": 5, "a": 3, "b": 1, "total-price": 10, "name": "Ann", "list": [1, 2], "o": {"first-name": "F", "true": "t"}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no tag at all }",
        "{ $x }",
        "{\t$x}",
        "{\r$x}",
        "{\n$x}",
        "{\u00a0$x}",
        "{",
        "x{",
        "{color:red}",
        "{}",
        "{@media",
        "{-webkit-box}",
        "{0%{top:0}",
        '{"key": 1, "b": {"c": 2}}',
        "{#x}",
        "{/literal}",
        "{/foo}",
        "{if-modified}",
        "{if:x}",
        "{ifx y}",
        "{else if $x}",
        "{else }",
        "{mode = html}",
        "{trueish",
        "{true-color}",
        "{not}",
        "{not-found}",
        "{(}",
        "{()}",
        "{!}",
        "{!important}",
        "{'a' = 5}",
        "{1 2}",
        "{1e3}",
        "{5.}",
        "{-.5}",
        "{1",
        "{'a",
        "{'a\\'}",
        "{_a}",
        "{a1}",
        "{a b}",
        "{&nbsp;$x}",
    ],
)
@pytest.mark.parametrize("is_html", [False, True])
def test_text_that_is_no_tag(text: str, *, is_html: bool) -> None:
    assert render(text, DATA, is_html=is_html) == text
    assert render(f"{text}{{$x}}", DATA, is_html=is_html).endswith("5") or text.endswith("{")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("{$x}", "5"),
        ("{{$x}}", "{5}"),
        ("{if($x)}y{/if}", "y"),
        ("{if$x}y{/if}", "y"),
        ("{if\n$x\n}y{/if}", "y"),
        ("{IF $x}y{ELSE}n{/If}", "y"),
        ("{If 0}y{ElseIf $x GT 1 And True}m{EndIf}", "m"),
        ("{FOREACH $l IN $list}{$l}{FOREACHELSE}-{/FOREACH}", "12"),
        ("{Assign 1 TO $y}{$y}{LDELIM}{RDELIM}{LITERAL}{$x}{/Literal}", "1{}{$x}"),
        ("{* {$x} *}|{**}|{*}{$x}*}", "||"),
        ("{literal}{if}{/literal}", "{if}"),
        ("{5}{'a'}{\"b\"}{(1)}{!0}{-5}{true}{false}{not 0}{TRUE}", "5ab1true-5truefalsetruetrue"),
        ("{true-1}", "0"),
        ("{$x }{$x\t}{$x\r\n}{$x\u00a0}", "5555"),
        ("{$x}\n{$x}\n", "5\n5\n"),
        ("{'}'}", "}"),
        ("{$none|default:'}'}", "}"),
        ("{$total-price}{$a-1}{$a-$b}{$a - b|upper}", None),
        ("{$total-price} {$a-1} {$a-$b} {$a -1}", "10 2 2 2"),
        ("{$o.first-name}{$o.first_name}{$o . true}{$o[ 'true' ]}", "FFtt"),
        ("{1.5} {1.5e3} {1.5E-1} {1.25e+1}", "1.5 1500 0.15 12.5"),
        ("{9223372036854775807} {-9223372036854775807}", "9223372036854775807 -9223372036854775807"),
        (r"{'it\'s'} {" + r'"a\"b"} {"\d\n\\."' + "}", r"""it's a"b \d\n\\."""),
        (r'{"a\"}', r'{"a\"}'),
        (r"{'\"'}", r"\""),
        ("{'a\nb'}", "a\nb"),
        ("{false}", "false"),
        ("{$x|substr:-1}", "5"),
    ],
)
@pytest.mark.parametrize("is_html", [False, True])
def test_tags(text: str, output: str | None, *, is_html: bool) -> None:
    if output is None:
        with pytest.raises(TemplateError):
            render(text, DATA, is_html=is_html)
    else:
        assert render(text, DATA, is_html=is_html) == output


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("{if $x &gt; 4 &amp;&amp; $x &lt; 6}y{/if}", "y"),
        ("{if $x &gt;= 5 &AMP;& $x &lt;= 5}y{/if}", "y"),
        ("{if $x &lt;&gt; 5}n{else}y{/if}", "y"),
        ("{foreach $list as $i =&gt; $v}{$i}{$v}{/foreach}", "0112"),
        ("{if&nbsp;$x&nbsp;==&nbsp;5}y{/if}", "y"),
        ("{$none|default:&quot;a'b&lt;&quot;}", "a'b&lt;"),
        ('{$none|default:&#39;a"b&#39;}', 'a"b'),
        ("{$none|default:&apos;a&apos;}", "a"),
        (r"{$none|default:&quot;a\&quot;b\c&quot;}", r'a"b\c'),
        (r"{$none|default:&#39;a\&#39;b&apos;}", "a'b"),
        ("{$none|default:'&quot;'}", "&quot;"),
        ("{$o&nbsp;.&nbsp;first-name}", "F"),
        ("{'a&lt;b'}", "a&lt;b"),
    ],
)
def test_entities_in_html(text: str, output: str) -> None:
    assert render(text, DATA, is_html=True) == output
    if text != "{'a&lt;b'}" and "'&quot;'" not in text:
        with pytest.raises(TemplateError):
            render(text, DATA)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{firstname}", "line 1: unknown tag {firstname}"),
        ("a\nb {endforeach}", "line 2: unknown tag {endforeach}"),
        ("{prénom}", "line 1: unknown tag {prénom}"),
        ("{iffy}", "line 1: unknown tag {iffy}"),
        ("{trueish}", "line 1: unknown tag {trueish}"),
        ("{" + "a" * 50 + "}", "line 1: unknown tag {" + "a" * 40 + "}"),
        ("{$x", "line 1: unexpected end of template"),
        ("{$", "line 1: unexpected character"),
        ("{$}", "line 1: unexpected character"),
        ("{$ x}", "line 1: unexpected character"),
        ("{$_x}", "line 1: unexpected character"),
        ("{$é}", "line 1: unexpected character"),
        ("{if", "line 1: unexpected end of template"),
        ("{foreach", "line 1: unexpected end of template"),
        ("{if}x{/if}", "line 1: unexpected end of tag"),
        ("{$x|default:'a}", "line 1: unclosed string"),
        (r"{$x|default:'a\'}", "line 1: unclosed string"),
        ("\n{*", "line 2: unclosed comment"),
        ("\n{literal}{/lit}", "line 2: unclosed literal"),
        ("{$x ? 1}", "line 1: unexpected character"),
        ("{$x;}", "line 1: unexpected character"),
        ("{$x.5}", "line 1: unexpected token"),
        ("{$x.}", "line 1: unexpected end of tag"),
        ("{$x|}", "line 1: unexpected end of tag"),
        ("{$x|5}", "line 1: unexpected token"),
        ("{$x\n|upper\n}{$x\n\n+}", "line 5: unexpected end of tag"),
        ("{$x + 1.5e999}", "line 1: number out of range"),
        ("{mode=}", "line 1: unexpected end of tag"),
        ("{mode=html x}", "line 1: unexpected token"),
        (" {mode=html}", "line 1: mode is not the first tag"),
        ("{mode=html}{mode=html}", "line 1: mode is not the first tag"),
        ("\n{escape}", "line 2: mode is not the first tag"),
        ("{escape}{escape}", "line 1: mode is not the first tag"),
    ],
)
def test_malformed_tags(text: str, error: str) -> None:
    with pytest.raises(TemplateError) as raised:
        render(text, DATA)
    assert str(raised.value) == error


def test_an_integer_literal_outside_64_bits_is_a_double() -> None:
    assert render("{9223372036854775808} {99999999999999999999999}") == "9223372036854775808 99999999999999991611392"


def test_a_number_too_large_for_anything_is_text_where_it_can_be() -> None:
    assert render("{1" + "0" * 400 + "}") == "{1" + "0" * 400 + "}"
