"""Whole messages from orders, with all the effort there is or with little (spec html-css-dkim.md 1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from relayq.compose.headers import parse_header_edits
from relayq.compose.making import Answer, Conversion, Effort, Failed, Made, Maker, MakingRules, Order, Wanted
from relayq.compose.responsive import Download, DownloadFailure, DownloadKind, Resource
from relayq.model import parse_address

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
STYLED = b"Content-Type: text/html\r\n\r\n<style>p{color:red}</style><p>Hi {$n}</p>\r\n"
LOOP = b"Subject: x\r\n\r\n{foreach $a in $list}{foreach $b in $list}{$a}{/foreach}{/foreach}\r\n"
LIST = list(range(300))


def order(mime: bytes = STYLED, **facts: Any) -> Order:
    for name in ("mime_object", "data"):
        if name in facts:
            facts[name] = msgspec.json.encode(facts[name])
    return Order(recipient="ann@x.test", sender=parse_address("shop@x.test"), now=NOW, seen_at=NOW, mime=mime, **facts)


class Ticking:
    """A clock that advances whenever somebody looks at it."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def maker(step: float = 0.0, **rules: Any) -> Maker:
    return Maker(MakingRules(**rules), Ticking(step), lambda: "=_b")


def made(outcome: object) -> Made:
    assert isinstance(outcome, Made), outcome
    return outcome


EIGHT_BIT = b"Subject: x\r\nContent-Type: text/plain\r\n\r\n\xff" + b"y" * 1200 + b"\r\n"
SEALED = b"Content-Type: application/pkcs7-mime\r\n\r\n\xff" + b"y" * 1200 + b"\r\n"


@pytest.mark.parametrize(
    ("octets", "facts", "is_ascii", "is_short"),
    [
        (EIGHT_BIT, {}, False, False),
        (EIGHT_BIT, {"to_seven_bit": True}, True, True),
        (EIGHT_BIT, {"to_seven_bit": True, "long_lines": "fail"}, True, True),
        (EIGHT_BIT, {"long_lines": "wrap"}, True, True),
        (EIGHT_BIT, {"long_lines": "fail", "force": True}, False, False),
        (SEALED, {"to_seven_bit": True, "long_lines": "wrap", "force": True}, False, False),
    ],
)
def test_content_is_converted_as_far_as_it_can_be(
    octets: bytes, facts: dict[str, Any], *, is_ascii: bool, is_short: bool
) -> None:
    converted = made(maker().make(Conversion(octets=octets, **facts))).octets
    assert (converted.isascii(), max(map(len, converted.split(b"\r\n"))) <= 998) == (is_ascii, is_short)


@pytest.mark.parametrize(
    ("octets", "facts", "reason"),
    [
        (
            SEALED,
            {"to_seven_bit": True},
            "the server takes no 8-bit content: 8-bit content in a signed or encrypted part",
        ),
        (EIGHT_BIT, {"long_lines": "fail"}, "mime: a line has more than 998 octets"),
    ],
)
def test_content_that_cannot_be_converted(octets: bytes, facts: dict[str, Any], reason: str) -> None:
    assert maker().make(Conversion(octets=octets, **facts)) == Failed(reason)


def test_the_header_is_edited_last() -> None:
    edits = parse_header_edits({"replace": {"Content-Type": "text/plain"}})
    outcome = made(maker().make(order(data={"n": "Ann"}, inline_css=True, edits=edits)))
    assert outcome.octets == b'Content-Type: text/plain\r\n\r\n<p style="color:red">Hi Ann</p>\r\n'


def test_nothing_asked_for_changes_nothing() -> None:
    assert maker().make(order()) == Made(STYLED)


def test_personalised_then_inlined() -> None:
    outcome = made(maker().make(order(data={"n": "<p>Ann</p>"}, inline_css=True)))
    assert outcome.octets.endswith(b'<p style="color:red">Hi <p style="color:red">Ann</p></p>\r\n')


def test_an_object_is_composed_then_inlined() -> None:
    html = "<style>p{color:red}</style><p>Hi {$n}</p>"
    described = {"html": html, "subject": "x", "dkim": {"domain": "x.test", "selector": "s", "key": "k"}}
    outcome = made(maker().make(order(b"", mime_object=described, data={"n": "Ann"}, inline_css=True)))
    assert b'<p style=3D"color:red">Hi Ann</p>' in outcome.octets
    assert [key.name for key in outcome.keys] == ["s._domainkey.x.test"]


FILE = Download(DownloadKind.ATTACHMENT, "https://x.test/a.txt")


def test_what_has_to_be_downloaded_is_asked_for() -> None:
    described = {"text": "x", "attachments": [{"url": FILE.url}]}
    assert maker().make(order(b"", mime_object=described)) == Wanted((FILE,))

    found = Answer(FILE, found=Resource(b"Hallo", "text/plain"))
    assert b"SGFsbG8=" in made(maker().make(order(b"", mime_object=described, answers=(found,)))).octets


@pytest.mark.parametrize("is_temporary", [False, True])
def test_a_failed_download_fails_the_message_unless_forced(*, is_temporary: bool) -> None:
    answer = Answer(FILE, failure=DownloadFailure("HTTP 404", is_temporary=is_temporary))
    given: dict[str, Any] = {
        "mime_object": {"text": "x", "attachments": [{"url": FILE.url}]},
        "answers": (answer,),
    }
    assert maker().make(order(b"", **given)) == Failed("mime.attachments[0]: HTTP 404", is_temporary)
    assert made(maker().make(order(b"", force=True, **given))).notes == ("mime.attachments[0]: HTTP 404",)


@pytest.mark.parametrize(
    ("mime", "reason"),
    [
        (b"Subject: {if $n}\r\n\r\nx\r\n", "subject: line 1: unclosed if"),
        (LOOP, "part 1 text/plain: line 1: "),
    ],
)
def test_failures_name_the_place_and_notes_do_so_with_force(mime: bytes, reason: str) -> None:
    one = order(mime, data={"list": [0] * 400})
    outcome = maker().make(one)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith(reason)
    forced = made(maker().make(msgspec.structs.replace(one, force=True)))
    assert forced.octets == mime
    assert [note.removeprefix("sent unpersonalised: ") for note in forced.notes] == [outcome.reason]


def test_data_that_is_no_json_value_fails_the_message() -> None:
    outcome = maker().make(msgspec.structs.replace(order(), data=b'{"a": '))
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("data: ")


# Little effort.


@pytest.mark.parametrize("force", [False, True])
def test_templates_that_need_longer_are_left_to_others(*, force: bool) -> None:
    one = order(LOOP, data={"list": LIST}, force=force)
    little = Effort(template_seconds=0.5)
    assert maker(step=0.3).try_make(one, little) is None
    assert made(maker(step=0.0).try_make(one, little)).octets != LOOP


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("effort", [Effort(inlining_seconds=0.5), Effort(css_steps=1), Effort(css_characters=5)])
def test_style_sheets_that_need_longer_are_left_to_others(effort: Effort, *, force: bool) -> None:
    one = order(inline_css=True, force=force)
    assert maker(step=0.3).try_make(one, effort) is None
    assert b"style=" in made(maker().make(one)).octets


def test_a_known_sheet_costs_nothing() -> None:
    here = maker()
    here.make(order(inline_css=True))
    assert here.try_make(order(inline_css=True), Effort(css_characters=0)) is not None


def test_a_sheet_beyond_the_limits_of_the_specification_is_final() -> None:
    slow = maker(step=6.0)
    outcome = slow.make(order(inline_css=True))
    assert outcome == Failed("inlinecss: part 1 text/html: inlining takes too long")
    forced = made(slow.make(order(inline_css=True, force=True)))
    assert forced.octets == STYLED
    assert forced.notes == ("inlinecss: sent as it was: part 1 text/html: inlining takes too long",)


def test_representations_show_no_content() -> None:
    assert "Hi" not in repr(order())
    assert "red" not in repr(Made(STYLED))
    assert "red" not in repr(Conversion(octets=STYLED))


def test_orders_and_outcomes_can_be_sent_elsewhere() -> None:
    described = {"text": "x", "dkim": {"domain": "x.test", "selector": "s", "key": "k", "headers": ["x-a"]}}
    one = order(b"", mime_object=described, answers=(Answer(FILE, found=Resource(b"x")),), data={"n": 1})
    edits = parse_header_edits({"remove": ["x"], "replace": {"Subject": "y"}, "append": {"A": "b"}})
    one = msgspec.structs.replace(one, edits=edits)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Order | Conversion)
    assert sent == one
    conversion = Conversion(octets=b"x", to_seven_bit=True, long_lines="wrap", force=True)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(conversion), type=Order | Conversion) == conversion
    outcomes = (maker().make(sent), Wanted((FILE,)), Failed("x", is_temporary=True))
    kinds = Made | Wanted | Failed
    assert tuple(msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=kinds) for one in outcomes) == outcomes


@pytest.mark.parametrize(
    "data",
    [
        rb'{"n": "Ann", "unused": "\ud83d"}',
        rb'{"n": "Ann", "unused": [1e400, 123456789012345678901234567890]}',
        rb'{"n": "Ann\ud83d"}',
    ],
)
def test_legal_data_that_few_can_read_harms_nobody(data: bytes) -> None:
    outcome = made(maker().make(msgspec.structs.replace(order(), data=data)))
    assert b"<p>Hi Ann" in outcome.octets
    assert outcome.octets.isascii()
