"""Printing, converting, looking up and calculating (spec templates.md 3 and 4)."""

from __future__ import annotations

import math

import pytest

from relayq.compose.template import TemplateError
from relayq.compose.template.values import (
    OPERATIONS,
    calculate,
    indexed,
    is_empty,
    number_of,
    spellings,
    text_of,
    truth_of,
    whole_number_of,
)
from tests.unit.compose.template.rendering import render

BIG = 1 << 63


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("itself", "itself"),
        ("", ""),
        (0, "0"),
        (-12, "-12"),
        (12345678901234567890, "12345678901234567890"),
        pytest.param(1 << 20_000, "", id="an integer nobody prints"),
        pytest.param(-(1 << 20_000), "", id="a negative one"),
        (12.3456789, "12.34568"),
        (1.5e17, "150000000000000000"),
        (1.0, "1"),
        (100.0, "100"),
        (0.1, "0.1"),
        (1.10, "1.1"),
        (-0.0, "0"),
        (-0.000001, "0"),
        (-1.5, "-1.5"),
        (1e300, f"{1e300:.0f}"),
        (math.inf, ""),
        (math.nan, ""),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ([1, 2], ""),
        ({"a": 1}, ""),
    ],
)
def test_printed_form(value: object, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12 apples", 12),
        ("2.5x", 2.5),
        ("abc", 0),
        ("", 0),
        (" \t\n12", 12),
        ("-7", -7),
        ("+7", 7),
        ("- 7", 0),
        (".5", 0.5),
        ("5.", 5),
        ("1e3", 1000.0),
        ("1e", 1),
        ("1.5e2x", 150.0),
        ("0x10", 0),
        ("١٢", 0),
        ("9223372036854775807", BIG - 1),
        ("9223372036854775808", float(BIG)),
        ("-9223372036854775808", -BIG),
        ("9" * 400, math.inf),
        ("-1e999", -math.inf),
        ("9" * 20_000, math.inf),
        (7, 7),
        (BIG, float(BIG)),
        (-BIG - 1, -float(BIG)),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (2.5, 2.5),
        (True, 1),
        (False, 0),
        (None, 0),
        ([5], 0),
        ({"a": 5}, 0),
    ],
)
def test_as_number(value: object, number: float) -> None:
    result = number_of(value)
    assert result == number
    assert type(result) is type(number)


@pytest.mark.parametrize(
    ("value", "whole"),
    [("2.9", 2), (-2.9, -2), (1e300, BIG - 1), (-math.inf, -BIG), ("x", 0), (True, 1)],
)
def test_as_whole_number(value: object, whole: int) -> None:
    assert whole_number_of(value) == whole


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        ("", False),
        ("0", False),
        ("false", True),
        ("0.0", True),
        (" ", True),
        (0, False),
        (-1, True),
        (0.0, False),
        (-0.0, False),
        (0.1, True),
        (True, True),
        (False, False),
        (None, False),
        ([], False),
        ([0], True),
        ({}, False),
        ({"": None}, True),
    ],
)
def test_as_condition(value: object, truth: bool) -> None:
    assert truth_of(value) is truth


@pytest.mark.parametrize(
    ("value", "empty"), [("", True), ("0", False), (None, True), (0, False), ([], True), ([0], False)]
)
def test_is_empty(value: object, empty: bool) -> None:
    assert is_empty(value) is empty


def test_spellings() -> None:
    assert spellings("a") == ("a",)
    assert spellings("a-b") == ("a-b", "a_b")
    assert spellings("a_b") == ("a_b", "a-b")
    assert spellings("a_b-c") == ("a_b-c", "a-b-c", "a_b_c")


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{$a_b}", "exact"),
        ("{$c_d}{$c-d}", "dashed dashed "),
        ("{$e_f}{$e-f}", "scored scored "),
        ("{$g_h-i}", "mixed"),
        ("{$o.c_d}{$o.c-d}{$o['c_d']}{$o.e-f}{$o['e-f']}", "mmmnn"),
        ("{$null-value}{$null_value|default:'d'}", "d"),
        ("{$l[0]}{$l[1]}{$l['1']}{$l[1.9]}{$l[true]}{$l[false]}", "abbbba"),
        ("[{$l[3]}{$l[-1]}{$l['x']}{$l['1x']}{$l['']}{$l[9223372036854775807]}{$l[1.5e300]}{$l[-0.5]}]", "[]"),
        ("[{$l[$none]}{$l[$l]}{$l[$o]}]", "[]"),
        ("{$n['7']}{$n[7]}{$n[0]}{$n[1]}{$n[true]}", "ssst t ".replace(" ", "")),
        ("[{$n[2]}{$n[-1]}{$n['0']}{$n[1.5e300]}]", "[]"),
        ("{$n[1.0]}{$n[1.5]}", "tt"),
        ("[{$s[0]}{$s.a}{$five[0]}{$none.a.b[1]['c']}]", "[]"),
        ("{$o['odd key']}", "odd"),
        ("{$l.a}{$l['a']}", ""),
    ],
)
def test_look_up(template: str, output: str) -> None:
    data = {
        "a_b": "exact",
        "a-b": "other",
        "c-d": "dashed ",
        "e_f": "scored ",
        "g-h-i": "mixed",
        "o": {"c-d": "m", "e_f": "n", "odd key": "odd"},
        "null-value": None,
        "null_value": None,
        "l": ["a", "b", "c"],
        "n": {"7": "s", "x": "t"},
        "s": "string",
        "five": 5,
    }
    assert render(template, data) == output


def test_a_null_of_the_exact_name_counts_as_there() -> None:
    assert render("{$a_b|default:'x'}", {"a_b": None, "a-b": "y"}) == "x"


def test_indexing_does_not_take_strings_apart() -> None:
    assert indexed("abc", 1) is None


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        (7, "/", 2, 3),
        (-7, "/", 2, -3),
        (7, "/", -2, -3),
        (-7, "/", -2, 3),
        (0, "/", -5, 0),
        (7.0, "/", 2, 3.5),
        (7, "%", 3, 1),
        (-7, "%", 3, -1),
        (7, "%", -3, 1),
        (-7, "%", -3, -1),
        (7.9, "%", 3.9, 1),
        (1, "+", 2.5, 3.5),
        (1, "-", 2, -1),
        (3, "*", 4, 12),
        (BIG - 1, "+", 1, float(BIG)),
        (-BIG, "-", 1, -float(BIG)),
        (BIG - 1, "*", BIG - 1, float((BIG - 1) ** 2)),
        (-BIG, "/", -1, float(BIG)),
        (1e300, "%", 7, float(int(1e300) % 7)),
    ],
)
def test_arithmetic(left: float, operator: str, right: float, result: float) -> None:
    computed = calculate(OPERATIONS[operator], left, right)
    assert computed == result
    if operator != "%":
        assert type(computed) is type(result)


@pytest.mark.parametrize(
    ("expression", "cause"),
    [
        ("1/0", "division by zero"),
        ("1.5/0.0", "division by zero"),
        ("1%0", "division by zero"),
        ("5 % 0.5", "division by zero"),
        ("1/'x'", "division by zero"),
        ("1.0e300 * 1.0e300", "result is not a finite number"),
        ("'1e999' + 1", "result is not a finite number"),
        ("'1e999' - '1e999'", "result is not a finite number"),
        ("'1e999' % 3", "result is not a finite number"),
        ("3 % '1e999'", "result is not a finite number"),
        ("-'1e999' + 0", "result is not a finite number"),
        ("1.0e308 / 0.00001", "result is not a finite number"),
    ],
)
def test_impossible_arithmetic(expression: str, cause: str) -> None:
    with pytest.raises(TemplateError) as raised:
        render(f"\n{{$x = {expression}}}")
    assert (raised.value.cause, raised.value.line) == (cause, 2)


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{$x = 9223372036854775807 + 1}{$x}", "9223372036854775808"),
        ("{$x = 9223372036854775807}{$x}", "9223372036854775807"),
        ("{$x = -9223372036854775807 - 1}{$x}", "-9223372036854775808"),
        ("{$x = -(-9223372036854775807 - 1)}{$x}", "9223372036854775808"),
        ("{-(0.0)}{-$none}", "00"),
        ("{$x = $t + $f}{$x}", "1"),
        ("{$x = '1e1' + 0}{$x}", "10"),
        ("{if $x < 'b'}y{else}n{/if}", "n"),
        ("{if '2026-02' > '2026-01'}y{else}n{/if}", "n"),
        ("{if '1e999' > 5}y{/if}", "y"),
        ("{if 9007199254740993 == 9007199254740992.0}y{else}n{/if}", "n"),
    ],
)
def test_numbers_in_templates(template: str, output: str) -> None:
    assert render(template, {"t": True, "f": False}) == output


def test_what_decides_an_and_or_is_all_that_is_evaluated() -> None:
    assert render("{if 1 or 1/0}a{/if}{if 0 and 1/0}b{/if}{if 0 or 1 or 1/0}c{/if}{if 1 and 0 and 1/0}d{/if}") == "ac"
