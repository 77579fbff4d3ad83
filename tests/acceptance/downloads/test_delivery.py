"""Messages that need something from the web, delivered by a worker (spec responsive.md 10)."""

from __future__ import annotations

import asyncio
import email.message
import email.policy
import json
from datetime import timedelta
from typing import Any

import pytest

from relayq.adapters.memory import MemoryStore, ResourceFetched
from relayq.delivery import downloads
from relayq.trial import ReceivedMessage
from tests.support.engine import OUTBOX, Engine, eventually, mail
from tests.support.proxy_server import ProxyServer
from tests.support.scripted_server import Expect, Send, Step, mailfrom, opening, rcptto, transaction
from tests.support.web_server import Page, Script, WebServer, endless, moved, silence

GIF = (
    b"GIF89a\x90\x01\x2c\x01\x80\0\0"
    + bytes(6)
    + b"!\xf9\x04\x01"
    + bytes(4)
    + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
)
"""400 by 300."""
FEED = (
    b'<?xml version="1.0"?><rss version="2.0"><channel><title>News</title><item><title>First</title>'
    b"<link>https://news.test/1</link><description>It &lt;b&gt;began&lt;/b&gt;.</description></item></channel></rss>"
)
RESET: list[Step] = [Expect(rb"RSET\r\n"), Send(b"250 2.0.0 fine\r\n")]
FRESH = {"Cache-Control": "max-age=600"}


def document(**members: Any) -> dict[str, Any]:
    return {"from": "shop@shop.test", "to": "anna@example.test", "subject": "Hi", **members}


def with_file(url: str, **more: Any) -> dict[str, Any]:
    return document(text="See attached.", attachments=[{"url": url}], **more)


class Post:
    """What arrived."""

    def __init__(self) -> None:
        self.received: list[ReceivedMessage] = []

    def messages(self) -> list[email.message.EmailMessage]:
        return [email.message_from_bytes(one.content or b"", policy=email.policy.default) for one in self.received]


def engine_for(web: WebServer, *options: str, **how: Any) -> Engine:
    engine = Engine(f"download-whitelist=127.0.0.1:{web.port}", *options, **how)
    engine.resolver.set_addresses("web.test", web.host)
    return engine


async def test_an_attachment_a_picture_and_a_feed_are_fetched_and_delivered() -> None:
    post = Post()
    async with WebServer() as web, engine_for(web) as engine:
        web.pages |= {
            "/a.pdf": Page(b"%PDF-1.7 file", headers={"Content-Type": "application/pdf", **FRESH}),
            "/a.gif": Page(GIF, headers={"Content-Type": "image/gif", **FRESH}),
            "/feed": Page(FEED, headers={"Content-Type": "application/rss+xml", **FRESH}),
            "/blocks": Page(json.dumps({"type": "text", "content": "Imported for {$name}"}).encode(), headers=FRESH),
        }
        await engine.sink(on_message=post.received.append)
        blocks = [
            {"type": "image", "src": web.url("/a.gif", "web.test"), "alt": "Lamp"},
            {"type": "feed", "url": web.url("/feed", "web.test")},
            {"type": "import", "url": web.url("/blocks", "web.test")},
        ]
        attachments = [{"url": web.url("/a.pdf", "web.test")}]
        mime = document(content={"blocks": blocks}, attachments=attachments, images="embed")
        await engine.send(mail("m1", mime=mime, data={"name": "Ann"}))
        assert (await engine.outcome("m1")).kind == "success"
        assert sorted(web.paths) == ["/a.gif", "/a.pdf", "/blocks", "/feed"]
    sent = post.messages()[0]
    parts = {part.get_content_type(): part for part in sent.walk()}
    html = parts["text/html"].get_content()
    assert 'width="400"' in html  # the picture's own width
    assert "First" in html
    assert "It <b>began</b>." in html
    assert "Imported for Ann" in html
    assert parts["image/gif"].get_content() == GIF
    assert parts["image/gif"]["Content-ID"].strip("<>") in html
    assert parts["application/pdf"].get_content() == b"%PDF-1.7 file"
    assert parts["application/pdf"].get_filename() == "a.pdf"


async def test_a_thousand_messages_with_the_same_picture_ask_for_it_once() -> None:
    count = 1000
    async with WebServer() as web, engine_for(web) as engine:
        web.pages["/a.gif"] = Page(GIF)  # without a word about how long it may be kept
        sink = await engine.sink()
        blocks = [{"type": "image", "src": web.url("/a.gif", "web.test")}]
        await engine.send(*(mail(f"m{n}", mime=document(content={"blocks": blocks})) for n in range(count)))
        await eventually(lambda: sink.counters.messages >= count, "all arrive", 60.0)
        await eventually(lambda: engine.published().queues["success"] == count, "all are reported", 30.0)
        assert web.paths == ["/a.gif"]
        figures = engine.worker.figures()
        reuses = [value for name, value in figures.items() if name.startswith("relayq_download_reuses_total")]
        assert figures["relayq_download_requests_total"] == 1
        assert sum(reuses) >= count - 1


@pytest.mark.parametrize(
    ("page", "result"),
    [
        (Page(b"", 404), ("responsive", "error")),
        (moved("http://169.254.169.254/latest/"), ("responsive", "error")),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(100_000)), ("responsive", "error")),
        (Page(b"", 503), ("responsive", "timeout")),
        (silence, ("responsive", "timeout")),
    ],
    ids=["404", "internal", "endless", "503", "silence"],
)
async def test_downloads_that_fail(
    page: Page | Script, result: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECOND_TRY_SECONDS", 0.0)
    post = Post()
    async with WebServer() as web, engine_for(web, "download-timeout=0.2", "download-maxsize=1M") as engine:
        web.pages["/a"] = page
        await engine.sink(on_message=post.received.append)
        mime = with_file(web.url("/a", "web.test"))
        await engine.send(mail("m1", mime=mime), mail("m2", mime=mime, force=True))
        outcome = await engine.outcome("m1")
        assert outcome.cell == result
        assert set(outcome.last) == {"state", "result", "time"}
        assert outcome.kind == ("retry" if result[1] == "timeout" else "failure")
        assert (await engine.outcome("m2")).kind == "success"
        assert len(web.paths) == (2 if result[1] == "timeout" else 1)
        error = next(done.error for done in engine.observer.attempts if done.error is not None)
        assert "mime.attachments[0]" in error.reason
    assert [part.get_content_type() for part in post.messages()[0].walk()] == ["text/plain"]


async def test_a_server_that_comes_back_in_time_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SECOND_TRY_SECONDS", 0.0)
    async with WebServer() as web, engine_for(web) as engine:
        web.pages["/a"] = [Page(b"", 503), Page(b"x")]
        await engine.sink()
        await engine.send(mail("m1", mime=with_file(web.url("/a", "web.test"))))
        assert (await engine.outcome("m1")).kind == "success"


async def test_what_comes_from_the_web_is_told_once_without_credentials() -> None:
    async with WebServer() as web, engine_for(web) as engine:
        web.pages |= {"/a?x=u:p@y": Page(b"x", headers=FRESH), "/gone": Page(b"", 404)}
        await engine.sink()
        secret = with_file(web.url("/a?x=u:p@y", "user:hunter2@web.test"))
        await engine.send(mail("m1", mime=secret), mail("m2", mime=with_file(web.url("/gone", "web.test"))))
        for ident in ("m1", "m2"):
            await engine.outcome(ident)
        await engine.send(mail("m3", mime=secret))
        assert (await engine.outcome("m3")).kind == "success"
        assert engine.observer.all_of(ResourceFetched) == [ResourceFetched(web.url("/a?x=u:p@y", "web.test"))]


@pytest.mark.parametrize("setting", ["proxy-server", "download-proxy"])
async def test_downloads_go_through_the_proxy(setting: str) -> None:
    post = Post()
    async with (
        WebServer() as web,
        ProxyServer(login=("user", "pw")) as proxy,
        engine_for(web, f"{setting}=http://user:pw@127.0.0.1:{proxy.port}") as engine,
    ):
        web.pages["/a"] = Page(b"the file", headers={"Content-Type": "text/x-a"})
        await engine.sink(on_message=post.received.append)
        await engine.send(mail("m1", mime=with_file(web.url("/a", "web.test"))))
        assert (await engine.outcome("m1")).kind == "success"
        assert proxy.asked == [("127.0.0.1", web.port)]
        await engine.send(mail("m2", mime=with_file("http://169.254.169.254/latest/")))
        assert (await engine.outcome("m2")).cell == ("responsive", "error")
        assert len(proxy.asked) == 1
    assert [part.get_content_type() for part in post.messages()[0].walk()][-1] == "text/x-a"


async def test_a_proxy_that_is_down_costs_no_message_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SECOND_TRY_SECONDS", 0.0)
    proxy = ProxyServer()  # never entered: nobody listens
    async with WebServer() as web, engine_for(web, f"download-proxy=socks://127.0.0.1:{proxy.port}") as engine:
        await engine.send(mail("m1", mime=with_file(web.url("/a", "web.test"))))
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("retry", ("responsive", "timeout"))
        assert web.asked == []


async def test_addresses_inside_are_refused_by_default() -> None:
    async with WebServer() as web, Engine() as engine:
        engine.resolver.set_addresses("web.test", web.host)
        await engine.sink()
        await engine.send(
            mail("m1", mime=with_file(web.url("/a", "web.test"))), mail("m2", mime=with_file(web.url("/")))
        )
        for ident in ("m1", "m2"):
            assert (await engine.outcome(ident)).cell == ("responsive", "error")
        assert web.asked == []


async def test_a_slow_download_holds_up_nobody_else_and_no_connection() -> None:
    go_on = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()

    async with WebServer() as web, engine_for(web) as engine:
        web.pages["/a"] = slowly
        sink = await engine.sink()
        await engine.send(mail("slow", mime=with_file(web.url("/a", "web.test"))))
        await eventually(lambda: web.busy == 1, "the file is asked for")
        assert sink.counters.connections == 0
        await engine.send(*(mail(f"m{n}") for n in range(20)))
        for n in range(20):
            assert (await engine.outcome(f"m{n}")).kind == "success"
        assert not engine.published("slow").copies
        go_on.set()
        assert (await engine.outcome("slow")).kind == "success"


async def test_a_message_waits_for_a_download_no_longer_than_it_may_live() -> None:
    async with WebServer() as web, engine_for(web) as engine:
        web.pages["/a"] = silence
        deadline = (engine.clock.now() + timedelta(seconds=2)).strftime("%Y-%m-%d %H:%M:%S")
        await engine.send(mail("m1", mime=with_file(web.url("/a", "web.test")), maxdelivertime=deadline))
        assert (await engine.outcome("m1")).cell == ("amqp", "timeout")


async def test_stopping_while_something_is_downloaded_loses_nothing() -> None:
    async with WebServer() as web, engine_for(web) as engine:
        web.pages["/a"] = silence
        await engine.send(mail("m1", mime=with_file(web.url("/a", "web.test"))))
        await eventually(lambda: web.busy == 1, "the file is asked for")
        await engine.stop()
        assert len(engine.broker.ready(OUTBOX)) == 1


async def test_stored_content_that_needs_downloads_keeps_no_peer_waiting() -> None:
    store = MemoryStore()
    async with WebServer() as web, engine_for(web, store=store) as engine:
        web.pages["/a"] = Page(b"the file")
        store.bodies["k1"] = json.dumps(with_file(web.url("/a", "web.test"))).encode()
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), *RESET, *transaction()])
        await engine.send(mail("m1", mime=None, key="k1"))
        assert (await engine.outcome("m1")).kind == "success"
        assert web.paths == ["/a"]
        assert b"dGhlIGZpbGU=" in server.connections[0].received


async def test_downloads_are_kept_in_a_store_for_other_workers(tmp_path: Any) -> None:
    options = (f"download-cache=dir://{tmp_path}/cache",)
    async with WebServer() as web:
        web.pages["/a"] = Page(b"the file", headers={"Content-Type": "text/x-a", **FRESH})
        for number in range(2):
            post = Post()
            async with engine_for(web, *options) as engine:
                await engine.sink(on_message=post.received.append)
                await engine.send(mail("m1", mime=with_file(web.url("/a", "web.test"))))
                assert (await engine.outcome("m1")).kind == "success"
            assert [part.get_content_type() for part in post.messages()[0].walk()][-1] == "text/x-a", number
        assert web.paths == ["/a"]
