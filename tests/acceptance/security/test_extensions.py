"""What is said to a server that announces an extension, and what to one that does not (spec delivery.md 12)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engine import DOMAIN, Engine, mail
from tests.support.scripted_server import (
    Expect,
    RecordingSink,
    Send,
    data,
    ehlo,
    greeting,
    mailfrom,
    message,
    opening,
    rcptto,
    transaction,
)

EVERYTHING = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
WISHES = {"notify": "FAILURE,DELAY", "ret": "hdrs", "envid": "order+42", "orcpt": "anna+x=y@example.org"}


async def commands(*extensions: str, options: tuple[str, ...] = (), **members: Any) -> tuple[bytes, bytes]:
    """MAIL and RCPT as a server with these extensions gets them."""
    async with Engine(*options) as engine:
        server = await engine.serve([*opening(*extensions), *transaction()])
        await engine.send(mail("m1", **members))
        assert (await engine.outcome("m1")).kind == "success"
        received = bytes(server.connections[0].received)
    _, mail_line, rcpt_line, *_ = received.split(b"\r\n")
    return mail_line, rcpt_line


MIME_8BIT = "Subject: Grüße\r\n\r\nJürgen\r\n"


async def test_a_server_without_extensions_gets_no_parameter() -> None:
    assert await commands(dsn=WISHES) == (b"MAIL FROM:<b@shop.test>", b"RCPT TO:<anna@example.test>")


async def test_size_is_exact() -> None:
    mime = "Subject: x\n\n.dot\nend"  # normalised to 22 octets; the stuffed dot does not count
    mail_line, _ = await commands("SIZE", mime=mime)
    assert mail_line == b"MAIL FROM:<b@shop.test> SIZE=%d" % len(b"Subject: x\r\n\r\n.dot\r\nend\r\n")


async def test_a_message_that_is_too_big_is_refused_by_the_server_before_its_content() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening("SIZE 100"), *mailfrom("552 5.3.4 Too big"), Expect(rb"RSET\r\n")])
        await engine.send(mail("m1", mime="Subject: x\r\n\r\n" + "y" * 200 + "\r\n"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell, outcome.last["code"]) == ("failure", ("mailfrom", "error"), 552)
        assert b"SIZE=216" in server.connections[0].received
        assert b"yyy" not in server.connections[0].received


async def test_8bitmime_is_asked_for_when_needed() -> None:
    plain, _ = await commands("8BITMIME")
    eight, _ = await commands("8BITMIME", mime=MIME_8BIT)
    assert plain == b"MAIL FROM:<b@shop.test>"
    assert b" BODY=8BITMIME" in eight


async def test_an_international_address_asks_for_smtputf8() -> None:
    mail_line, rcpt_line = await commands("SMTPUTF8", "8BITMIME", recipient=f"jürgen@{DOMAIN}")
    assert b" BODY=8BITMIME SMTPUTF8" in mail_line
    assert rcpt_line == f"RCPT TO:<jürgen@{DOMAIN}>".encode()


async def test_an_international_domain_needs_no_extension() -> None:
    async with Engine() as engine:
        engine.route("xn--bcher-kva.test", (10, "mx.example.test", "127.0.0.1"))
        server = await engine.serve([*opening(), *transaction()])
        await engine.send(mail("m1", recipient="info@bücher.test"))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "success"
        assert b"RCPT TO:<info@xn--bcher-kva.test>\r\n" in server.connections[0].received
        assert outcome.body("success")["recipient"] == "info@bücher.test"


async def test_the_next_host_may_take_international_addresses() -> None:
    async with Engine() as engine:
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        await engine.serve([*opening("8BITMIME")])
        await engine.serve([*opening("8BITMIME", "SMTPUTF8"), *transaction()], address="127.0.0.2")
        await engine.send(mail("m1", recipient=f"jürgen@{DOMAIN}"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.last["to"]) == ("success", "127.0.0.2")


async def test_wishes_about_reports_are_passed_on() -> None:
    mail_line, rcpt_line = await commands("DSN", dsn=WISHES)
    assert mail_line == b"MAIL FROM:<b@shop.test> RET=HDRS ENVID=order+2B42"
    assert rcpt_line == (b"RCPT TO:<anna@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;anna+2Bx+3Dy@example.org")


@pytest.mark.parametrize(
    ("options", "dsn", "mail_parameters", "rcpt_parameters"),
    [
        ((), None, b"", b""),
        ((), {}, b"", b" ORCPT=rfc822;anna@example.test"),
        (("dsn-notify=FAILURE",), None, b"", b" NOTIFY=FAILURE"),
        (("dsn-notify=NEVER",), None, b"", b" NOTIFY=NEVER"),
        (("dsn-notify=FAILURE",), {"notify": "NEVER"}, b"", b" NOTIFY=NEVER ORCPT=rfc822;anna@example.test"),
        (("dsn-notify=FAILURE",), {"ret": "FULL"}, b" RET=FULL", b" NOTIFY=FAILURE ORCPT=rfc822;anna@example.test"),
        (("dsn-ret=HDRS",), None, b" RET=HDRS", b""),
        (("dsn-ret=FULL", "dsn-notify=SUCCESS,DELAY"), None, b" RET=FULL", b" NOTIFY=SUCCESS,DELAY"),
        (("dsn-ret=FULL",), {"ret": "HDRS"}, b" RET=HDRS", b" ORCPT=rfc822;anna@example.test"),
    ],
)
async def test_what_the_configuration_adds_to_the_wishes(
    options: tuple[str, ...], dsn: dict[str, str] | None, mail_parameters: bytes, rcpt_parameters: bytes
) -> None:
    mail_line, rcpt_line = await commands("DSN", options=options, dsn=dsn)
    assert mail_line == b"MAIL FROM:<b@shop.test>" + mail_parameters
    assert rcpt_line == b"RCPT TO:<anna@example.test>" + rcpt_parameters


async def test_parameters_a_server_chokes_on_are_left_out_the_second_time() -> None:
    async with Engine() as engine:
        server = await engine.serve([
            *opening("SIZE", "DSN"), *mailfrom("501 5.5.4 What?"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n"),
            *transaction(),
        ])  # fmt: skip
        await engine.send(mail("m1", dsn=WISHES))

        assert (await engine.outcome("m1")).kind == "success"
        assert b"RSET\r\nMAIL FROM:<b@shop.test>\r\n" in server.connections[0].received


async def test_commands_go_out_in_one_write_where_the_server_takes_them_so() -> None:
    async with Engine() as engine:
        group = rb"MAIL FROM:<b@shop\.test>\r\nRCPT TO:<anna@example\.test>\r\nDATA\r\n"
        await engine.serve([
            *opening("PIPELINING"), Expect(group), Send(b"250 ok\r\n250 ok\r\n354 go\r\n"), *message(),
        ])  # fmt: skip
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"


async def test_without_pipelining_one_command_at_a_time() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), Expect(rb"MAIL FROM:<b@shop\.test>\r\n"), *mail_is_alone()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert server.count == 1


def mail_is_alone() -> list[Any]:
    """Each command has to be answered before the next one is there."""
    return [Send(b"250 ok\r\n"), *rcptto(), *data(), *message()]


@pytest.mark.parametrize(
    ("setting", "extensions", "chunks"),
    [("auto", EVERYTHING, True), ("never", EVERYTHING, False), ("auto", EVERYTHING[:-1], False)],
)
async def test_content_in_chunks(setting: str, extensions: tuple[str, ...], chunks: bool) -> None:
    content = b"Subject: x\r\n\r\n.leading dot\r\n.\r\nend\r\n"
    async with Engine(f"smtp-bdat={setting}") as engine:
        taking = (
            [Expect(rb"BDAT %d LAST\r\n" % len(content) + content.replace(b".", rb"\.")), Send(b"250 2.0.0 taken\r\n")]
            if chunks
            else [*data(), *message()]
        )
        server = await engine.serve([*greeting(), *ehlo(*extensions), *mailfrom(), *rcptto(), *taking])
        await engine.send(mail("m1", mime=content.decode()))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("success", ("message", "accepted"))
        assert (b"BDAT" in server.connections[0].received) is chunks
        if chunks:
            assert server.connections[0].received.endswith((content, content + b"QUIT\r\n"))


async def test_a_refused_chunk_is_the_result_of_the_message() -> None:
    async with Engine("smtp-bdat=auto") as engine:
        await engine.serve(
            [*opening("CHUNKING"), *mailfrom(), *rcptto(), Expect(rb"LAST\r\n"), Send(b"554 5.6.0 No\r\n")]
        )
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell, outcome.last["code"]) == ("failure", ("message", "error"), 554)


async def test_all_of_it_at_once_with_a_server_that_works() -> None:
    async with RecordingSink() as sink, Engine() as engine:
        relay = {"hostname": "127.0.0.1", "port": sink.port}
        await engine.send(mail("m1", mime=MIME_8BIT, recipient=f"jürgen@{DOMAIN}", dsn=WISHES, smarthost=relay))
        assert (await engine.outcome("m1")).kind == "success"
        (received,) = sink.messages

    assert received.content == MIME_8BIT.encode()
    assert received.sender_parameters == {
        "SIZE": str(len(MIME_8BIT.encode())), "BODY": "8BITMIME", "SMTPUTF8": None,
        "RET": "HDRS", "ENVID": "order+2B42",
    }  # fmt: skip
    assert received.recipient_parameters == ({"NOTIFY": "FAILURE,DELAY", "ORCPT": "rfc822;anna+2Bx+3Dy@example.org"},)
