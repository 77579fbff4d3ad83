"""Limits of a rendering, escaping of whole templates, and the cache (spec templates.md 6 and 10)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

import pytest

from relayq.compose.template import TemplateCache, TemplateError, compile_template, template_context
from relayq.compose.template.limits import MAX_OCTETS, MAX_TURNS
from tests.unit.compose.template.rendering import NOW, StepClock, context, render

ENOUGH = 1e9


def unlimited() -> float:
    return ENOUGH


def with_frames_left(frames: int, call: Callable[[], object]) -> object:
    """Call from so deep in the stack that only so many calls more are possible."""

    def go_down(depth: int) -> object:
        return go_down(depth - 1) if depth else call()

    return go_down(sys.getrecursionlimit() - len(inspect.stack(0)) - frames)


class TestEscaping:
    @pytest.mark.parametrize(
        ("template", "output"),
        [
            ("{escape}{$v}", "&lt;a&gt; &amp;&quot;&#39;"),
            ("{mode=html}{$v}<b>", "&lt;a&gt; &amp;&quot;&#39;<b>"),
            ("{mode=url}{$v}", "%3Ca%3E+%26%22%27"),
            ("{mode=base64}{$v}", "PGE+ICYiJw=="),
            ("{mode=json}{$v}", "<a> &\\\"'"),
            ("{mode=raw}{$v}", "<a> &\"'"),
            ("{mode=null}{$v}", "<a> &\"'"),
            ("{mode=nobody}{$v}", "<a> &\"'"),
            ("{MODE= html }{$v|upper}", "&lt;A&gt; &amp;&quot;&#39;"),
            ("{escape}{$v|raw}{$v|upper|raw}{$v|raw|lower}", "<a> &\"'<A> &\"'<a> &\"'"),
            ("{escape}{$l[$v|raw|count]|cat:'<'}{('<' + $v|raw)|cat:'<'}", "<0<"),
            ("{escape}{-$v|raw}{!$v|raw}{if 1}{'<'}{/if}", "0false&lt;"),
            ("{escape}{$w = '<'}{$w}{'<'|escape}", "&lt;&amp;lt;"),
            ("{escape}{literal}<{$v}{/literal}{ldelim}", "<{$v}{"),
        ],
    )
    def test_modes(self, template: str, output: str) -> None:
        assert render(template, {"v": "<a> &\"'", "l": []}) == output

    def test_default(self) -> None:
        assert render("{$v}", {"v": "<"}, escape="html") == "&lt;"
        assert render("{mode=raw}{$v}", {"v": "<"}, escape="html") == "<"
        assert render("{$v}", {"v": "<"}, escape="none") == "<"


class TestLimits:
    def test_source(self) -> None:
        text = "x" * (MAX_OCTETS - 2)
        assert render(text + "{}") == text + "{}"
        with pytest.raises(TemplateError, match="line 1: template larger than 10485760 octets"):
            render(text + "{ }")
        with pytest.raises(TemplateError, match="template larger"):
            render("é" * (MAX_OCTETS // 2 + 1))

    def test_output(self) -> None:
        data = {"v": "x" * (MAX_OCTETS // 4), "e": "é" * (MAX_OCTETS // 8)}
        assert len(render("{$v}" * 4, data)) == MAX_OCTETS
        with pytest.raises(TemplateError, match="output larger than 10485760 octets"):
            render("{$v}" * 4 + "!", data)
        with pytest.raises(TemplateError, match="output larger"):
            render("{$e}" * 5, data)

    def test_output_of_a_loop(self) -> None:
        data = {"l": list(range(50_000)), "v": "x" * 1000}
        with pytest.raises(TemplateError, match="line 2: output larger"):
            render("\n{foreach $l as $i}{$v}{/foreach}", data)

    def test_output_in_many_blocks(self) -> None:
        assert render("{foreach $l as $i}{$i},{/foreach}", {"l": list(range(30_000))}) == "".join(
            f"{number}," for number in range(30_000)
        )

    def test_turns_of_all_loops(self) -> None:
        data = {"l": [0] * 250, "m": [0] * 400}
        template = "{foreach $m as $a}{foreach $l as $b}{/foreach}{/foreach}"
        with pytest.raises(TemplateError, match="line 1: more than 100000 loop turns"):
            render(template, data)
        loop = "{foreach $l as $a}{/foreach}"
        assert render(loop * 2, {"l": [0] * (MAX_TURNS // 2)}) == ""
        with pytest.raises(TemplateError, match="more than 100000 loop turns"):
            render(loop + "\n" + loop, {"l": [0] * (MAX_TURNS // 2 + 1)})

    def test_what_variables_keep(self) -> None:
        data = {"v": "x" * (MAX_OCTETS - 10), "w": "y" * 5000, "l": [0] * 100_000}
        kept = "".join(f"{{$a{number} = $v|cat:{number}}}" for number in range(6))
        assert render(kept * 2, data) == ""
        assert render(kept + "{$a0 = 1}{$a6 = $v}", data) == ""
        with pytest.raises(TemplateError, match="variables larger than"):
            render(kept + "{$a6 = $v}", data)
        many = "".join(f"{{$a{number} = $l|range:0:99999}}" for number in range(700))
        with pytest.raises(TemplateError, match="variables larger than"):
            render(many, data)

    def test_time_in_a_loop(self) -> None:
        clock = StepClock(10)
        with pytest.raises(TemplateError, match="line 1: takes too long"):
            render("{foreach $l as $a}{/foreach}", {"l": [0] * 50_000}, time_left=clock)
        assert clock.questions == 10

    def test_time_without_a_loop(self) -> None:
        clock = StepClock(3.5)
        with pytest.raises(TemplateError, match="line 2: takes too long"):
            render("\n" + "{$a}" * 5000, time_left=clock)

    @pytest.mark.parametrize(
        "tag",
        [
            "{if $v == $w}{/if}",
            "{if $v|md5}{/if}",
            "{if $v|count_words}{/if}",
            "{if $v|upper}{/if}",
            "{if $o[500]}{/if}",
            "{$l|range:1}",
            "{if $v|cat:'x'}{/if}",
            "{if $d|jsonencode}{/if}",
            "{if $many|md5}{/if}",
        ],
    )
    def test_time_of_large_values(self, tag: str) -> None:
        data = {
            "v": "x" * 100_000,
            "w": "x" * 99_999 + "y",
            "o": {str(-number): 1 for number in range(1, 50_000)},
            "l": [0] * 100_000,
            "d": ["x" * 100_000],
            "many": [1] * 30_000,
        }
        assert render(tag * 5, data) is not None
        with pytest.raises(TemplateError, match="takes too long"):
            render(tag * 126, data, time_left=StepClock(1, step=0.4))

    def test_time_of_compiling(self) -> None:
        for text in ("{$a}" * 5000, "{(" * 5000, "{$x = " + "1+" * 5000 + "1}", "{$x = '" + "a" * 1_000_000 + "'}"):
            clock = StepClock(0.5)
            with pytest.raises(TemplateError, match="line 1: takes too long"):
                render("x" + text, time_left=clock)
            assert clock.questions <= 2

    def test_every_rendering_starts_anew(self) -> None:
        template = compile_template("{$n = $n + 1}{$n}")
        given = context({"n": 1})
        assert [template.render(given), template.render(given)] == ["2", "2"]
        assert given.variables["n"] == 1


class TestStack:
    """A caller that is deep in the stack itself sees no other error than anybody else."""

    BLOCKS = "\n" + "{if 1}" * 100 + "x" + "{/if}" * 100

    def test_parsing(self) -> None:
        text = "\n{$a + " + "(" * 100 + "1" + ")" * 100 + "}"
        with pytest.raises(TemplateError, match="line 2: nested too deeply"):
            with_frames_left(200, lambda: render(text))

    def test_compiling(self) -> None:
        with pytest.raises(TemplateError, match="line 1: nested too deeply"):
            with_frames_left(200, lambda: render(self.BLOCKS))

    def test_rendering(self) -> None:
        template = compile_template(self.BLOCKS)
        assert template.render(context()) == "\nx"
        with pytest.raises(TemplateError, match="line 2: nested too deeply"):
            with_frames_left(100, lambda: template.render(context()))


class TestErrorsInBlocks:
    @pytest.mark.parametrize(
        ("template", "line"),
        [
            ("a\n{$x}\n{1/0}", 3),
            ("{if 1}\n{if 1}\n\n{1/0}{/if}{/if}", 4),
            ("{if 1/0}\n{/if}", 1),
            ("{if 0}\n{elseif 1/0}{/if}", 1),
            ("{foreach $l as $a}\n{if $a == 2}\n{1/0}{/if}{/foreach}", 3),
            ("{foreach $l as $k => $a}\n\n{$x = 1/0}{/foreach}", 3),
            ("{foreach $none as $a}{foreachelse}\n{1/0}{/foreach}", 2),
            ("\n{foreach $l[1/0] as $a}{/foreach}", 2),
            ("\n\n{$x\n\n|cat:'x' =~ '('}", 3),
        ],
    )
    def test_line(self, template: str, line: int) -> None:
        with pytest.raises(TemplateError) as raised:
            render(template, {"l": [1, 2]})
        assert raised.value.line == line

    def test_text(self) -> None:
        error = TemplateError("unexpected end of tag", 1, "subject")
        assert str(error) == "subject: line 1: unexpected end of tag"
        assert str(TemplateError("unexpected end of tag", 1)) == "line 1: unexpected end of tag"


class TestCache:
    @staticmethod
    def get(cache: TemplateCache, text: str, *, is_html: bool = False, escape: str = "null") -> object:
        return cache.get(text, is_html=is_html, escape=escape, time_left=unlimited)

    def test_same_text_same_template(self) -> None:
        cache = TemplateCache()
        first = self.get(cache, "{$a}")
        assert self.get(cache, "{$a}") is first
        assert self.get(cache, "{$a}", is_html=True) is not first
        assert self.get(cache, "{$a}", escape="html") is not first
        assert len(cache) == 3

    def test_least_recently_used_goes(self) -> None:
        cache = TemplateCache(max_templates=2)
        first = self.get(cache, "a")
        second = self.get(cache, "b")
        assert self.get(cache, "a") is first
        self.get(cache, "c")
        assert self.get(cache, "a") is first
        assert self.get(cache, "b") is not second

    def test_bounded_by_size(self) -> None:
        cache = TemplateCache(max_octets=400_000)
        for number in range(4):
            self.get(cache, str(number) * 40_000)
        assert len(cache) == 4
        self.get(cache, "x" * 40_000)
        assert len(cache) == 4
        self.get(cache, "x" * 60_000)
        assert len(cache) == 4
        large = self.get(cache, "{$x}" * 130)
        assert self.get(cache, "{$x}" * 130) is not large
        small = self.get(cache, "{$x}" * 100)
        assert self.get(cache, "{$x}" * 100) is small
        assert len(cache) == 4

    def test_failures_are_remembered(self) -> None:
        cache = TemplateCache()
        errors = []
        for _ in range(2):
            with pytest.raises(TemplateError, match="line 1: unexpected end of tag") as raised:
                self.get(cache, "{if }")
            errors.append(raised.value)
        assert len(cache) == 1
        assert errors[0] is not errors[1]
        assert [found.__traceback__ for found, _ in cache._by_source.values() if isinstance(found, Exception)] == [None]

    def test_want_of_time_is_not_remembered(self) -> None:
        cache = TemplateCache()
        text = "{$a}" * 5000
        with pytest.raises(TemplateError, match="takes too long"):
            cache.get(text, is_html=False, escape="null", time_left=StepClock(0.5))
        assert len(cache) == 0
        assert self.get(cache, text) is not None

    def test_shared_by_all_callers(self) -> None:
        given = template_context({"text": "t", "l": [0] * 300}, envelope="", recipient="r", now=NOW)
        assert compile_template("{foreach $l as $i}{/foreach}shared {$text}{$envelope}").render(given) == "shared t"
        assert compile_template("shared {$text}") is compile_template("shared {$text}")
