"""Content for the wire (spec messages.md 6)."""

from __future__ import annotations

import base64
import email
import json
import re
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relayq.adapters.memory import LocalWorkshop, ManualClock, MemoryFetcher, MemoryResolver, RecordingObserver
from relayq.compose.arc_chain import ChainValue
from relayq.compose.making import Effort, Maker, MakingRules, Order
from relayq.compose.responsive import Resource
from relayq.delivery import composer as composer_module
from relayq.delivery import downloads as downloads_module
from relayq.delivery.arrivals import Arrivals
from relayq.delivery.composer import Composer, ComposerRules, Content, Draft
from relayq.delivery.download_cache import DownloadCache
from relayq.delivery.downloads import DownloadRules, Downloads
from relayq.delivery.pace import Pace
from relayq.delivery.waiting import NotNowError
from relayq.model import DeliveryState, Message, Refused, Scope, TimedOut, Unusable, parse_address
from relayq.ports import DownloadError, WorkshopUnavailableError
from relayq.smtp import Capabilities
from tests.unit.compose import test_arc

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


class NoPace(Pace):
    async def turn(self) -> None:
        return

    def spend(self, seconds: float) -> None:
        del seconds


class PreparesNow(Composer):
    def __init__(self, rules: ComposerRules, warn: Callable[[str, str], None], spare_cores: int = 1) -> None:
        self.clock = clock = ManualClock(NOW)
        self.workshop = LocalWorkshop(Maker(rules.making, clock.monotonic, lambda: "=_b"))
        self.web = MemoryFetcher()
        downloads = Downloads(lambda: self.web, DownloadRules(), clock, RecordingObserver())
        self.resolver = MemoryResolver(clock)
        arrivals = Arrivals(self.resolver, clock, warn)
        super().__init__(rules, clock, warn, self.workshop, downloads, arrivals, spare_cores=spare_cores)
        self._pace = NoPace()

    def prepare_now(self, message: Message) -> Content:
        with pytest.raises(StopIteration) as done:
            self.prepare(message, NOW).send(None)  # waits for nothing
        return cast("Content", done.value.value)


def composer(
    warn: Callable[[str, str], None] = lambda component, text: None, *, inline_important: bool = True, **rules: Any
) -> PreparesNow:
    making = MakingRules(inline_important=inline_important)
    return PreparesNow(ComposerRules(making=making, **rules), warn)


COMPOSER = composer()
PLAIN = Message(members={}, sender=None, recipient=parse_address("a@x.test"), mime=b"x")


def with_facts(**facts: object) -> Message:
    return msgspec.structs.replace(PLAIN, **facts)


@pytest.mark.parametrize(
    ("mime", "octets"),
    [
        (b"A: b\r\n\r\ntext\r\n", b"A: b\r\n\r\ntext\r\n"),
        (b"A: b\n\ntext\n", b"A: b\r\n\r\ntext\r\n"),
        (b"a\rb\r\nc\nd", b"a\r\nb\r\nc\r\nd\r\n"),
        (b".\r\n..x", b".\r\n..x\r\n"),
        (b"x\r\n\r\n\r\n", b"x\r\n\r\n\r\n"),
        ("é\u2028\u0085\x0b\x0c".encode(), "é\u2028\u0085\x0b\x0c\r\n".encode()),
    ],
)
def test_line_ends_are_made_right_and_nothing_else(mime: bytes, octets: bytes) -> None:
    assert COMPOSER.prepare_now(with_facts(mime=mime)).octets == octets


def test_nul_needs_force() -> None:
    with pytest.raises(Refused) as caught:
        COMPOSER.prepare_now(with_facts(mime=b"a\0b"))

    assert (caught.value.state, caught.value.scope) == (DeliveryState.RESPONSIVE, Scope.MESSAGE)
    assert COMPOSER.prepare_now(with_facts(mime=b"a\0b\0\r\n", force=True)).octets == b"ab\r\n"


LARGE = "Grüße 📰\r.\n\r\n" * 100_000


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_large_message_is_read_from_json_as_if_it_were_a_small_one(*, ascii_only: bool) -> None:
    large = msgspec.Raw(json.dumps(LARGE, ensure_ascii=ascii_only).encode())
    content = COMPOSER.prepare_now(with_facts(mime=None, large_mime=large))
    assert content == COMPOSER.prepare_now(with_facts(mime=LARGE.encode()))


def test_nul_in_a_large_message_needs_force() -> None:
    large = msgspec.Raw(json.dumps(LARGE + "\0\n\0").encode())
    with pytest.raises(Refused, match="mime: NUL octet"):
        COMPOSER.prepare_now(with_facts(mime=None, large_mime=large))
    content = COMPOSER.prepare_now(with_facts(mime=None, large_mime=large, force=True))
    assert content.octets == COMPOSER.prepare_now(with_facts(mime=LARGE.encode() + b"\n")).octets


STYLED = b"Content-Type: text/html\r\n\r\n<style>p{color:{$c}} p:hover{top:0}</style><p>{$x}</p>\r\n"


def test_style_sheets_are_inlined_if_asked_for_after_personalisation() -> None:
    facts = {"mime": STYLED, "data": msgspec.Raw(b'{"c": "red", "x": "<p>Hi"}'), "inline_css": True}
    body = b'p:hover{top:0!important}</style><p style="color:red"><p style="color:red">Hi</p>\r\n'

    assert COMPOSER.prepare_now(with_facts(**facts)).octets.endswith(b"<style> " + body)
    assert (
        composer(inline_important=False)
        .prepare_now(with_facts(**facts))
        .octets.endswith(b"<style> " + body.replace(b"!important", b""))
    )
    assert b"p{color:red}" in COMPOSER.prepare_now(with_facts(**facts | {"inline_css": False})).octets


def test_header_edits_come_after_inlining() -> None:
    edits = msgspec.Raw(b'{"replace": {"Content-Type": "text/plain"}}')
    content = COMPOSER.prepare_now(with_facts(mime=STYLED, inline_css=True, members={"headers": edits}))

    assert content.octets.startswith(b"Content-Type: text/plain\r\n")
    assert b'<p style="color:' not in content.octets  # {$c} is no value
    assert content.octets.count(b"<style>") == 1


def test_style_sheets_of_an_object_are_inlined() -> None:
    html = "<style>p{color:red}</style><p>Grüße</p>"
    given = msgspec.json.encode({"from": "a@x.test", "subject": "x", "html": html})
    content = COMPOSER.prepare_now(with_facts(mime=None, mime_object=msgspec.Raw(given), inline_css=True))

    assert b'<p style=3D"color:red">Gr=C3=BC=C3=9Fe</p>' in content.octets


def test_a_sheet_beyond_the_limits_fails_the_message_unless_forced() -> None:
    big = b"Content-Type: text/html\r\n\r\n<style>p{a:b}" + b"/" * (1 << 20) + b"</style><p>x</p>\r\n"
    warnings: list[tuple[str, str]] = []
    made = PreparesNow(ComposerRules(), lambda component, text: warnings.append((component, text)))
    reason = "part 1 text/html: more than 1 MiB of CSS"
    with pytest.raises(Refused, match=f"^responsive/error: inlinecss: {reason}$"):
        made.prepare_now(with_facts(mime=big, inline_css=True))
    assert warnings == []
    assert made.prepare_now(with_facts(mime=big, inline_css=True, force=True)).octets == big
    assert warnings == [("compose", f"a@x.test: inlinecss: sent as it was: {reason}")]


def test_a_message_that_has_to_wait_says_how_long_and_why() -> None:
    wait = NotNowError(60.0, "destination over capacity")

    assert (wait.seconds, wait.reason, str(wait)) == (60.0, "destination over capacity", "destination over capacity")


EIGHT_BIT = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode()
SEALED = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n"
LONG = b"Subject: x\r\n\r\n" + b"y" * 1200 + b"\r\n"
TAKES_8BIT, TAKES_7BIT = Capabilities(eight_bit_mime=True), Capabilities()


def test_8bit_content_goes_out_as_it_is_where_it_is_taken() -> None:
    content = COMPOSER.prepare_now(with_facts(mime=EIGHT_BIT))

    assert content == Content(octets=EIGHT_BIT, has_8bit=True)
    assert COMPOSER.is_final(content, TAKES_8BIT)
    assert not COMPOSER.is_final(content, TAKES_7BIT)


async def test_8bit_content_is_converted_for_others() -> None:
    final = await COMPOSER.finish(COMPOSER.prepare_now(with_facts(mime=EIGHT_BIT)), TAKES_7BIT)

    assert (final.has_8bit, final.octets.isascii()) == (False, True)
    parsed = email.message_from_bytes(final.octets)
    payload = parsed.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode("utf-8").rstrip() == "Grüße"


def test_8bit_send_leaves_it_alone() -> None:
    sender = composer(eight_bit="send")
    content = sender.prepare_now(with_facts(mime=EIGHT_BIT))

    assert sender.is_final(content, TAKES_7BIT)


async def test_what_cannot_be_converted_is_refused_unless_forced() -> None:
    with pytest.raises(Refused, match="no 8-bit content"):
        await COMPOSER.finish(COMPOSER.prepare_now(with_facts(mime=SEALED)), TAKES_7BIT)

    content = COMPOSER.prepare_now(with_facts(mime=SEALED, force=True))
    assert (await COMPOSER.finish(content, TAKES_7BIT)).octets == SEALED


def test_raw_utf8_in_the_header_is_told_to_the_dialogue() -> None:
    mime = "Subject: Grüße\r\n\r\nx\r\n".encode()

    assert COMPOSER.prepare_now(with_facts(mime=mime)) == Content(octets=mime, has_8bit=True, has_utf8_headers=True)


async def _final(octets: bytes, *, force: bool = False, **rules: Any) -> bytes:
    made = composer(**rules)
    content = made.prepare_now(with_facts(mime=octets, force=force))
    return (await made.finish(content, TAKES_8BIT)).whole


async def test_long_lines_are_kept_wrapped_or_refused() -> None:
    assert await _final(LONG) == LONG
    assert max(map(len, (await _final(LONG, long_lines="wrap")).split(b"\r\n"))) <= 998
    with pytest.raises(Refused, match="998"):
        await _final(LONG, long_lines="fail")
    assert await _final(LONG, long_lines="fail", force=True) == LONG


TEMPLATE = b"Subject: {$first}, your parcel\r\nX-Tag: {$first}\r\n\r\nDear {$first}, for {$recipient}.\r\n"


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def test_data_personalises_subject_and_text() -> None:
    content = COMPOSER.prepare_now(with_facts(mime=TEMPLATE, data=raw({"first": "Anna"})))

    assert content.octets == (b"Subject: Anna, your parcel\r\nX-Tag: {$first}\r\n\r\nDear Anna, for a@x.test.\r\n")


def test_without_data_a_template_is_text() -> None:
    assert COMPOSER.prepare_now(with_facts(mime=TEMPLATE)).octets == TEMPLATE


def test_a_broken_template_is_refused_unless_forced() -> None:
    mime = b"Subject: {if $n}broken\r\n\r\nStill {$n}.\r\n"
    with pytest.raises(Refused, match="subject: line 1"):
        COMPOSER.prepare_now(with_facts(mime=mime, data=raw({"n": 1})))

    forced = COMPOSER.prepare_now(with_facts(mime=mime, data=raw({"n": 1}), force=True))
    assert forced.octets == b"Subject: {if $n}broken\r\n\r\nStill 1.\r\n"


def test_header_edits() -> None:
    edits = {"headers": raw({"remove": "X-Tag", "prepend": {"X-Batch": "7"}})}
    content = COMPOSER.prepare_now(with_facts(mime=b"X-Tag: 1\r\nA: b\r\n\r\nx\r\n", members=edits))
    assert content.octets == b"X-Batch: 7\r\nA: b\r\n\r\nx\r\n"

    with pytest.raises(Unusable, match="headers"):
        COMPOSER.prepare_now(with_facts(members={"headers": raw({"append": {"X-A": "1\r\nBcc: x@y.test"}})}))


@pytest.mark.parametrize("odd", [b"1e400", b"9" * 5000, rb'"\ud83d"'])
async def test_members_nobody_knows_may_hold_anything(odd: bytes) -> None:
    """Numbers and halves of characters that are legal JSON, and that no decoder of ours takes."""
    edits = {"headers": msgspec.Raw(b'{"append":{"X-A":"1"},"note":[' + odd + b"]}")}
    content = COMPOSER.prepare_now(with_facts(mime=LETTER, members=edits))
    assert b"X-A: 1\r\n" in (content.octets or b"")

    entry = b'{"domain":"example.com","selector":"s","key":"%b","note":[%b]}' % (SEED.encode(), odd)
    for dkim in (entry, b"[" + entry + b"]"):
        content = COMPOSER.prepare_now(with_facts(mime=LETTER, dkim=msgspec.Raw(dkim)))
        assert [key.selector for key in content.keys] == ["s"]


SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
LETTER = b"From: Shop <shop@example.com>\r\nSubject: Order\r\n\r\nHello\r\n"


async def test_signatures_are_put_on_top_of_what_goes_out() -> None:
    keys = raw([{"domain": "example.com", "selector": "brisbane", "key": SEED}])
    content = COMPOSER.prepare_now(with_facts(mime=LETTER, dkim=keys))
    assert not COMPOSER.is_final(content, TAKES_8BIT)

    signed = (await COMPOSER.finish(content, TAKES_8BIT)).whole
    assert signed.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")
    assert signed.endswith(LETTER)


async def test_a_large_content_is_not_copied_to_get_signatures() -> None:
    keys = raw([{"domain": "example.com", "selector": "brisbane", "key": SEED, "canonicalization": "relaxed/relaxed"}])
    large = LETTER + b"Hello  there\r\n" * 20_000
    made = composer()
    content = made.prepare_now(with_facts(mime=large, dkim=keys))
    signed = await made.finish(content, TAKES_8BIT)
    made.close()
    assert signed.octets is content.octets
    assert signed.lead.startswith(b"DKIM-Signature: v=1;")
    assert signed.whole == signed.lead + large
    assert made.is_final(signed, TAKES_8BIT)


@pytest.mark.parametrize("kind", ["string", "line feeds", "attachment"])
def test_composing_a_large_message_takes_what_it_makes(kind: str) -> None:
    """Beside the JSON it came in; the goal is three times its size altogether."""
    lines, facts = "a line of a mail that is as long as the lines of mails are, more or less\r\n" * 70_000, {}
    if kind == "attachment":
        files = [{"name": "a.zip", "data": base64.b64encode(b"x" * 2_000_000).decode()}]
        facts = {"mime_object": raw({"from": "a@x.test", "text": "x", "attachments": files})}
    else:
        facts = {"large_mime": raw(lines if kind == "string" else lines.replace("\r\n", "\n"))}
    made = composer()
    tracemalloc.start()
    try:
        content = made.prepare_now(with_facts(mime=None, **facts))
        assert tracemalloc.get_traced_memory()[1] < 1.6 * len(content.octets)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("spare_cores", "signatures", "is_in_thread"), [(0, 1, False), (0, 2, True), (1, 1, True), (1, 2, True)]
)
async def test_rsa_signs_in_a_thread_where_that_helps(
    rsa_key: str, spare_cores: int, signatures: int, *, is_in_thread: bool
) -> None:
    made = PreparesNow(ComposerRules(), lambda component, text: None, spare_cores)
    keys = [{"domain": "example.com", "selector": f"s{number}", "key": rsa_key} for number in range(signatures)]
    content = made.prepare_now(with_facts(mime=LETTER, dkim=raw(keys)))
    signed = (await made.finish(content, TAKES_8BIT)).whole
    made.close()
    assert signed.count(b"a=rsa-sha256") == signatures
    assert signed.endswith(LETTER)
    assert (made._threads._executor is not None) == is_in_thread


def test_keys_that_were_usable_once_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer_module, "_MAX_USABLE_KEYS", 2)
    made = composer()
    for selector in ("a", "b", "c", "a", "c"):
        keys = raw({"domain": "example.com", "selector": selector, "key": SEED})
        assert [key.selector for key in made.prepare_now(with_facts(mime=LETTER, dkim=keys)).keys] == [selector]
    assert len(made._usable_keys) == 2
    bad = raw({"domain": "example.com", "selector": "s", "key": "nonsense"})
    made.prepare_now(with_facts(mime=LETTER, dkim=bad, force=True))
    with pytest.raises(Refused, match="dkim"):
        made.prepare_now(with_facts(mime=LETTER, dkim=bad))


def test_other_rules_hold_for_keys_as_well() -> None:
    made = composer()
    message = with_facts(mime=LETTER, dkim=raw({"domain": "example.com", "selector": "s", "key": SEED}))
    assert made.prepare_now(message).keys[0].oversign
    made.reconfigure(ComposerRules(oversign=False))
    assert not made.prepare_now(message).keys[0].oversign


async def test_a_large_key_is_read_in_a_thread() -> None:
    made = composer()
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    message = with_facts(mime=LETTER, dkim=raw({"domain": "example.com", "selector": "s", "key": pem}))
    await made.prepare(message, NOW)
    assert made._threads._executor is not None
    made.prepare_now(message)  # known by now
    made.close()


@pytest.fixture(scope="module")
def rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def test_an_unusable_key_is_found_before_connecting() -> None:
    keys = raw({"domain": "example.com", "selector": "s", "key": "nonsense"})
    with pytest.raises(Refused, match="dkim"):
        COMPOSER.prepare_now(with_facts(mime=LETTER, dkim=keys))
    assert COMPOSER.prepare_now(with_facts(mime=LETTER, dkim=keys, force=True)).octets == LETTER


def test_an_object_becomes_a_message() -> None:
    described = raw({"from": "shop@example.com", "to": "a@x.test", "subject": "Hi {$n}", "text": "Dear {$n}"})
    octets = COMPOSER.prepare_now(with_facts(mime=None, mime_object=described, data=raw({"n": "Ann"}))).octets

    parsed = email.message_from_bytes(octets)
    assert (parsed["Subject"], parsed["From"], parsed["Date"]) == (
        "Hi Ann",
        "shop@example.com",
        "Sat, 21 Nov 2026 20:00:00 +0000",
    )
    assert parsed.get_payload() == "Dear Ann\r\n"
    assert COMPOSER.prepare_now(with_facts(mime=None, mime_object=described, data=raw({"n": "Ann"}))).octets == octets


PDF = "https://x.test/a.pdf"
WITH_FILE = raw({"from": "s@x.test", "text": "x", "attachments": [{"url": PDF}]})


async def test_what_has_to_be_downloaded_makes_a_draft_first() -> None:
    made = composer()
    made.web.pages[PDF] = Resource(b"the file", "application/pdf")
    message = with_facts(mime=None, mime_object=WITH_FILE, members={"headers": raw({"append": {"X-End": "1"}})})
    draft = await made.prepare(message, NOW)
    assert isinstance(draft, Draft)
    assert [download.url for download in draft.downloads] == [PDF]
    content = await made.complete(draft)
    assert base64.b64encode(b"the file") in content.octets
    assert b"\r\nX-End: 1\r\n" in content.octets
    # What is known now does not have to be waited for.
    assert made.prepare_now(message).octets
    assert made.web.asked == [PDF]
    await made._downloads.close()


async def test_downloads_that_fail_end_the_attempt_for_good_or_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads_module, "SECOND_TRY_SECONDS", 0.0)
    made = composer()
    for failure, kind in (
        (DownloadError("HTTP 404", is_temporary=False), Refused),
        (DownloadError("HTTP 503", is_temporary=True), TimedOut),
    ):
        made.web.pages[PDF] = failure
        made._downloads._cache = DownloadCache(1000)
        draft = await made.prepare(with_facts(mime=None, mime_object=WITH_FILE), NOW)
        assert isinstance(draft, Draft)
        with pytest.raises(kind, match=rf"mime.attachments\[0\]: {failure.cause}") as caught:
            await made.complete(draft)
        assert (caught.value.state, caught.value.scope) == (DeliveryState.RESPONSIVE, Scope.MESSAGE)
        forced = with_facts(mime=None, mime_object=WITH_FILE, force=True)
        assert b"attachment" not in made.prepare_now(forced).octets
    await made._downloads.close()


@pytest.mark.parametrize(
    ("kind", "octets", "is_made_here"),
    [
        ("attachments", 60_000, True),
        ("attachments", 600_000, True),  # kept aside, so nothing has to be made of it
        ("text", 30_000, True),
        ("text", 70_000, False),
        ("feed", 1000, False),
    ],
)
async def test_what_was_downloaded_counts_by_what_it_costs(kind: str, octets: int, is_made_here: bool) -> None:
    made = composer()
    feed = b"<rss><channel><item><title>x</title></item></channel></rss>"
    made.web.pages[PDF] = Resource(feed if kind == "feed" else b"x" * octets)
    entry = {"url": PDF, "type": kind}
    content = {"attachments": [entry]} if kind == "attachments" else {"content": {"blocks": [entry]}}
    draft = await made.prepare(with_facts(mime=None, mime_object=raw({"from": "s@x.test", **content})), NOW)
    assert isinstance(draft, Draft)
    assert (await made.complete(draft)).octets
    assert len(made.workshop.orders) == (0 if is_made_here else 1)
    await made._downloads.close()


# Off the loop.


def test_what_is_small_and_quick_is_made_here() -> None:
    made = composer()
    made.prepare_now(with_facts(mime=STYLED, data=raw({"c": "red"}), inline_css=True))
    assert made.workshop.orders == []


@pytest.mark.parametrize(
    "facts",
    [
        {"mime": STYLED + b"x" * 16 * 1024, "inline_css": True},
        {"mime": b"Subject: {$x}\r\n\r\n" + b"x" * 64 * 1024, "data": raw({"x": "y"})},
        {"mime": b"Subject: {$x}\r\n\r\n", "data": raw({"x": "x" * 64 * 1024})},
        {"mime": None, "mime_object": raw({"from": "a@x.test", "text": "x" * 64 * 1024})},
        {
            "mime": b"Content-Type: text/html\r\n\r\n<style>p{a:b}" + b"p{c:d}" * 800 + b"</style><p>",
            "inline_css": True,
        },
    ],
)
def test_what_is_large_is_made_in_the_workshop(facts: dict[str, object]) -> None:
    made = composer()
    assert made.prepare_now(with_facts(**facts)).octets
    assert len(made.workshop.orders) == 1


def test_what_is_large_but_only_sent_is_left_alone() -> None:
    made = composer()
    made.prepare_now(with_facts(mime=b"Subject: x\r\n\r\n" + b"x\r\n" * 100_000))
    assert made.workshop.orders == []


class CountedPace(NoPace):
    """Gives every piece of work a turn at once, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    async def turn(self) -> None:
        self.turns += 1


def test_line_ends_of_a_large_message_are_made_right_in_many_turns() -> None:
    made = composer()
    made._pace = pace = CountedPace()
    octets = made.prepare_now(with_facts(mime=b"Subject: x\n\n" + b"line\n" * 500_000)).octets
    assert octets == b"Subject: x\r\n\r\n" + b"line\r\n" * 500_000
    assert pace.turns > 2_500_000 // (256 * 1024)


@pytest.mark.parametrize(("lines", "orders"), [(1, 0), (10_000, 1)])
async def test_large_content_is_converted_in_the_workshop(lines: int, orders: int) -> None:
    made = composer()
    content = made.prepare_now(with_facts(mime=EIGHT_BIT + b"line of text\r\n" * lines))
    final = await made.finish(content, TAKES_7BIT)
    assert (final.octets.isascii(), len(made.workshop.orders)) == (True, orders)
    assert final.octets.count(b"\r\nline of text\r\n") == (lines + 1) // 2


async def test_large_content_that_cannot_be_converted_is_refused_or_sent_as_it_is() -> None:
    large = SEALED + b"line of text\r\n" * 10_000
    made = composer()
    with pytest.raises(Refused, match=r"^responsive/error: the server takes no 8-bit content: "):
        await made.finish(made.prepare_now(with_facts(mime=large)), TAKES_7BIT)
    final = await made.finish(made.prepare_now(with_facts(mime=large, force=True)), TAKES_7BIT)
    assert (final.octets, len(made.workshop.orders)) == (large, 2)


async def test_content_waits_while_nothing_can_be_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def make(order: object) -> NoReturn:
        raise WorkshopUnavailableError("no process")

    made = composer()
    monkeypatch.setattr(made.workshop, "make", make)
    content = made.prepare_now(with_facts(mime=EIGHT_BIT + b"line of text\r\n" * 10_000))
    with pytest.raises(NotNowError, match="composing: no process"):
        await made.finish(content, TAKES_7BIT)


@pytest.mark.parametrize(("fields", "lines", "orders"), [(3, 1, 0), (3, 50_000, 0), (30_000, 1, 1)])
def test_a_very_long_header_is_edited_in_the_workshop(fields: int, lines: int, orders: int) -> None:
    made = composer()
    mime = b"X: y\r\n" * fields + b"\r\n" + b"line\r\n" * lines
    edits = raw({"remove": "x", "append": {"Subject": "z"}})
    octets = made.prepare_now(with_facts(mime=mime, members={"headers": edits})).octets
    assert octets == b"Subject: z\r\n\r\n" + b"line\r\n" * lines
    assert len(made.workshop.orders) == orders


class Slow:
    """Stands in for an attempt on the loop that takes a second and was not enough."""

    def __init__(self, made: PreparesNow) -> None:
        self.tried = 0
        self._clock = made.clock
        made._maker.try_make = self.try_make  # type: ignore[method-assign, assignment]

    def try_make(self, order: Order, effort: Effort) -> None:
        del order, effort
        self.tried += 1
        self._clock.advance(1.0)


def test_what_turned_out_slow_is_not_tried_here_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer_module, "_MAX_SLOW", 1)
    made = composer()
    attempts = Slow(made)
    slow, other = with_facts(mime=TEMPLATE, data=raw({})), with_facts(mime=STYLED, data=raw({}))
    for message in (slow, slow, slow):
        made.prepare_now(message)
        made.clock.advance(20.0)
    assert (attempts.tried, len(made.workshop.orders)) == (1, 3)
    made.prepare_now(other)  # takes its place among what is remembered
    made.clock.advance(20.0)
    made.prepare_now(slow)
    assert (attempts.tried, len(made.workshop.orders)) == (3, 5)


def test_attempts_in_vain_take_a_twentieth_of_the_time_at_most() -> None:
    made = composer()
    attempts = Slow(made)
    for number in range(50):
        made.prepare_now(with_facts(mime=b"Subject: %d {$a}\r\n\r\n" % number, data=raw({})))
        made.clock.advance(1.0)
    assert attempts.tried == 3
    assert len(made.workshop.orders) == 50


async def test_without_a_workshop_a_message_waits() -> None:
    made = composer()

    async def unavailable(order: Order) -> NoReturn:
        del order
        raise WorkshopUnavailableError("no process")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.workshop, "make", unavailable)
        with pytest.raises(NotNowError, match="composing: no process"):
            await made.prepare(with_facts(mime=STYLED + b"x" * 16 * 1024, inline_css=True), NOW)


async def test_a_large_message_is_hashed_in_a_thread() -> None:
    made = composer()
    letter = LETTER + b"text\r\n" * 30_000
    keys = raw({"domain": "example.com", "selector": "s", "key": SEED})
    content = made.prepare_now(with_facts(mime=letter, dkim=keys))
    done: list[object] = []
    do = made._threads.do

    async def counting(work: Callable[[], Any]) -> Any:
        done.append(work)
        return await do(work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made._threads, "do", counting)
        signed = (await made.finish(content, TAKES_8BIT)).whole
    made.close()
    assert len(done) == 1
    assert signed.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")
    assert signed.endswith(letter)


def test_notes_go_to_the_application_log() -> None:
    warnings: list[tuple[str, str]] = []
    made = PreparesNow(ComposerRules(), lambda component, text: warnings.append((component, text)))
    made.prepare_now(with_facts(mime=b"Subject: {if $n}\r\n\r\nx\r\n", data=raw({}), force=True))
    assert warnings == [("compose", "a@x.test: sent unpersonalised: subject: line 1: unclosed if")]


# ARC.


def arc_keys(*, protocols: tuple[str, ...] = ("arc",)) -> msgspec.Raw:
    return raw({"domain": "example.com", "selector": "s1", "key": test_arc.pem(), "protocols": protocols})


async def test_a_message_is_sealed_and_then_signed() -> None:
    made = composer()
    content = await made.prepare(with_facts(mime=LETTER, dkim=arc_keys(protocols=("arc", "dkim"))), NOW)
    assert isinstance(content, Content)
    final = await made.finish(content, Capabilities())
    names = re.findall(rb"^([\w-]+):", final.octets, re.MULTILINE)
    sealed = [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]
    assert names[:4] == [b"DKIM-Signature", *sealed]
    assert test_arc.judge(final.octets) is ChainValue.PASS
    assert b"arc-" not in final.octets.partition(b"ARC-Seal")[0]


async def test_chains_are_judged_before_the_header_is_edited() -> None:
    made = composer()
    made.resolver.set_txt(test_arc.NAME, *test_arc.records().values())
    edits = {"headers": raw({"replace": {"subject": "changed"}})}
    came = test_arc.seal()
    content = await made.prepare(with_facts(mime=came, dkim=arc_keys(), members=edits), NOW)
    assert isinstance(content, Content)
    final = await made.finish(content, Capabilities())
    assert b"ARC-Seal: i=2; a=rsa-sha256; t=1795291200; cv=pass;" in final.octets
    assert test_arc.judge(final.octets) is ChainValue.PASS


async def test_a_message_that_cannot_be_sealed_goes_on() -> None:
    warnings: list[str] = []
    made = composer(lambda _, text: warnings.append(text))
    for mime, edits in (
        (test_arc.seal().replace(b"ARC-Seal: i=1", b"ARC-Seal: i=3"), {}),
        (test_arc.seal(), {"headers": raw({"remove": "arc-seal"})}),
        (b"Subject: x\r\n\r\n", {}),
    ):
        content = await made.prepare(with_facts(mime=mime, dkim=arc_keys(), members=edits), NOW)
        assert isinstance(content, Content)
        assert (await made.finish(content, Capabilities())).octets == content.octets
    assert [warning.partition(":")[0] for warning in warnings] == ["no ARC set"] * 3


async def test_an_object_is_a_new_message_and_large_ones_are_sealed_elsewhere() -> None:
    made = composer()
    described = raw({"from": "a@example.com", "text": "x" * 200_000})
    content = await made.prepare(with_facts(mime=None, mime_object=described, dkim=arc_keys()), NOW)
    assert isinstance(content, Content)
    final = await made.finish(content, Capabilities())
    assert test_arc.judge(final.octets) is ChainValue.PASS


async def test_what_a_campaign_needs_is_expected_and_what_varies_is_not() -> None:
    made = composer()
    tried: list[int] = []
    try_make = made._maker.try_make

    def count(order: Order, effort: Effort, *, is_final: bool = False) -> Any:
        tried.append(len(order.answers))
        return try_make(order, effort, is_final=is_final)

    made._maker.try_make = count  # type: ignore[method-assign]
    made.web.pages[PDF] = Resource(b"the file")
    for _ in range(3):
        prepared = await made.prepare(with_facts(mime=None, mime_object=WITH_FILE), NOW)
        content = await made.complete(prepared) if isinstance(prepared, Draft) else prepared
        assert base64.b64encode(b"the file") in content.octets
    assert tried == [0, 1, 1, 1]
    tried.clear()
    varying = raw({"from": "s@x.test", "text": "x", "attachments": [{"url": "https://x.test/{$n}"}]})
    for number in (1, 2, 3, 3):
        made.web.pages[f"https://x.test/{number}"] = Resource(b"%d" % number)
        message = with_facts(mime=None, mime_object=varying, data=raw({"n": number}))
        prepared = await made.prepare(message, NOW)
        content = await made.complete(prepared) if isinstance(prepared, Draft) else prepared
        assert content.octets.count(b"Content-Disposition: attachment") == 1
        assert base64.b64encode(b"%d" % number) in content.octets
    assert tried == [0, 1, 1, 2, 0, 1, 0, 1]
    await made._downloads.close()
