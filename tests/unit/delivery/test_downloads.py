"""What messages need from the web: asked for once, a few at a time, and kept (spec responsive.md 10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from relayq.adapters.memory import ManualClock, MemoryFetcher, MemoryStore, RecordingObserver
from relayq.compose.responsive import Download, DownloadFailure, DownloadKind, Resource
from relayq.delivery import downloads as module
from relayq.delivery.download_cache import DownloadCache, Request
from relayq.delivery.download_store import DownloadStore
from relayq.delivery.downloads import AT_A_TIME, FAILURE_SECONDS, TO_A_HOST, DownloadRules, Downloads
from relayq.ports import DownloadError, Fetched
from tests.support.engine import eventually

A = "https://x.test/a"
BUSY = DownloadError("HTTP 503", is_temporary=True)
GONE = DownloadError("HTTP 404", is_temporary=False)


def file(url: str = A) -> Download:
    return Download(DownloadKind.ATTACHMENT, url)


class Desk:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.web = MemoryFetcher()
        self.observer = RecordingObserver()
        self.store = MemoryStore()
        self.opened = 0
        self.downloads = self.make()

    def make(self, *, with_store: bool = False, max_bytes: int = 10 * 1024 * 1024, ttl: float = 3600.0) -> Downloads:
        store = DownloadStore(self.store, self.clock, self.observer) if with_store else None
        rules = DownloadRules(max_bytes=max_bytes, ttl=ttl)
        self.downloads = Downloads(self._open, rules, self.clock, self.observer, store)
        return self.downloads

    def _open(self) -> MemoryFetcher:
        self.opened += 1
        return self.web

    async def get(self, url: str = A) -> Resource | DownloadFailure:
        download = file(url)
        return (await self.downloads.fetch([download]))[download]


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(module, "SECOND_TRY_SECONDS", 0.0)
    made = Desk()
    yield made
    await made.downloads.close()
    await made.downloads.close()


async def test_a_thousand_who_want_the_same_at_the_same_time_ask_once(desk: Desk) -> None:
    desk.web.pages[A] = Fetched(Resource(b"x"), 0.0)  # not to be kept
    answers = await asyncio.gather(*(desk.get() for _ in range(1000)))
    assert answers == [Resource(b"x")] * 1000
    assert (desk.web.asked, desk.opened) == ([A], 1)
    assert desk.downloads.counts.shared == 999
    assert desk.downloads.known([file()]) is None
    await desk.get()
    assert (desk.web.asked, desk.opened) == ([A, A], 1)


async def test_fresh_resources_are_used_again_until_they_are_not(desk: Desk) -> None:
    desk.web.pages[A] = Fetched(Resource(b"x"), 100.0)
    await desk.get()
    desk.clock.advance(99)
    assert desk.downloads.known([file()]) == {file(): Resource(b"x")}
    assert await desk.get() == Resource(b"x")
    desk.clock.advance(1)
    assert desk.downloads.known([file()]) is None
    assert len(desk.web.asked) == 1
    await desk.get()
    assert len(desk.web.asked) == 2


async def test_nothing_is_used_again_for_longer_than_the_limit(desk: Desk) -> None:
    desk.make(ttl=10.0)
    desk.web.pages[A] = Fetched(Resource(b"x"), 1e9)
    await desk.get()
    desk.clock.advance(10)
    assert desk.downloads.known([file()]) is None


async def test_all_or_none_are_known(desk: Desk) -> None:
    desk.web.pages[A] = Resource(b"x")
    await desk.get()
    assert desk.downloads.known([file(), file("https://x.test/b")]) is None


async def test_failures_are_remembered_for_a_minute(desk: Desk) -> None:
    desk.web.pages[A] = GONE
    assert await desk.get() == DownloadFailure("HTTP 404", is_temporary=False)
    desk.clock.advance(FAILURE_SECONDS - 1)
    assert await desk.get() == DownloadFailure("HTTP 404", is_temporary=False)
    assert len(desk.web.asked) == 1
    desk.clock.advance(1)
    desk.web.pages[A] = Resource(b"x")
    assert await desk.get() == Resource(b"x")


async def test_what_may_help_is_tried_once_more(desk: Desk) -> None:
    desk.web.pages[A] = BUSY
    assert await desk.get() == DownloadFailure("HTTP 503", is_temporary=True)
    assert len(desk.web.asked) == 2
    assert desk.downloads.counts.requests == 2

    async def recover(url: str) -> None:
        desk.web.pages[url] = Resource(b"x") if len(desk.web.asked) == 4 else BUSY

    desk.web.before = recover
    assert await desk.get("https://x.test/b") == Resource(b"x")


async def test_a_failure_nobody_foresaw_is_told_and_temporary(desk: Desk) -> None:
    async def fail(url: str) -> NoReturn:
        raise ZeroDivisionError(url)

    desk.web.before = fail
    assert await desk.get() == DownloadFailure("internal error", is_temporary=True)
    assert [crash.component for crash in desk.observer.crashes] == ["download"]


async def test_kinds_with_different_limits_do_not_share(desk: Desk) -> None:
    desk.web.pages[A] = Resource(bytes(3_000_000))
    whole, text, start = (
        Download(kind, A) for kind in (DownloadKind.ATTACHMENT, DownloadKind.CONTENT, DownloadKind.PROBE)
    )
    found = await desk.downloads.fetch([text, whole, start])
    assert found[text] == DownloadFailure("larger than 2097152 octets", is_temporary=False)
    assert found[whole] == Resource(bytes(3_000_000))
    assert found[start] == Resource(bytes(65_536))
    assert list(found) == [text, whole, start]


async def test_the_setting_is_the_limit_of_all_kinds(desk: Desk) -> None:
    desk.make(max_bytes=1000)
    desk.web.pages[A] = Resource(bytes(1001))
    assert await desk.get() == DownloadFailure("larger than 1000 octets", is_temporary=False)


class Turnstile:
    """Counts who is being served."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most = 0
        self.go = asyncio.Event()

    async def __call__(self, url: str) -> None:
        self.inside.append(url)
        self.most = max(self.most, len(self.inside))
        await self.go.wait()
        self.inside.remove(url)


async def test_a_few_at_a_time_for_one_message_and_for_one_host(desk: Desk) -> None:
    desk.web.before = turnstile = Turnstile()
    urls = [f"https://h{number}.test/" for number in range(20)]
    one_message = asyncio.create_task(desk.downloads.fetch([file(url) for url in urls]))
    await eventually(lambda: len(turnstile.inside) == AT_A_TIME, "as many as may")
    same_host = [asyncio.create_task(desk.get(f"https://x.test/{number}")) for number in range(40)]
    await eventually(lambda: len(turnstile.inside) == AT_A_TIME + TO_A_HOST, "as many of the host as may")
    other = asyncio.create_task(desk.get("https://quick.test/"))
    await eventually(lambda: "https://quick.test/" in turnstile.inside, "others do not wait for them")
    turnstile.go.set()
    await asyncio.gather(one_message, *same_host, other)
    assert turnstile.most == AT_A_TIME + TO_A_HOST + 1
    assert desk.downloads._hosts == {}
    assert desk.downloads._under_way == {}


async def test_addresses_that_cannot_be_read_are_asked_for_like_others(desk: Desk) -> None:
    assert await desk.get("http://[::1") == DownloadFailure("HTTP 404", is_temporary=False)


async def test_who_stops_waiting_stops_nobody_else(desk: Desk) -> None:
    desk.web.before = turnstile = Turnstile()
    desk.web.pages[A] = Resource(b"x")
    first, second = (asyncio.create_task(desk.get()) for _ in range(2))
    await eventually(lambda: turnstile.inside == [A], "it is asked for")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    turnstile.go.set()
    assert await second == Resource(b"x")


async def test_closing_ends_what_is_under_way(desk: Desk) -> None:
    desk.web.before = turnstile = Turnstile()
    waiting = asyncio.create_task(desk.get())
    await eventually(lambda: turnstile.inside == [A], "it is asked for")
    await desk.downloads.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_message_gets_no_more_than_a_message_may_have(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGE_OCTETS", 100)
    urls = [f"https://h{number}.test/" for number in range(20)]
    desk.web.pages |= {url: Resource(bytes(40)) for url in urls}
    found = await desk.downloads.fetch([file(url) for url in urls])
    assert [isinstance(answer, Resource) for answer in found.values()].count(False) >= 20 - 3 - AT_A_TIME
    assert set(found) == set(map(file, urls))
    failures = [answer for answer in found.values() if isinstance(answer, DownloadFailure)]
    assert failures[0] == DownloadFailure("more than 100 octets", is_temporary=False)


async def test_a_message_has_room_for_what_it_needs(desk: Desk) -> None:
    desk.make(max_bytes=1_000_000)
    async with desk.downloads.room([file(), Download(DownloadKind.PROBE, A)]):
        assert desk.downloads._room._free == module.ROOM_OCTETS - 1_000_000 - 65_536
    async with desk.downloads.room([file(f"https://x.test/{number}") for number in range(100)]):
        assert desk.downloads._room._free == module.ROOM_OCTETS - module.MESSAGE_OCTETS


# --- in memory ------------------------------------------------------------------------------------------------------


def request(number: int) -> Request:
    return Request(f"https://x.test/{number:03}", 1000, is_start_enough=False)


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = DownloadCache(10_000)
    for number in range(3):
        cache.put(request(number), Resource(bytes(2500)), 100.0)
    cache.get(request(0), 1.0)
    cache.put(request(3), Resource(bytes(2500)), 100.0)
    assert [cache.get(request(number), 1.0) is not None for number in range(4)] == [True, False, True, True]
    assert cache.octets <= 10_000


def test_the_books_of_the_cache_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.delivery.download_cache.MAX_ENTRIES", 2)
    cache = DownloadCache(10_000)
    cache.put(request(0), Resource(bytes(20_000)), 100.0)  # more than fits
    assert (cache.octets, cache.get(request(0), 1.0)) == (0, None)
    for _ in range(3):
        cache.put(request(0), Resource(bytes(1000)), 100.0)
    once = cache.octets
    cache.put(request(1), DownloadFailure("x", is_temporary=True), 100.0)
    cache.put(request(2), DownloadFailure("x", is_temporary=True), 100.0)
    assert cache.get(request(0), 1.0) is None
    assert cache.octets < once
    assert [cache.get(request(number), 100.0) for number in (1, 2)] == [None, None]
    assert cache.octets == 0


# --- in a store -----------------------------------------------------------------------------------------------------


async def test_a_store_serves_the_next_worker(desk: Desk) -> None:
    resource = Resource(b"line\nline\0\xff", "text/plain; charset=x", 'attachment; filename="é"')
    desk.web.pages[A] = Fetched(resource, 100.0)
    first = desk.make(with_store=True)
    assert await desk.get() == resource
    await eventually(lambda: len(desk.store.bodies) == 1, "it is kept")
    await first.close()
    desk.store.is_closed = False
    desk.clock.advance(60)
    desk.make(with_store=True)
    assert await desk.get() == resource
    assert desk.downloads.counts.stored == 1
    assert desk.web.asked == [A]
    desk.clock.advance(40)
    assert await desk.get() == resource
    assert desk.web.asked == [A, A]


async def test_what_is_not_fresh_and_failures_are_not_stored(desk: Desk) -> None:
    desk.make(with_store=True)
    desk.web.pages[A] = Fetched(Resource(b"x"), 0.0)
    await desk.get()
    await desk.get("https://x.test/404")
    await desk.downloads.close()
    assert desk.store.bodies == {}


@pytest.mark.parametrize(
    "entry", [b"", b"\n", b"{}\nx", b"[1]\nx", b"\xff\nx", b'{"url":1}\nx', b"OTHER", b"LATE", b"LARGE"]
)
async def test_entries_that_cannot_be_used_are_not_there(desk: Desk, entry: bytes) -> None:
    until = desk.clock.now().timestamp() + (-1 if entry == b"LATE" else 100)
    url = "https://other.test/" if entry == b"OTHER" else A
    body = b"x" * (11_000_000 if entry == b"LARGE" else 1)
    if entry.isupper():
        head = f'{{"url":"{url}","max_bytes":10485760,"is_start":false,"fresh_until":{until}}}\n'
        entry = head.encode() + body
    desk.make(with_store=True)
    desk.web.pages[A] = Fetched(Resource(b"right"), 100.0)

    async def plant(verb: str, key: str) -> None:
        if verb == "load":
            desk.store.bodies[key] = entry

    desk.store.before = plant
    assert await desk.get() == Resource(b"right")


async def test_a_store_in_trouble_costs_nothing_but_requests(desk: Desk) -> None:
    desk.store.is_down = True
    desk.make(with_store=True)
    for number in range(5):
        desk.web.pages[f"https://x.test/{number}"] = Resource(b"x")
        assert await desk.get(f"https://x.test/{number}") == Resource(b"x")
    await eventually(lambda: len(desk.observer.warnings) == 2, "both ways are given up")
    loads = [verb for verb, _ in desk.store.operations if verb == "load"]
    assert len(loads) == 3  # then it is left alone for a while
    texts = [warning.text for warning in desk.observer.warnings]
    assert any(text.startswith("not read for a while") for text in texts)
    assert any(text.startswith("not written for a while") for text in texts)


async def test_a_store_that_fails_strangely_is_told(desk: Desk) -> None:
    async def fail(verb: str, key: str) -> None:
        if verb == "save":
            raise ZeroDivisionError(key)

    desk.store.before = fail
    desk.make(with_store=True)
    desk.web.pages[A] = Resource(b"x")
    assert await desk.get() == Resource(b"x")
    await desk.downloads.close()
    assert [crash.component for crash in desk.observer.crashes] == ["download-cache"]


async def test_the_store_is_looked_after(desk: Desk) -> None:
    desk.make(with_store=True).start()
    await eventually(lambda: ("sweep", "") in desk.store.operations, "expired entries are removed")
    await desk.downloads.close()
    assert desk.store.is_closed


async def test_a_store_that_cannot_keep_up_keeps_less(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.delivery.download_store.MAX_SAVING", 1)
    go = asyncio.Event()

    async def slowly(verb: str, key: str) -> None:
        if verb == "save":
            await go.wait()

    desk.store.before = slowly
    desk.make(with_store=True)
    for number in range(3):
        desk.web.pages[f"https://x.test/{number}"] = Resource(b"x")
        await desk.get(f"https://x.test/{number}")
    go.set()
    await desk.downloads.close()
    assert len(desk.store.bodies) == 1


async def test_other_settings_are_used_from_the_next_download_on(desk: Desk) -> None:
    desk.web.before = turnstile = Turnstile()
    desk.web.pages[A] = Resource(b"old")
    under_way = asyncio.create_task(desk.get())
    await eventually(lambda: turnstile.inside == [A], "it is asked for")
    other = MemoryFetcher()
    other.pages["https://x.test/b"] = Resource(bytes(100))
    desk.downloads.reconfigure(DownloadRules(max_bytes=99), lambda: other)
    assert await desk.get("https://x.test/b") == DownloadFailure("larger than 99 octets", is_temporary=False)
    turnstile.go.set()
    assert await under_way == Resource(b"old")
    desk.downloads.reconfigure(DownloadRules(max_bytes=100))
    assert await desk.get("https://x.test/b") == Resource(bytes(100))
    assert other.asked == ["https://x.test/b"] * 2


async def test_a_fetcher_that_cannot_be_made_is_an_internal_error(desk: Desk) -> None:
    def fail() -> NoReturn:
        raise ImportError("no HTTP client")

    desk.downloads.reconfigure(DownloadRules(), fail)
    assert await desk.get() == DownloadFailure("internal error", is_temporary=True)
    assert len(desk.observer.crashes) == 1
    desk.downloads._open_fetcher = MemoryFetcher  # what was missing is there now
    assert await desk.get("https://x.test/b") == DownloadFailure("HTTP 404", is_temporary=False)


async def test_messages_for_a_slow_host_leave_room_for_others(desk: Desk) -> None:
    desk.make(max_bytes=module.MESSAGE_OCTETS)
    inside: list[str] = []
    go = asyncio.Event()

    async def stay(url: str) -> None:
        async with desk.downloads.room([file(url)]):
            inside.append(url)
            await go.wait()

    slow = [asyncio.create_task(stay(f"https://slow.test/{number}")) for number in range(20)]
    await eventually(lambda: len(inside) == module.HOST_ROOM_OCTETS // module.MESSAGE_OCTETS, "as many as may")
    other = asyncio.create_task(stay("https://quick.test/"))
    await eventually(lambda: "https://quick.test/" in inside, "another host's")
    go.set()
    await asyncio.gather(*slow, other)
    assert desk.downloads._hosts == {}
    assert desk.downloads._room._free == module.ROOM_OCTETS


async def test_answers_come_in_the_order_of_the_questions(desk: Desk) -> None:
    first_may_go = asyncio.Event()

    async def hold_the_first(url: str) -> None:
        if url.endswith("/0"):
            await first_may_go.wait()
        elif url.endswith("/9"):
            first_may_go.set()

    desk.web.before = hold_the_first
    wanted = [file(f"https://x.test/{number}") for number in range(10)]
    assert list(await desk.downloads.fetch(wanted)) == wanted
