"""MIME becomes JSON messages as sendmail would send them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from relayq.cli.mime_input import UnusableMailError, compose_messages, split_header
from relayq.model.message_json import ParseRules, decode_members, parse_message
from tests.unit.cli.test_inject import an_injection


def compose(mime: bytes, **changes: object) -> list[dict[str, Any]]:
    injected = compose_messages(mime, an_injection(**changes))
    for body in injected.bodies:
        parse_message(decode_members(body), ParseRules())  # whatever comes out is usable
    return [json.loads(body) for body in injected.bodies]


PLAIN = b"Date: x\nMessage-ID: <1@x.test>\nFrom: Anna <anna@b.test>\nTo: carl@d.test\nSubject: hi\n\nbody\n.\n..\n"


def test_one_message_per_recipient_with_crlf() -> None:
    (message,) = compose(PLAIN)
    assert message["recipient"] == "carl@d.test"
    assert message["envelope"] == "anna@b.test"
    assert message["mime"] == PLAIN.decode().replace("\n", "\r\n")


def test_crlf_input_stays_and_mixed_becomes_crlf() -> None:
    assert compose(PLAIN.replace(b"\n", b"\r\n"))[0]["mime"] == PLAIN.decode().replace("\n", "\r\n")
    assert compose(b"To: a@b.test\r\n\nx\r\ny\n")[0]["mime"].endswith("\r\n\r\nx\r\ny\r\n")


def test_what_is_added_to_the_json() -> None:
    (message,) = compose(PLAIN, server_id="east")
    assert list(message) == ["envelope", "recipient", "mime", "hostname", "received", "message-id", "cli"]
    assert message["hostname"] == "host.example"
    assert message["received"] == "2031-03-01 09:00:00"
    assert re.fullmatch(r"east-[A-Z2-7]{16}", message["message-id"])
    assert message["cli"] == {"command": "relayq inject", "arguments": ["-t"], "user": "carl"}


def test_missing_fields_are_added_behind_the_header() -> None:
    mime = compose(b"To: a@b.test\nSubject: x\n\nhi")[0]["mime"]
    head, _, body = mime.partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[:2] == ["To: a@b.test", "Subject: x"]
    assert lines[2] == "Date: Sat, 01 Mar 2031 09:00:00 +0000"
    assert re.fullmatch(r"Message-ID: <[A-Z2-7]{16}@host\.example>", lines[3])
    assert lines[4:] == ["From: carl@host.example"]
    assert body == "hi"


@pytest.mark.parametrize(
    ("header", "envelope", "sender"),
    [
        (b"From: a@b.test\nSender: s@b.test\nReturn-Path: <r@b.test>\nX-MQ-Envelope: e@b.test", None, "e@b.test"),
        (b"From: a@b.test\nSender: s@b.test\nReturn-Path: <r@b.test>", None, "r@b.test"),
        (b"Sender: s@b.test\nFrom: a@b.test", None, "a@b.test"),
        (b"From: broken, Anna <a@b.test>", None, "a@b.test"),
        (b"From: broken\nSender: s@b.test", None, "s@b.test"),
        (b"X-Mq-Envelope: broken\nFrom: a@b.test", None, "a@b.test"),
        (b"X-Other: 1", None, "carl@host.example"),
        (b"From: a@b.test\nX-MQ-Envelope: e@b.test", "f@b.test", "f@b.test"),
        (b"From: a@b.test", "<f@b.test>", "f@b.test"),
        (b"From: a@b.test", "", ""),
        (b"From: a@b.test", "<>", ""),
        (b"From: a@b.test\nReturn-Path: <>", None, ""),
        (b"From: a@b.test\nX-MQ-Envelope: <>", None, ""),
    ],
)
def test_sender(header: bytes, envelope: str | None, sender: str) -> None:
    assert compose(header + b"\nTo: x@y.test\n\n", envelope=envelope)[0]["envelope"] == sender


def test_null_sender_does_not_become_a_from_header() -> None:
    assert "From: carl@host.example\r\n" in compose(b"To: x@y.test\n\n", envelope="<>")[0]["mime"]


def test_recipients_are_given_and_extracted_without_repetition() -> None:
    mime = (
        b'To: "Berg, Carl" <carl@d.test>, group: one@e.test, two@e.test;\n'
        b"Cc: CARL@d.test,\n\tcarl@D.TEST\nBcc: secret@f.test\nTo: undisclosed-recipients:;\nFrom: a@b.test\n\n"
    )
    found = [message["recipient"] for message in compose(mime, recipients=("first@g.test", "one@e.test"))]
    assert found == ["first@g.test", "one@e.test", "carl@d.test", "two@e.test", "CARL@d.test", "secret@f.test"]
    assert [each["recipient"] for each in compose(mime, recipients=("a@b.test",), extract=False)] == ["a@b.test"]


def test_bcc_goes_when_it_was_read() -> None:
    mime = b"To: a@b.test\nBcc: c@d.test,\n e@f.test\nSubject: x\n\nBcc: stays\n"
    for message in compose(mime):
        assert "c@d.test" not in message["mime"]
        assert "e@f.test" not in message["mime"]
        assert message["mime"].endswith("\r\n\r\nBcc: stays\r\n")
    assert "c@d.test" in compose(mime, extract=False, recipients=("a@b.test",))[0]["mime"]


@pytest.mark.parametrize("odd", ["undisclosed-recipients:;", "c@d.test,", ",", "(comment) c@d.test", "Group: ;"])
def test_an_odd_header_does_not_hide_the_others(odd: str) -> None:
    found = compose(f"To: {odd}\nCc: a@b.test\n\n".encode())
    assert found[-1]["recipient"] == "a@b.test"
    assert len(found) == 1 + ("c@d.test" in odd)


@pytest.mark.parametrize(
    ("mime", "changes", "complaint"),
    [
        (b"Subject: x\n\n", {}, "there is no recipient"),
        (b"To: a@b.test\n\n", {"extract": False}, "name one with --recipient"),
        (b"To: undisclosed-recipients:;\n\n", {}, "there is no recipient"),
        (b"To: nobody\n\n", {}, "'nobody' is not usable"),
        (b"To: a@b.test\n\n", {"recipients": ("a b@c.test",)}, "is not usable"),
        (b"To: a@b.test\n\n", {"envelope": "x\r\nRCPT"}, "sender in --envelope"),
        (b"To: a@b.test\n\ncaf\xe9\n", {}, "not UTF-8"),
        (b"To: caf\xe9@b.test\n\n", {}, "header to is not UTF-8"),
        (b"", {}, "there is no recipient"),
    ],
)
def test_unusable_input(mime: bytes, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(UnusableMailError, match=complaint):
        compose(mime, **changes)


def test_a_recipient_cannot_inject_a_line() -> None:
    with pytest.raises(UnusableMailError):
        compose(b"To: x@y.test\n\n", recipients=("a@b.test\r\nDATA",))


@pytest.mark.parametrize(
    ("mime", "names", "body"),
    [
        (b"A: 1\nB: 2\n 3\n\nx\n", ["a", "b"], b"x\n"),
        (b"A: 1\nno field\nB: 2\n", ["a"], b"no field\nB: 2\n"),
        (b"From carl Sat Mar  1\nA: 1\n\nx", ["a"], b"x"),
        (b"\nx\n", [], b"x\n"),
        (b" continued\nA: 1\n", [], b" continued\nA: 1\n"),
        (b"A: 1", ["a"], b""),
        (b"A : 1\n\n", ["a"], b""),
        (b"From x", [], b""),
        (b": x\n", [], b": x\n"),
    ],
)
def test_header_and_body(mime: bytes, names: list[str], body: bytes) -> None:
    header, rest = split_header(mime)
    assert [field.name for field in header] == names
    assert rest == body


def test_mq_headers_leave_the_header_and_steer_the_message() -> None:
    injected = compose_messages(
        b"To: a@b.test\nX-MQ-Tag: spring\nx-mq-maxattempts: 3\nX-MQ-Key: abc\nx-mq-priority: high\n"
        b"x-mq-order: \xff\nx-mq-long: one\n two\n\nx\n",
        an_injection(),
    )
    message = json.loads(injected.bodies[0])
    assert "x-mq" not in message["mime"].lower()
    assert message["tags"] == ["spring"]
    assert message["maxattempts"] == 3
    assert message["long"] == "one two"
    assert "key" not in message
    assert "priority" not in message
    assert [warning.split()[1] for warning in injected.warnings] == ["x-mq-key", "x-mq-priority", "x-mq-order"]


def test_mq_headers_cannot_replace_what_injection_says() -> None:
    message = compose(
        b"To: a@b.test\nX-MQ-Hostname: evil\nX-MQ-CLI: evil\nX-MQ-Mime: evil\nX-MQ-Recipient: e@f.test\n\n"
    )[0]
    assert message["hostname"] == "host.example"
    assert message["cli"]["user"] == "carl"
    assert message["recipient"] == "a@b.test"
    assert "evil" not in message["mime"]
