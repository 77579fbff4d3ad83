"""Messages near the largest publish, and bodies with gzip around them (spec amqp.md 6, 7, 12)."""

from __future__ import annotations

import base64
import gzip
import json
import random
from pathlib import Path

from relayq.ports import Properties
from tests.acceptance.broker.conftest import MakeEngine
from tests.support.engine import mail
from tests.support.rabbitmq_engine import decoded

LIMIT = 6000
ONCE = "rcptto * first=1 450 4.2.0 Greylisted, try again later"
PLAIN = "From: n@shop.test\r\nSubject: x\r\n\r\n" + "A line that compresses very well.\r\n" * 400
NOISE = "From: n@shop.test\r\nSubject: x\r\n\r\n" + base64.b64encode(random.Random(7).randbytes(9000)).decode()


async def test_a_retry_too_large_for_the_broker_is_compressed_and_delivered_later(engine_on: MakeEngine) -> None:
    async with engine_on("retry-interval=1", tweaks={"broker.max_publish": LIMIT}) as engine:
        contents: list[bytes | None] = []
        await engine.sink(ONCE, on_message=lambda received: contents.append(received.content))
        await engine.send(mail("m1", mime=PLAIN))
        [retry] = await engine.results("retry", 1)
        assert retry["results"][0]["code"] == 450
        assert "mime" not in retry
        [success] = await engine.results("success", 1)
        assert [result["result"] for result in success["results"]] == ["error", "accepted"]
        assert [content is not None and content.count(b"compresses") for content in contents] == [400]


async def test_a_retry_too_large_even_then_fails_for_good_with_the_result_of_that_attempt(
    engine_on: MakeEngine,
) -> None:
    async with engine_on("retry-interval=1", tweaks={"broker.max_publish": LIMIT}) as engine:
        await engine.sink(ONCE)
        await engine.send(mail("m1", mime=NOISE))
        [failure] = await engine.results("failure", 1)
        assert [result["code"] for result in failure["results"]] == [450]
        assert "delayed" not in failure
        assert any("too large for the broker" in warning.text for warning in engine.observer.warnings)
        assert await engine.ready("outbox", "retry", "outbox.delay.1") == (0, 0, 0)


async def test_with_a_store_the_content_of_a_large_retry_waits_there(engine_on: MakeEngine, tmp_path: Path) -> None:
    options = (f"storage-address=directory://{tmp_path}",)
    async with engine_on(*options, tweaks={"broker.max_publish": LIMIT}) as engine:
        await engine.sink(ONCE)
        await engine.send(mail("m1", mime=NOISE))
        [waiting] = await engine.items("outbox.delay.600", 1)
        assert waiting.properties.content_encoding is None
        assert decoded(waiting)["key"].startswith("mta-")
        assert "mime" not in decoded(waiting)


async def test_a_store_whose_policy_is_not_to_write_does_not_help(engine_on: MakeEngine, tmp_path: Path) -> None:
    options = ("retry-interval=1", "storage-policy=none", f"storage-address=directory://{tmp_path}")
    async with engine_on(*options, tweaks={"broker.max_publish": LIMIT}) as engine:
        await engine.sink(ONCE)
        await engine.send(mail("m1", mime=NOISE))
        assert [result["code"] for result in (await engine.results("failure", 1))[0]["results"]] == [450]


async def test_results_too_large_lose_their_content_and_are_compressed_then(engine_on: MakeEngine) -> None:
    async with engine_on(tweaks={"broker.max_publish": LIMIT}) as engine:
        await engine.sink()
        await engine.send(mail("kept", mime=NOISE, keepmime=True), mail("packed", order="word " * 2000))
        found = {result["id"]: result for result in await engine.results("success", 2)}
        assert "mime" not in found["kept"]
        assert found["packed"]["order"] == "word " * 2000
        items = await engine.items("results", 2)
        encodings = {decoded(item)["id"]: item.properties.content_encoding for item in items}
        assert encodings == {"kept": None, "packed": "gzip"}


async def test_every_encoding_of_a_message_is_understood(engine_on: MakeEngine) -> None:
    async with engine_on() as engine:
        await engine.sink()
        packed = {name: gzip.compress(json.dumps(mail(name)).encode()) for name in ("gzip", "x-gzip", "unnamed")}
        await engine.send(mail("plain"))
        await engine.send(mail("utf-8"), properties=Properties(content_encoding="utf-8"))
        await engine.send(packed["gzip"], properties=Properties(content_encoding="gzip"))
        await engine.send(packed["x-gzip"], properties=Properties(content_encoding="X-GZIP"))
        await engine.send(packed["unnamed"])
        found = await engine.results("success", 5)
        assert {result["id"] for result in found} == {"plain", "utf-8", "gzip", "x-gzip", "unnamed"}


async def test_everything_published_is_compressed_when_asked_to(engine_on: MakeEngine) -> None:
    async with engine_on("rabbitmq-encoding=gzip") as engine:
        await engine.sink("rcptto later@* 450 4.2.0 Greylisted")
        await engine.send(mail("m1"), mail("m2", recipient="later@example.test"))
        for queue in ("success", "retry", "outbox.delay.600"):
            [item] = await engine.items(queue, 1)
            assert (item.properties.content_encoding, len(decoded(item)["results"])) == ("gzip", 1), queue


UNUSABLE = (b"not json", b"[]", gzip.compress(b"{}" * 100)[:30], b'{"envelope":"b@shop.test","mime":"x"}')


async def test_what_cannot_be_used_fails_once_and_never_comes_back(engine_on: MakeEngine) -> None:
    async with engine_on() as engine:
        await engine.send(*UNUSABLE)
        for failure in await engine.results("failure", len(UNUSABLE)):
            assert [(result["state"], result["result"]) for result in failure["results"]] == [("amqp", "invalid")]
        await engine.stop()
        assert await engine.ready("outbox", "failure", "results", "outbox.delay.300") == (0, 0, len(UNUSABLE), 0)
