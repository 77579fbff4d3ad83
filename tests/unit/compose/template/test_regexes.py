"""Regular expressions within limits (spec templates.md 4, 5 and 10)."""

from __future__ import annotations

import time

import pytest
import regex

from relayq.compose.template import TemplateError, regexes
from relayq.compose.template.limits import MAX_PATTERN_CHARACTERS
from relayq.compose.template.regexes import MAX_SUBJECT_CHARACTERS
from tests.unit.compose.template.rendering import StepClock, render


def found(text: object, pattern: str) -> bool:
    return render("{if $t =~ $p}y{else}n{/if}", {"t": text, "p": pattern}) == "y"


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("Hello", "ell", True),
        ("Hello", "^ell", False),
        ("Hello", "hello", False),
        ("Hello", "(?i)hello", True),
        ("a1", r"\d", True),
        ("foobar", "foo(?=bar)", True),
        ("abab", r"(ab)\1", True),
        ("a\nb", "^b", False),
        ("a\nb", "(?m)^b", True),
        (None, "^$", True),
        (12.5, r"^12\.5$", True),
        (["x"], "x", False),
        ("a" * 5, "(?x) a {2} # two", None),
        ("2026-11-21", r"^\d{4}-\d{2}-\d{2}$", True),
        ("ann@shop.example.test", r"^[a-z]{1,64}@([a-z]{1,63}\.){1,8}[a-z]{2,63}$", True),
        ("a" * 1000, "^(?:a{10}){100}$", True),
        ("a", "(?x) a # verbose", True),
    ],
)
def test_matching(text: object, pattern: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError, match="repeats too much"):
            found(text, pattern)
    else:
        assert found(text, pattern) is expected


@pytest.mark.parametrize("pattern", ["(", "a{2}{3}", "[", r"\L<names>", "(" * 500 + ")" * 500, r"\9", "(?L)(?u)"])
def test_invalid_patterns(pattern: str) -> None:
    for _ in range(2):  # the second time from the cache
        with pytest.raises(TemplateError, match="line 1: invalid regular expression"):
            found("a", pattern)
    assert render("{$t|regex_replace:$p:'x'}", {"t": "a", "p": pattern}) == "a"


@pytest.mark.parametrize("template", ["{if 'a' =~ $p}x{/if}", "{'a'|regex_replace:$p:'x'}"])
def test_length_of_a_pattern(template: str) -> None:
    assert render(template, {"p": "b" * MAX_PATTERN_CHARACTERS}) in {"", "a"}
    with pytest.raises(TemplateError, match="regular expression longer than 1000 characters"):
        render(template, {"p": "b" * (MAX_PATTERN_CHARACTERS + 1)})


@pytest.mark.parametrize(
    "pattern",
    [
        "((a{1000}){1000}){1000}",
        "(?:(?:a{1000}){1000}){1000}",
        "a{99999999}",
        "a{" + "9" * 900 + "}",
        "(?x)(a{1 000}){1 000}a{1}",
        "([)]a{1000}[(]){1000}",
        "(?:(?:a?){999}){999}b",
    ],
)
def test_patterns_that_would_take_all_memory(pattern: str) -> None:
    with pytest.raises(TemplateError, match="regular expression repeats too much"):
        found("a", pattern)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("a" * 100, "(a|aa)+$|b"), ("a" * MAX_SUBJECT_CHARACTERS, r"\w*\d"), ("x" * 100_000, "(?:foobar){e<=5}")],
)
@pytest.mark.parametrize("template", ["{if $t =~ $p}{/if}", "{$t|regex_replace:$p:''}"])
def test_time_of_one_evaluation(text: str, pattern: str, template: str) -> None:
    if pattern.startswith("(a"):
        text += "c"
    began = time.process_time()
    with pytest.raises(TemplateError, match="line 1: regular expression takes too long"):
        render(template, {"t": text, "p": pattern})
    assert time.process_time() - began < 30  # 0.1 s on a machine with nothing else to do


def test_no_more_time_than_the_message_has() -> None:
    with pytest.raises(TemplateError, match="takes too long"):
        render("{if 'a' =~ 'a'}{/if}", time_left=StepClock(1))


def test_length_of_the_text() -> None:
    assert not found("a" * MAX_SUBJECT_CHARACTERS, "b")
    with pytest.raises(TemplateError, match="value too long for a regular expression"):
        found("a" * (MAX_SUBJECT_CHARACTERS + 1), "b")


def test_lack_of_memory_is_an_error_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hungry:
        groups = 0

        def search(self, text: str, timeout: float) -> None:
            raise MemoryError

    monkeypatch.setattr(regexes._Patterns, "get", lambda self, pattern: Hungry())
    with pytest.raises(TemplateError, match="regular expression needs too much memory"):
        found("a", "a")


def test_patterns_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = regexes._Patterns()
    compiled: list[str] = []
    compile_one = regex.compile

    def compile_and_note(text: str, *, cache_pattern: bool) -> regex.Pattern[str]:
        compiled.append(text)
        return compile_one(text, cache_pattern=cache_pattern)

    monkeypatch.setattr(regex, "compile", compile_and_note)
    first = patterns.get("first")
    for number in range(127):
        patterns.get(str(number))
    assert patterns.get("first") is first
    patterns.get("one more")
    patterns.get("0")
    assert compiled.count("0") == 2
    assert compiled.count("first") == 1


def test_large_patterns_are_not_kept() -> None:
    patterns = regexes._Patterns()
    assert patterns.get("a{9000}") is not patterns.get("a{9000}")


def test_the_library_forgets_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    purges: list[int] = []
    monkeypatch.setattr(regex, "purge", lambda: purges.append(1))
    patterns = regexes._Patterns()
    for number in range(600):
        patterns.get(f"x{number}")
    assert len(purges) == 2
