"""Defaults, arrays and edges of every modifier (spec templates.md 5)."""

from __future__ import annotations

import hashlib

import pytest

from relayq.compose.template import TemplateError
from relayq.compose.template.limits import MAX_OCTETS
from relayq.compose.template.modifiers import MODIFIERS
from tests.unit.compose.template.rendering import render

ARRAY = ["x", 1, [True, {"k": "y"}], None]
OBJECT = {"a": "x", "b": {"c": 2.5}}
LEAVES = "x1truey"


def apply(value: object, chain: str, **data: object) -> str:
    return render(f"{{$v|{chain}}}", {"v": value, **data})


def same(value: object, chain: str) -> bool:
    """The value is the same array or object behind the modifier."""
    return render(f"{{$v|{chain}|jsonencode}}", {"v": value}) == render("{$v|jsonencode}", {"v": value})


UNCHANGED = [
    "base64_decode",
    "base64_encode",
    "capitalize",
    "date_format",
    "escape",
    "indent",
    "jsondecode",
    "nl2br",
    "raw",
    "regex_replace:'x':'y'",
    "replace:'x':'y'",
    "spacify",
    "strstr:'x'",
    "substr:1",
    "tolower",
    "lower",
    "toupper",
    "upper",
    "trim",
    "truncate:1",
    "ucfirst",
    "urldecode",
    "urlencode",
    "default:'x'",
    "nobody_knows",
    "nobody_knows:1:'x':$y",
]


@pytest.mark.parametrize("chain", UNCHANGED)
@pytest.mark.parametrize("value", [ARRAY, OBJECT], ids=["array", "object"])
def test_arrays_that_stay(chain: str, value: object) -> None:
    assert same(value, chain)


@pytest.mark.parametrize(
    ("chain", "array", "obj"),
    [
        ("cat:'a':'b'", "ab", "ab"),
        ("count", "4", "2"),
        ("count_characters", "0", "0"),
        ("count_paragraphs", "0", "0"),
        ("count_words", "0", "0"),
        ("empty", "false", "false"),
        ("jsonencode", '["x",1,[true,{"k":"y"}],null]', '{"a":"x","b":{"c":2.5}}'),
        *((name, hashlib.new(name, LEAVES.encode()).hexdigest(), None) for name in ("md5", "sha1", "sha256", "sha512")),
        ("md5", None, hashlib.md5(b"x2.5").hexdigest()),
        ("number_format:2", "0.00", "0.00"),
        ("range:1|jsonencode", '["x"]', '{"a":"x"}'),
        ("range:1:9|jsonencode", '[1,[true,{"k":"y"}],null]', '{"b":{"c":2.5}}'),
        ("strlen", "0", "0"),
        ("strpos:'x'", "-1", "-1"),
    ],
)
def test_arrays_that_change(chain: str, array: str | None, obj: str | None) -> None:
    if array is not None:
        assert apply(ARRAY, chain) == array
    if obj is not None:
        assert apply(OBJECT, chain) == obj


def test_every_modifier_has_its_array_tested() -> None:
    tested = {chain.partition(":")[0] for chain in UNCHANGED} | {"cat", "count", "count_characters", "count_paragraphs"}
    tested |= {"count_words", "empty", "jsonencode", "md5", "sha1", "sha256", "sha512", "number_format", "range"}
    assert set(MODIFIERS) <= tested | {"strlen", "strpos"}


@pytest.mark.parametrize("chain", ["cat", "default", "number_format", "range", "strpos", "strstr", "substr"])
@pytest.mark.parametrize("value", ["some Text", 1.25, ARRAY], ids=str)
def test_too_few_arguments(chain: str, value: object) -> None:
    assert same(value, chain)
    assert same(value, chain) == same(value, "nobody_knows")


@pytest.mark.parametrize("chain", ["replace:'x'", "replace", "regex_replace:'x'", "regex_replace"])
def test_too_few_of_two_arguments(chain: str) -> None:
    assert apply("xx", chain) == "xx"


@pytest.mark.parametrize(
    ("value", "chain", "output"),
    [
        # base64
        ("aGVsbG8gd29ybGQ=", "base64_decode", "hello world"),
        (" aGVs\r\nbG8 gd29ybGQ=\t", "base64_decode", "hello world"),
        ("aGVsbG8", "base64_decode", "aGVsbG8"),
        ("a*b=", "base64_decode", "a*b="),
        ("=", "base64_decode", "="),
        ("é", "base64_decode", "é"),
        ("/w==", "base64_decode", "\ufffd"),
        ("", "base64_decode", ""),
        ("x" * 100, "base64_encode", "eHh4" * 33 + "eA=="),
        ("é", "base64_encode", "w6k="),
        ("\udce9", "base64_encode", "7bOp"),
        (12, "base64_encode", "MTI="),
        # case
        ("jan-piet o'neil\téva", "capitalize", "Jan-piet O'neil\tÉva"),
        ("  two  spaces ", "capitalize", "  Two  Spaces "),
        ("2go a2", "capitalize:false", "2go a2"),
        ("2go a2", "capitalize:1", "2go A2"),
        ("", "capitalize", ""),
        ("ßa", "toupper", "SSA"),
        ("İ", "tolower", "i̇"),
        ("élan vital", "ucfirst", "Élan vital"),
        ("", "ucfirst", ""),
        # counting
        ("a\u00a0b\u3000c\n", "count_characters", "3"),
        ("a b", "count_characters:'yes'", "3"),
        ("a b", "count_characters:0", "2"),
        ("a\r\nb\n\nc", "count_paragraphs", "3"),
        ("", "count_paragraphs", "0"),
        ("", "count_words", "0"),
        ("... --- é _ 5", "count_words", "2"),
        ("a-b,c d", "count_words", "2"),
        (12345, "strlen", "5"),
        (None, "strlen", "0"),
        ("", "strpos:''", "0"),
        ("a1", "strpos:1", "1"),
        # default, empty
        ("", "default:$d", "D"),
        (None, "default:5", "5"),
        (False, "default:'x'", "false"),
        ([], "default:'x'", "x"),
        ({}, "default:'x'", "x"),
        (None, "empty", "true"),
        (False, "empty", "false"),
        (0, "empty", "false"),
        ({}, "empty", "true"),
        # escape
        ("<a href='x'>&\"", "escape:'html'", "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"),
        ("a b&", "escape:'url'", "a+b%26"),
        ("Hi", "escape:'base64'", "SGk="),
        ('"\n', "escape:'json'", r"\"\n"),
        ("<", "escape:'HTML'", "<"),
        ("<", "escape:'raw'", "<"),
        ("<", "escape:'nobody'", "<"),
        # indent
        ("a\nb\n", "indent:1:'>'", ">a\n>b\n>"),
        ("a", "indent:-3", "a"),
        ("a", "indent:0", "a"),
        ("a", "indent:2:''", "a"),
        ("", "indent:2", "  "),
        ("a", "indent:'2 tabs':'\t'", "\t\ta"),
        # JSON
        (r"a\"\\\/\b\f\n\r\t", "jsondecode", 'a"\\/\b\f\n\r\t'),
        (r"\u00e9\uD83D\uDE00", "jsondecode", "é😀"),
        (r"\ud83dx\ude00\ud83d\u0041\u0041\udc00", "jsondecode", "\ufffdx\ufffd\ufffdAA\ufffd"),
        (r"a\nb\xc\nd", "jsondecode", "a\nb"),
        (r"a\u12", "jsondecode", "a"),
        ("a\\", "jsondecode", "a"),
        ("plain", "jsondecode", "plain"),
        ('"\\/\b\f\n\r\té\x01\x7f', "jsonencode", '\\"\\\\/\\b\\f\\n\\r\\té\\u0001\x7f'),
        (1.5, "jsonencode", "1.5"),
        ([], "jsonencode", "[]"),
        # hashes
        ("é", "md5", hashlib.md5("é".encode()).hexdigest()),
        ("ab", "sha1", hashlib.sha1(b"ab").hexdigest()),
        ("ab", "sha256", hashlib.sha256(b"ab").hexdigest()),
        ("ab", "sha512", hashlib.sha512(b"ab").hexdigest()),
        (12, "md5", hashlib.md5(b"12").hexdigest()),
        ([], "md5", hashlib.md5(b"").hexdigest()),
        ("\udce9", "md5", hashlib.md5(b"\xed\xb3\xa9").hexdigest()),
        # lines
        ("a\r\nb\nc\r", "nl2br", "a<br />b<br />c\r"),
        # numbers
        (1234.5, "number_format:2", "1234.50"),
        (1234567, "number_format:0:'.':','", "1,234,567"),
        (1234567.5, "number_format:1:'::':'. '", "1.234.567:5"),
        (0.125, "number_format:2", "0.13"),
        (1.005, "number_format:2", "1.01"),
        (2.5, "number_format:0", "3"),
        (-2.5, "number_format:0", "-3"),
        (-0.001, "number_format:2", "0.00"),
        ("12.5 kg", "number_format:2", "12.50"),
        ("abc", "number_format:1", "0.0"),
        (None, "number_format:2", "0.00"),
        (5, "number_format:-2", "5"),
        (5, "number_format:50", "5." + "0" * 20),
        (1.5, "number_format:1:''", "15"),
        (True, "number_format:0", "1"),
        (1e-7, "number_format:20", "0.00000010000000000000"),
        (0, "number_format:20", "0." + "0" * 20),
        (1.5, "number_format:2:','", "1,50"),
        (999.995, "number_format:2:'.':','", "1,000.00"),
        (1e300, "number_format:1", "1" + "0" * 300 + ".0"),
        ((1 << 63) - 1, "number_format:20", "9223372036854775807." + "0" * 20),
        # range
        ([1, 2, 3], "range:-5|jsonencode", "[]"),
        ([1, 2, 3], "range:-5:2|jsonencode", "[1,2]"),
        ([1, 2, 3], "range:2:1|jsonencode", "[]"),
        ([1, 2, 3], "range:1:99999999999999999999|jsonencode", "[2,3]"),
        ({"a": 1, "b": 2}, "range:5:1|jsonencode", "{}"),
        ("abc", "range:1", "abc"),
        # regular expressions
        ("Quick brown fox", "regex_replace:'a|e|i|o|u':'[$&]'", "Q[u][i]ck br[o]wn f[o]x"),
        ("ann@x", r"regex_replace:'(\w+)@(\w+)(z)?':'\2 at $1$3$9$0\0'", r"x at ann$0\0"),
        ("abc", "regex_replace:'':'-'", "-a-b-c-"),
        ("abc", "regex_replace:'(':'-'", "abc"),
        ("aBc", "regex_replace:'(?i)b':'-'", "a-c"),
        ("aBc", "regex_replace:'b':'-'", "aBc"),
        ("foobar", "regex_replace:'foo(?=bar)':''", "bar"),
        # replace
        ("aaa", "replace:'aa':'b'", "ba"),
        ("abc", "replace:'':'x'", "abc"),
        (101, "replace:1:2", "202"),
        # spacify
        ("abc", "spacify", "a b c"),
        ("", "spacify", ""),
        ("a", "spacify", "a"),
        # parts
        ("abc", "strstr:'x'|default:'null'", "null"),
        ("a@b@c", "strstr:'@'", "@b@c"),
        ("a@b@c", "strstr:'@':true", "a"),
        ("hello", "substr:1", "ello"),
        ("hello", "substr:5", ""),
        ("hello", "substr:6", "hello"),
        ("hello", "substr:-1", "hello"),
        ("hello", "substr:1:-1", "ello"),
        ("hello", "substr:1:0", ""),
        ("hello", "substr:1:99999999999999999999", "ello"),
        ("héllo", "substr:1:1", "é"),
        (" \t\n\r\0\vx\f \v", "trim", "x\f"),
        ("xxaxx", "trim:'x'", "a"),
        ("xyaxy", "trim:'yx'", "a"),
        (" a ", "trim:''", " a "),
        # truncate
        ("x" * 100, "truncate", "x" * 77 + "..."),
        ("abcdef", "truncate:-1", ""),
        ("abcdef", "truncate:6", "abcdef"),
        ("abcdef", "truncate:2", "..."),
        ("abcdef ghi", "truncate:5:''", "abcde"),
        ("ab cdef", "truncate:3:''", "ab"),
        ("ab  cdef", "truncate:4:''", "ab"),
        (" abcdef", "truncate:4:''", ""),
        ("ab cd ef", "truncate:5:'':false", "ab cd"),
        ("ab cd ef", "truncate:5:'':'yes'", "ab cd"),
        ("ab cd ef", "truncate:4:'':1", "ab c"),
        # URLs
        ("a%zz%4%C3%A9+%ff", "urldecode", "a%zz%4é \ufffd"),
        ("é%20ü", "urldecode", "é ü"),
        ("A-z_0.9~/?&=é \n", "urlencode", "A-z_0.9%7E%2F%3F%26%3D%C3%A9+%0A"),
    ],
)
def test_edges(value: object, chain: str, output: str) -> None:
    assert apply(value, chain, d="D") == output


def test_arguments_may_be_variables() -> None:
    assert apply("hello", "substr:$from:2|cat:$tail:$none", **{"from": 1, "tail": "!"}) == "el!"


def test_an_infinite_number_has_no_format() -> None:
    with pytest.raises(TemplateError, match="line 1: result is not a finite number"):
        apply("1e999", "number_format:2")


def test_counts_are_clamped_to_what_fits() -> None:
    for unit in ("x", "é", "\t\t"):
        output = apply("a\nb", f"indent:99999999999:'{unit}'")
        assert MAX_OCTETS - 8 < len(output.encode()) <= MAX_OCTETS


LARGE = "x" * (MAX_OCTETS // 2 + 1)


@pytest.mark.parametrize(
    "chain",
    [
        "cat:$v",
        "replace:'x':'yyy'",
        "regex_replace:'x':'yyy'",
        "spacify",
        "spacify:$v",
        "base64_encode|base64_encode|base64_encode",
        "indent:0|cat:'x'|cat:$v",
        "toupper|cat:$v",
    ],
)
def test_values_have_a_limit(chain: str) -> None:
    with pytest.raises(TemplateError) as raised:
        apply(LARGE, chain)
    assert raised.value.line == 1
    assert "larger than" in raised.value.cause or "too long for a regular expression" in raised.value.cause


@pytest.mark.parametrize(
    ("value", "chain"),
    [
        ("\n" * (MAX_OCTETS // 5), "nl2br"),
        ("<" * (MAX_OCTETS // 3), "escape"),
        ("é" * (MAX_OCTETS // 5), "urlencode"),
        ("é" * (MAX_OCTETS // 2 + 1), "strlen"),
        ("x" * (MAX_OCTETS + 1), "strlen"),
        ("x" * (MAX_OCTETS + 1), "jsonencode"),
        (["x" * (MAX_OCTETS // 2)] * 3, "jsonencode"),
        (["x" * (MAX_OCTETS + 1)], "md5"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "value",
)
def test_growing_and_large_values(value: object, chain: str) -> None:
    with pytest.raises(TemplateError, match=f"value larger than {MAX_OCTETS} octets"):
        apply(value, chain)


def test_a_replacement_grows_within_limits() -> None:
    with pytest.raises(TemplateError, match="value larger than"):
        apply("x" * 1000, "regex_replace:'x':$r", r="y" * 20_000)


def test_long_texts_are_worked_on_in_pieces() -> None:
    text = "word w0rd " * 30_000
    assert apply(text, "capitalize") == "Word w0rd " * 30_000
    assert apply(text, "count_words") == "60000"
    assert apply("x" * 200_000, "capitalize|strlen") == "200000"
