"""Whole messages from anything: octets that are a message, or a reason; with little effort the same, or nothing."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relayq.compose.making import Answer, Effort, Failed, Made, Maker, MakingRules, Order, Wanted
from relayq.compose.responsive import DownloadFailure
from relayq.model import parse_address
from relayq.smtp import normalise_line_ends

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
LITTLE = Effort(template_seconds=0.01, inlining_seconds=0.01, css_steps=5_000, css_characters=60)
ADDRESS = parse_address("shop@x.test")

pieces = st.sampled_from(
    [
        b"Subject: {$a}\r\n",
        b"From: shop@x.test\r\n",
        b"MIME-Version: 1.0\r\n",
        b"\r\n",
        b"\n",
        b"x",
        b" ",
        b"=",
        b"--b",
        b"Content-Type: text/html; charset=utf-8\r\n",
        b"Content-Type: text/html; charset=iso-8859-1\r\n",
        b'Content-Type: multipart/mixed; boundary="b"\r\n',
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"\r\n\r\n--b\r\n",
        b"\r\n--b--\r\n",
        b"PHN0eWxlPnB7YTpifTwvc3R5bGU+PHA+\r\n",
        b"<style>p{a:b} .c:hover{d:e}</style>",
        b"<style>*{a:b}p>p{c:{$a}}</style>",
        b"<p class=c>",
        b"<table><tr><td>",
        b"</p>",
        b"<p style=3D'a:b'>",
        b"<div style='x:y'>",
        b"{$a}",
        b"{foreach $l as $i}{$i}<p>{/foreach}",
        b"{if $a}",
        b"{/if}",
        b"{",
        b"}",
        "ü".encode(),
        b"\xff",
        b"=FC",
        b"=\r\n",
        b"y" * 1100,
        b"<style>",
        b"</style>",
        b"<!--",
        b"-->",
    ]
)
strings = st.lists(pieces, max_size=24).map(lambda parts: normalise_line_ends(b"".join(parts)))
texts = st.lists(pieces, max_size=6).map(lambda parts: b"".join(parts).decode("latin-1"))
objects = st.fixed_dictionaries(
    {"from": st.just("a@x.test")},
    optional={
        "subject": texts,
        "text": texts,
        "html": texts,
        "headers": st.dictionaries(st.sampled_from(["X-A", "X-B:"]), texts, max_size=2),
        "attachments": st.lists(st.fixed_dictionaries({"url": st.just("http://x.test/a")}), max_size=2),
        "content": st.fixed_dictionaries(
            {"blocks": st.just([{"type": "html", "content": "<style>p{a:b}</style><p>{$a}"}])}
        ),
    },
)
data = st.one_of(st.none(), st.fixed_dictionaries({"a": texts, "l": st.lists(texts, max_size=3)}))


def order_of(mime: bytes, described: dict[str, Any] | None, values: object, *, force: bool, inline_css: bool) -> Order:
    return Order(
        recipient="ann@x.test",
        sender=ADDRESS,
        now=NOW,
        seen_at=NOW,
        mime=mime if described is None else b"",
        mime_object=None if described is None else json.dumps(described).encode(),
        data=None if values is None else json.dumps(values).encode(),
        force=force,
        inline_css=inline_css,
    )


def maker() -> Maker:
    numbers = count(1)
    return Maker(MakingRules(), time.process_time, lambda: f"=_b{next(numbers)}")


@given(strings, st.one_of(st.none(), objects), data, st.booleans(), st.booleans())
def test_any_order_gives_a_message_or_a_reason(
    mime: bytes, described: dict[str, Any] | None, values: object, force: bool, inline_css: bool
) -> None:
    order = order_of(mime, described, values, force=force, inline_css=inline_css)
    outcome = maker().make(order)
    quick = maker().try_make(order, LITTLE)
    assert quick is None or quick == outcome
    while isinstance(outcome, Wanted):
        failure = DownloadFailure("HTTP 404", is_temporary=False)
        answers = [Answer(download, failure=failure) for download in outcome.downloads]
        order = msgspec.structs.replace(order, answers=(*order.answers, *answers))
        outcome = maker().make(order)
    if isinstance(outcome, Failed):
        assert outcome.reason.isprintable()
        assert not force
        return
    assert isinstance(outcome, Made)
    check_octets(outcome.octets, order)


def check_octets(octets: bytes, order: Order) -> None:
    """Line ends are CRLF; what nothing was asked of is as it was."""
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", octets)
    if order.mime_object is None and order.data is None and not order.inline_css:
        assert octets == order.mime
    if order.mime_object is not None:
        assert octets.isascii()
        assert max(map(len, octets.split(b"\r\n"))) <= 998
