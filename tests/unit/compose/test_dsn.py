"""Reports as other people's parsers see them: the standard library's and flufl.bounce's."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from flufl.bounce import all_failures, scan_message

from relayq.compose.analysis import has_long_line
from relayq.compose.dsn import DsnFacts, compose_report, encode_report
from relayq.model import parse_address

AS_IT_IS = email.policy.SMTP.clone(refold_source="none")
CONTENT = b"From: n@shop.test\r\nSubject: hello\r\n\r\nHello.\r\n"


def facts(**given: Any) -> DsnFacts:
    usual: dict[str, Any] = {
        "action": "failed",
        "author": "mailer-daemon@mta1.test",
        "reporting_mta": "mta1.test",
        "message_id": "<1@mta1.test>",
        "sender": parse_address("b@shop.test"),
        "recipient": parse_address("anna@example.test"),
        "arrived_at": datetime(2031, 3, 1, 9, 0, 2, tzinfo=UTC),
        "at": datetime(2031, 3, 1, 9, 0, 4, 700_000, tzinfo=UTC),
        "status": "5.1.1",
        "reply": "550 5.1.1 No such user here",
        "remote_mta": "mx1.example.test",
        "content": CONTENT,
    }
    return DsnFacts(**{**usual, **given})


class Read:
    """A report as the standard library reads it."""

    def __init__(self, octets: bytes) -> None:
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", octets)
        assert not has_long_line(octets)
        octets.decode("utf-8")
        self.whole = email.message_from_bytes(octets, policy=email.policy.default)
        parts: Any = self.whole.get_payload()
        assert isinstance(parts, list)
        assert not self.whole.defects
        self.parts: list[Any] = parts
        for part in parts:
            assert not part.defects, (part.get_content_type(), part.defects)

    @property
    def types(self) -> list[str]:
        return [part.get_content_type() for part in self.parts]

    @property
    def text(self) -> str:
        text: str = self.parts[0].get_content()
        return text

    @property
    def groups(self) -> list[list[tuple[str, str]]]:
        """Fields of the second part, as any reader of header blocks sees them, folds undone."""
        part = self.parts[1]
        if self.types[1] == "message/delivery-status":
            blocks = [block.as_bytes(policy=AS_IT_IS) for block in part.get_payload()]
        else:
            raw = self.whole.as_bytes().split(b"message/global-delivery-status", 1)[1]
            raw = raw.split(b"\n\n", 1)[1].split(b"\n--=_", 1)[0]
            blocks = raw.split(b"\n\n")
        unfolded = [re.sub(r"\r?\n[ \t]", " ", block.decode("utf-8").strip()) for block in blocks]
        return [[tuple(line.split(": ", 1)) for line in block.splitlines()] for block in unfolded]  # type: ignore[misc]

    @property
    def fields(self) -> dict[str, str]:
        return dict(field for group in self.groups for field in group)

    @property
    def returned(self) -> bytes:
        """Octets of the third part, its transfer encoding undone."""
        if self.types[2].startswith("text/"):
            octets: bytes = self.parts[2].get_payload(decode=True)
            return octets
        inner: email.message.Message = self.parts[2].get_payload(0)
        return inner.as_bytes(policy=AS_IT_IS)


def read(**given: Any) -> Read:
    return Read(compose_report(facts(**given)))


def test_the_fields_of_a_failure() -> None:
    report = read(envelope_id="order+42")

    assert report.groups == [
        [
            ("Reporting-MTA", "dns; mta1.test"),
            ("Original-Envelope-Id", "order+42"),
            ("Arrival-Date", "Sat, 01 Mar 2031 09:00:02 +0000"),
        ],
        [
            ("Original-Recipient", "rfc822; anna@example.test"),
            ("Final-Recipient", "rfc822; anna@example.test"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; mx1.example.test"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user here"),
            ("Last-Attempt-Date", "Sat, 01 Mar 2031 09:00:04 +0000"),
        ],
    ]


def test_the_header() -> None:
    whole = read().whole

    assert whole["From"] == "Mail Delivery System <mailer-daemon@mta1.test>"
    assert whole["To"] == "b@shop.test"
    assert whole["Subject"]
    assert whole["Date"].datetime == datetime(2031, 3, 1, 9, 0, 4, tzinfo=UTC)
    assert whole["Message-ID"] == "<1@mta1.test>"
    assert whole["Auto-Submitted"] == "auto-replied"
    assert whole["MIME-Version"] == "1.0"
    assert whole.get_content_type() == "multipart/report"
    assert whole.get_param("report-type") == "delivery-status"
    assert len(whole.keys()) == 8


def test_the_parts_and_what_people_read() -> None:
    report = read()

    assert report.types == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    for piece in ("mta1.test", "anna@example.test", "550 5.1.1 No such user here", "mx1.example.test"):
        assert piece in report.text
    assert report.returned == b"From: n@shop.test\r\nSubject: hello\r\n"


@pytest.mark.parametrize("content", [CONTENT, None])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("action", "status", "is_temporary"),
    [("failed", "5.1.1", False), ("failed", "4.4.7", False), ("delayed", "4.2.0", True)],
)
def test_a_bounce_detector_finds_the_recipient(
    action: str, status: str, content: bytes | None, *, is_full: bool, is_temporary: bool
) -> None:
    octets = compose_report(facts(action=action, status=status, content=content, is_full=is_full))
    temporary, permanent = all_failures(email.message_from_bytes(octets))

    found, other = (temporary, permanent) if is_temporary else (permanent, temporary)
    assert set(found) == {b"anna@example.test"}
    assert not other


def test_a_bounce_detector_does_not_take_success_for_failure() -> None:
    octets = compose_report(facts(action="relayed", status="2.0.0", reply="250 OK"))

    assert scan_message(email.message_from_bytes(octets)) == set()


def test_a_delay_says_until_when() -> None:
    until = datetime(2031, 3, 2, 9, 0, 2, tzinfo=UTC)
    report = read(action="delayed", status="4.4.1", reply=None, retry_until=until, reason="no answer from the host")

    assert report.fields["Will-Retry-Until"] == "Sun, 02 Mar 2031 09:00:02 +0000"
    assert "Sun, 02 Mar 2031 09:00:02 +0000" in report.text
    assert "no answer from the host" in report.text
    assert "Will-Retry-Until" not in read().fields


def test_what_is_not_known_is_left_out() -> None:
    report = read(reply=None, remote_mta=None, arrived_at=None, reason="domain does not exist", content=None)

    assert [name for group in report.groups for name, _ in group] == [
        "Reporting-MTA", "Original-Recipient", "Final-Recipient", "Action", "Status", "Last-Attempt-Date",
    ]  # fmt: skip
    assert report.types == ["text/plain", "message/delivery-status"]
    assert "5.1.1 domain does not exist" in report.text


@pytest.mark.parametrize(
    ("orcpt", "expected"),
    [
        ("rfc822;first@example.test", "rfc822; first@example.test"),
        ("RFC822; first@example.test", "RFC822; first@example.test"),
        ("first@example.test", "rfc822; first@example.test"),
        ("x400;/G=Anna/S=Alt", "x400; /G=Anna/S=Alt"),
        ("utf-8;jos\\x{E9}@example.test", "utf-8; jos\\x{E9}@example.test"),
    ],
)
def test_the_original_recipient(orcpt: str, expected: str) -> None:
    report = read(original_recipient=orcpt)

    assert report.fields["Original-Recipient"] == expected
    assert report.fields["Final-Recipient"] == "rfc822; anna@example.test"
    assert report.types[1] == "message/delivery-status"


def test_an_international_recipient() -> None:
    report = read(
        recipient=parse_address("аня@пример.test"), reply="550 5.1.1 нет", sender=parse_address("б@shop.test")
    )

    assert report.types[1] == "message/global-delivery-status"
    assert report.whole.get_param("report-type") == "delivery-status"
    assert report.whole["Content-Transfer-Encoding"] == "8bit"
    assert report.fields["Original-Recipient"] == "utf-8; аня@пример.test"
    assert report.fields["Final-Recipient"] == "utf-8; аня@пример.test"
    assert report.fields["Diagnostic-Code"] == "smtp; 550 5.1.1 нет"
    assert "аня@пример.test" in report.text
    assert compose_report(facts(sender=parse_address("б@shop.test"))).split(b"\r\n")[1] == "To: б@shop.test".encode()


@pytest.mark.parametrize("orcpt", ["аня@пример.test", "rfc822;аня@пример.test", "utf-8;аня@пример.test"])
def test_an_international_original_recipient(orcpt: str) -> None:
    report = read(original_recipient=orcpt)

    assert report.types[1] == "message/global-delivery-status"
    assert report.fields["Original-Recipient"] == "utf-8; аня@пример.test"
    assert report.fields["Final-Recipient"] == "rfc822; anna@example.test"


def test_an_international_domain_needs_nothing_special() -> None:
    octets = compose_report(facts(recipient=parse_address("anna@пример.test")))
    report = Read(octets)

    assert report.types[1] == "message/delivery-status"
    assert report.fields["Final-Recipient"] == "rfc822; anna@xn--e1afmkfd.test"


def test_a_diagnostic_in_another_script() -> None:
    report = read(reply="550 5.1.1 нет такого")

    assert report.fields["Diagnostic-Code"] == "smtp; 550 5.1.1 ??? ??????"
    assert "550 5.1.1 нет такого" in report.text


@pytest.mark.parametrize("text", ["word " * 800, "x" * 4000, "-" * 4000, "я" * 4000, "a " + "ж" * 3000, " " * 4000])
@pytest.mark.parametrize("recipient", ["anna@example.test", "аня@example.test"])
def test_a_long_diagnostic(text: str, recipient: str) -> None:
    reply = ("550 5.7.1 " + text).rstrip()
    report = read(reply=reply, recipient=parse_address(recipient))
    shown = reply if recipient.startswith("а") else reply.encode("ascii", "replace").decode()

    assert re.sub(r"\s", "", report.fields["Diagnostic-Code"]) == re.sub(r"\s", "", f"smtp;{shown}")
    assert re.sub(r"\s", "", reply) in re.sub(r"\s", "", report.text)
    assert [len(group) for group in report.groups] == [2, 7]


@pytest.mark.parametrize(
    "hostile",
    [
        "550 x\r\nAction: delivered",
        "550 x\n\nFinal-Recipient: rfc822; other@example.test",
        "550 \x00\x85\u2028x\r\n\r\n--=_",
        "550 \udc80 x",
    ],
)
def test_nothing_a_server_says_makes_a_field_or_a_part(hostile: str) -> None:
    report = read(reply=hostile, remote_mta=hostile, original_recipient=f"rfc822;{hostile}", reason=hostile)

    assert [len(group) for group in report.groups] == [2, 7]
    assert report.fields["Action"] == "failed"
    assert len(report.parts) == 3


def test_the_whole_message() -> None:
    report = read(is_full=True)

    assert report.types[2] == "message/rfc822"
    assert report.returned == CONTENT


def test_a_message_about_a_message_does_not_end_its_parts() -> None:
    inner = compose_report(facts(is_full=True))
    report = read(content=inner, is_full=True)

    assert len(report.parts) == 3
    assert report.returned == inner


def test_eight_bit_content() -> None:
    content = "From: n@shop.test\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode()
    report = read(content=content, is_full=True)

    assert report.types[2] == "message/rfc822"
    assert report.whole["Content-Transfer-Encoding"] == report.parts[2]["Content-Transfer-Encoding"] == "8bit"
    assert report.returned == content


def test_content_that_is_no_utf8_is_encoded() -> None:
    head = b"From: n@shop.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    report = read(content=head + b"Content-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n", is_full=True)

    assert report.types[2] == "message/rfc822"
    assert report.parts[2].get_payload(0).get_content().strip() == "Grüße"


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: Gr\xfc\xdfe\r\n\r\nHello\r\n",
        b"DKIM-Signature: v=1\r\nSubject: x\r\n\r\nGr\xfc\xdfe\r\n",
        b"Subject: " + b"x" * 2000 + b"\r\n\r\nHello\r\n",
    ],
)
def test_what_cannot_be_put_into_a_message_returns_its_header(content: bytes) -> None:
    report = read(content=content, is_full=True)

    assert report.types[2] == "text/rfc822-headers"
    assert report.returned == content.split(b"\r\n\r\n")[0] + b"\r\n"


def test_raw_text_in_the_header() -> None:
    content = "Subject: Grüße\r\n\r\nHello\r\n".encode()

    assert read(content=content).returned == "Subject: Grüße\r\n".encode()
    full = compose_report(facts(content=content, is_full=True))
    assert b"Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + content in full


def test_lines_that_are_too_long_are_wrapped() -> None:
    content = b"Subject: x\r\nContent-Type: text/plain\r\n\r\n" + b"word " * 1000 + b"\r\n"
    report = read(content=content, is_full=True)

    assert report.types[2] == "message/rfc822"
    assert report.parts[2].get_payload(0).get_content().strip() == ("word " * 1000).strip()


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r\nbody only\r\n", b"\xff\xfe\r\n"])
def test_a_message_without_a_header_returns_none(content: bytes) -> None:
    assert len(read(content=content).parts) == 2


def test_the_same_facts_give_the_same_octets() -> None:
    assert compose_report(facts()) == compose_report(facts())
    assert compose_report(facts()) != compose_report(facts(reply="550 5.1.1 Other"))


def test_the_message_for_the_outbox() -> None:
    given = facts()
    mime = compose_report(given)

    assert list(json.loads(encode_report(given, mime)).items()) == [
        ("envelope", ""), ("recipient", "b@shop.test"), ("mime", mime.decode()), ("dsn", {"notify": "NEVER"}),
    ]  # fmt: skip
    stored = json.loads(encode_report(facts(envelope="r@shop.test"), mime, "mta-1"))
    assert stored == {
        "envelope": "r@shop.test", "recipient": "b@shop.test", "key": "mta-1", "dsn": {"notify": "NEVER"},
    }  # fmt: skip
