"""Which queue gets what, in which form (spec results.md 3, 7, 8; amqp.md 6, 7; messages.md 1, 9)."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from relayq.ports import Properties, QueueRole
from tests.support.engine import DOMAIN, MIME, OUTBOX, Engine, eventually, mail
from tests.support.ports import free_port
from tests.support.scripted_server import greeting, opening, transaction

ACCEPT = [*opening(), *transaction() * 20]


async def failed(engine: Engine, body: bytes, properties: Properties | None = None) -> dict[str, Any]:
    """Publish a body that is no message; what the failure queue gets."""
    await engine.send(body, properties=properties)
    outcome = await engine.outcome()
    assert outcome.queues == {"results": 1, "failure": 1}
    assert outcome.copies["results"][0].body == outcome.copies["failure"][0].body
    assert not engine.broker.delayed(OUTBOX)
    return outcome.body("failure")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"text"', b"17", b"null", b"true", b'{"a":1,}', b"{'a':1}", b'{"a":NaN}', b'{"a":1} x', b'{"a":1',
     b"\xef\xbb\xbf[]", b'{"a":01}', b"\x00", b"{" * 5000],
)  # fmt: skip
async def test_text_that_is_no_json_object(body: bytes) -> None:
    async with Engine() as engine:
        result = await failed(engine, body)
        assert list(result) == ["invalid-body", "results"]
        assert result["invalid-body"].encode() in (body, body.removeprefix(b"\xef\xbb\xbf"))


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"a":"\xc3"}', b"\xed\xa0\x80", b"\x1f\x8b broken"])
async def test_octets_that_are_no_text(body: bytes) -> None:
    async with Engine() as engine:
        result = await failed(engine, body)
        assert list(result) == ["invalid-body", "invalid-encoding", "results"]
        assert base64.b64decode(result["invalid-body"]) == body


async def test_a_large_body_is_cut_at_a_character() -> None:
    async with Engine() as engine:
        body = b"x" + "ü".encode() * 40_000
        result = await failed(engine, body)
        assert list(result) == ["invalid-body", "invalid-truncated", "results"]
        assert result["invalid-body"] == "x" + "ü" * 32_767
        assert result["invalid-truncated"] is True


async def test_a_large_body_that_is_no_text_is_cut_before_it_is_encoded() -> None:
    async with Engine() as engine:
        result = await failed(engine, b"\xff" * 100_000)
        assert list(result) == ["invalid-body", "invalid-encoding", "invalid-truncated", "results"]
        assert base64.b64decode(result["invalid-body"]) == b"\xff" * 65_536


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP", "deflate", "br", "gzip, gzip"])
async def test_a_body_whose_encoding_cannot_be_undone(encoding: str) -> None:
    async with Engine() as engine:
        body = b'{"recipient":"a@example.test"}'
        result = await failed(engine, body, Properties(content_encoding=encoding))
        assert base64.b64decode(result["invalid-body"]) == body
        assert result["invalid-encoding"] == "base64"


async def test_a_body_that_unpacks_beyond_the_limit_is_refused_without_being_unpacked() -> None:
    async with Engine("rabbitmq-max-consume=1MB") as engine:
        body = gzip.compress(b"{" + b" " * 200_000_000, 1)
        result = await failed(engine, body, Properties(content_encoding="gzip"))
        assert result["invalid-encoding"] == "base64"


async def test_a_packed_message_is_unpacked() -> None:
    async with Engine() as engine:
        await engine.serve(ACCEPT)
        packed = gzip.compress(json.dumps(mail("m1")).encode())
        await engine.send(packed, properties=Properties(content_encoding="gzip"))
        assert (await engine.outcome("m1")).kind == "success"
        engine.may_lose = True  # the harness does not unpack


async def test_the_untouched_octets_go_to_the_queue_for_what_is_invalid() -> None:
    async with Engine("rabbitmq-invalid=invalid") as engine:
        properties = Properties(content_encoding="gzip", message_id="x1")
        await engine.send(b"no gzip", properties=properties)
        await eventually(lambda: len(engine.broker.published) == 4, "three copies")
        copy = engine.published().copies["invalid"][0]
        assert (copy.body, copy.properties, copy.is_verbatim) == (b"no gzip", properties, True)


async def test_an_unusable_object_keeps_all_but_its_mime() -> None:
    async with Engine() as engine:
        given = mail("m1", recipient="nobody", custom={"b": 1, "a": 2})
        await engine.send(given, properties=Properties(priority=3, message_id="x1", headers=b"\x01hS\0\0\0\0"))
        outcome = await engine.outcome("m1")
        assert list(outcome.body("failure")) == ["envelope", "recipient", "id", "custom", "results"]
        assert outcome.copies["failure"][0].properties.message_id == "x1"


async def test_unusable_queues_lead_to_the_configured_ones() -> None:
    async with Engine() as engine:
        await engine.send(mail("m1", queues="mine"))
        assert (await engine.outcome("m1")).queues == {"results": 1, "failure": 1}


async def test_unknown_members_leave_octet_for_octet_as_they_came() -> None:
    async with Engine() as engine:
        await engine.serve(ACCEPT)
        custom = b'{"x":[12345678901234567890, 1.10,1e400 ,"\\ud83d\\u0041\\/"],"a":{ "b" :null}}'
        head = b'{"envelope":"b@shop.test","big":12345678901234567890,"recipient":"anna@example.test","custom":'
        mime = json.dumps(MIME).encode()
        await engine.send(head + custom + b',"mime":' + mime + b', "id" : "m1" , "keepmime": "yes"}')
        body = (await engine.outcome("m1")).copies["success"][0].body
        expected = head + custom + b',"mime":' + mime + b',"id":"m1","keepmime":"yes","results":['
        assert body.startswith(expected)


async def test_queues_of_the_message_replace_the_configured_ones() -> None:
    async with Engine() as engine:
        await engine.serve(ACCEPT)
        await engine.send(mail("m1", queues={"results": "mine", "success": "mine-too"}))
        assert (await engine.outcome("m1")).queues == {"mine": 1, "mine-too": 1}


async def test_queues_of_the_message_override_the_configured_ones_one_by_one() -> None:
    async with Engine("rabbitmq-queues-override=merge") as engine:
        await engine.serve(ACCEPT)
        await engine.send(mail("m1", queues={"success": "mine"}))
        assert (await engine.outcome("m1")).queues == {"results": 1, "mine": 1}


async def test_one_name_for_two_roles_gets_one_copy() -> None:
    async with Engine() as engine:
        await engine.serve(ACCEPT)
        await engine.send(mail("m1", queues={"results": "mine", "success": "mine"}))
        assert (await engine.outcome("m1")).queues == {"mine": 1}


async def test_switched_off_queues_get_nothing() -> None:
    async with Engine("rabbitmq-results=", "rabbitmq-success=", "rabbitmq-retry=") as engine:
        engine.may_lose = True
        engine.route("busy.test", (10, "mx.busy.test", "127.0.0.2"))
        await engine.serve(ACCEPT)
        await engine.serve(greeting("421 busy"), address="127.0.0.2")
        await engine.send(mail("m1"), mail("m2", recipient="anna@busy.test"))
        await eventually(lambda: len(engine.observer.attempts) == 2, "both are done")
        assert engine.published("m1").queues == {}
        assert engine.published("m2").queues == {OUTBOX: 1}
        assert not engine.broker.unsettled


@pytest.mark.parametrize("name", ["outbox", "outbox.delay.600", "outbox.park.domain.x", "outbox.poison", "amq.direct"])
async def test_a_result_is_never_published_where_it_would_be_mailed_again(name: str) -> None:
    async with Engine() as engine:
        engine.may_lose = True
        await engine.serve(ACCEPT)
        for number in range(3):
            await engine.send(mail(f"m{number}", queues={"results": name, "success": "mine"}))
            assert (await engine.outcome(f"m{number}")).queues == {"mine": 1}
        assert len(engine.observer.warnings) == 1
        assert name in engine.observer.warnings[0].text


async def test_names_that_only_resemble_reserved_ones_are_used() -> None:
    async with Engine() as engine:
        await engine.serve(ACCEPT)
        names = {"results": "outbox2", "success": "outbox.delayed"}
        await engine.send(mail("m1", queues=names))
        assert (await engine.outcome("m1")).queues == {"outbox2": 1, "outbox.delayed": 1}


async def test_warnings_about_names_do_not_grow_without_bound() -> None:
    async with Engine() as engine:
        engine.may_lose = True
        engine.resolver.set_mx(DOMAIN, [(0, "")])
        await engine.send(*(mail(f"m{n}", queues={"failure": f"amq.{n}"}) for n in range(1500)))
        await eventually(lambda: len(engine.observer.attempts) == 1500, "all are done")
        assert len(engine.observer.warnings) == 1000


async def test_properties_travel_and_the_member_priority_wins() -> None:
    async with Engine() as engine:
        engine.route("busy.test", (10, "mx.busy.test", "127.0.0.2"))
        await engine.serve(ACCEPT)
        await engine.serve(greeting("421 busy"), address="127.0.0.2")
        properties = Properties(
            priority=2, correlation_id="c", reply_to="r", message_id="i", type="t", app_id="a", timestamp=7,
            headers=b"\x01hS\0\0\0\0", persistent=False,
        )  # fmt: skip
        await engine.send(mail("m1"), mail("m2", priority=9, recipient="anna@busy.test"), properties=properties)
        done, again = await engine.outcome("m1"), await engine.outcome("m2")
        for copy in done.copies["results"] + done.copies["success"]:
            assert copy.properties == properties
            assert copy.role is QueueRole.RESULT
        for copy in again.copies[OUTBOX] + again.copies["retry"]:
            assert copy.properties.priority == 9
            assert copy.properties.message_id == "i"
        assert again.copies[OUTBOX][0].role is QueueRole.OUTBOX


async def test_a_result_queue_that_cannot_be_reached_does_not_stop_the_outbox() -> None:
    async with Engine() as engine:
        engine.may_lose = True
        engine.broker.unroutable.add("results")
        await engine.serve(ACCEPT)
        await engine.send(mail("m1"), mail("m2"))
        assert (await engine.outcome("m1")).queues == {"success": 1}
        assert (await engine.outcome("m2")).queues == {"success": 1}
        assert any('"state":"message"' in warning.text for warning in engine.observer.warnings)


async def test_keepmime_keeps_the_content_in_the_retry_copy_too() -> None:
    async with Engine() as engine:
        await engine.serve(greeting("421 busy"))
        await engine.send(mail("m1", keepmime=True))
        outcome = await engine.outcome("m1")
        assert outcome.copies["retry"][0].body == outcome.copies[OUTBOX][0].body
        assert outcome.body("retry")["mime"] == MIME


async def test_retries_go_on_with_the_results_so_far() -> None:
    async with Engine("retry-interval=60,120") as engine:
        await engine.serve(greeting("421 busy"))
        before = [{"state": "dns", "result": "timeout", "time": "2031-03-01 09:01:02", "own": 1}]
        await engine.send(mail("m1", results=before))
        outcome = await engine.outcome("m1", attempts=2)
        assert outcome.attempts[0] == before[0]
        assert outcome.attempts[1]["state"] == "intro"


@pytest.mark.parametrize("setting", ["strip", "keep"])
async def test_secrets_go_into_results_only_where_that_is_wanted_and_always_back_to_the_outbox(setting: str) -> None:
    key = {"domain": "shop.test", "selector": "s", "key": "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="}
    async with Engine(f"result-secrets={setting}") as engine:
        refusing = {"hostname": "127.0.0.1", "port": free_port(), "username": "u", "password": "hunter2"}
        message = mail("m1", dkim=[key], smarthost=refusing, more=1.5)
        await engine.send(message, mail("m2", dkim=[key], smarthost=refusing, maxattempts="none"))
        retried, unusable = await engine.outcome("m1"), await engine.outcome("m2")
        assert (retried.kind, unusable.cell) == ("retry", ("amqp", "invalid"))
        assert {name: retried.body(OUTBOX)[name] for name in message} == message
        for shown in (retried.body("retry"), unusable.body("results"), unusable.body("failure")):
            is_kept = setting == "keep"
            assert [sorted(one) for one in shown["dkim"]] == [
                ["domain", "key", "selector"] if is_kept else ["domain", "selector"]
            ]
            assert ("password" in shown["smarthost"]) == is_kept
            assert shown["smarthost"]["username"] == "u"
