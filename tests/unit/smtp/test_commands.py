"""Commands and their parameters as octets."""

from __future__ import annotations

import pytest

from relayq.model import DsnOptions, EmailAddress, parse_address
from relayq.smtp import Capabilities, LocalProtocolError, Transaction
from relayq.smtp.commands import encode_line, encode_mail, encode_original_recipient, encode_rcpt, encode_xtext

ALL = Capabilities(size=True, eight_bit_mime=True, smtputf8=True, dsn=True)
ANNA = parse_address("anna@example.org")
JUERGEN = parse_address("jürgen@example.org")


def mail(transaction: Transaction, capabilities: Capabilities = ALL, size: int | None = 5) -> bytes:
    return encode_mail(transaction, capabilities, size, plain=False)


@pytest.mark.parametrize(
    ("transaction", "size", "expected"),
    [
        (Transaction(sender=None, recipient=ANNA), 5, b"MAIL FROM:<> SIZE=5\r\n"),
        (Transaction(sender=None, recipient=ANNA), None, b"MAIL FROM:<> BODY=8BITMIME\r\n"),
        (Transaction(sender=ANNA, recipient=ANNA, has_8bit=True), 0,
         b"MAIL FROM:<anna@example.org> SIZE=0 BODY=8BITMIME\r\n"),
        (Transaction(sender=None, recipient=JUERGEN), 5, b"MAIL FROM:<> SIZE=5 BODY=8BITMIME SMTPUTF8\r\n"),
        (Transaction(sender=JUERGEN, recipient=ANNA), 5,
         "MAIL FROM:<jürgen@example.org> SIZE=5 BODY=8BITMIME SMTPUTF8\r\n".encode()),
        (Transaction(sender=None, recipient=ANNA, has_utf8_headers=True), 5,
         b"MAIL FROM:<> SIZE=5 BODY=8BITMIME SMTPUTF8\r\n"),
        (Transaction(sender=None, recipient=ANNA, dsn=DsnOptions()), 5, b"MAIL FROM:<> SIZE=5\r\n"),
        (Transaction(sender=None, recipient=ANNA, dsn=DsnOptions(ret="FULL", envid="a=ü\r\nb")), 5,
         b"MAIL FROM:<> SIZE=5 RET=FULL ENVID=a+3D+C3+BC+0D+0Ab\r\n"),
    ],
)  # fmt: skip
def test_mail(transaction: Transaction, size: int | None, expected: bytes) -> None:
    assert mail(transaction, size=size) == expected


def test_nothing_is_sent_that_was_not_announced() -> None:
    dsn = DsnOptions(notify=("NEVER",), ret="FULL", envid="x", orcpt="x@y.test")
    transaction = Transaction(sender=None, recipient=ANNA, has_8bit=True, has_utf8_headers=True, dsn=dsn)
    assert mail(transaction, Capabilities()) == b"MAIL FROM:<>\r\n"
    assert encode_rcpt(transaction, Capabilities(), plain=False) == b"RCPT TO:<anna@example.org>\r\n"


def test_only_smtputf8_is_left_in_a_repetition() -> None:
    dsn = DsnOptions(notify=("NEVER",), ret="FULL")
    transaction = Transaction(sender=None, recipient=JUERGEN, has_8bit=True, dsn=dsn)
    assert encode_mail(transaction, ALL, 5, plain=True) == b"MAIL FROM:<> SMTPUTF8\r\n"
    assert encode_rcpt(transaction, ALL, plain=True) == "RCPT TO:<jürgen@example.org>\r\n".encode()


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (None, b""),
        (DsnOptions(), b" ORCPT=rfc822;anna@example.org"),
        (DsnOptions(notify=()), b" ORCPT=rfc822;anna@example.org"),
        (DsnOptions(notify=("SUCCESS", "DELAY"), orcpt="x@y.test"), b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y.test"),
    ],
)
def test_rcpt(dsn: DsnOptions | None, expected: bytes) -> None:
    transaction = Transaction(sender=None, recipient=ANNA, dsn=dsn)
    assert encode_rcpt(transaction, ALL, plain=False) == b"RCPT TO:<anna@example.org>" + expected + b"\r\n"


def test_wishes_of_the_configuration_name_no_original_recipient() -> None:
    transaction = Transaction(sender=None, recipient=ANNA, dsn=DsnOptions(notify=("NEVER",)), with_orcpt=False)
    assert encode_rcpt(transaction, ALL, plain=False) == b"RCPT TO:<anna@example.org> NOTIFY=NEVER\r\n"


@pytest.mark.parametrize(
    ("orcpt", "recipient", "expected"),
    [
        (None, "a+b=c@example.org", b"rfc822;a+2Bb+3Dc@example.org"),
        (None, "anna@bücher.example", b"rfc822;anna@xn--bcher-kva.example"),
        (None, "jürgen@example.org", rb"utf-8;j\x{FC}rgen@example.org"),
        ("x y@z.test", "anna@example.org", b"rfc822;x+20y@z.test"),
        ("RFC822;x@z.test", "anna@example.org", b"RFC822;x@z.test"),
        ("utf-8;\U0001f600\\+ @z.test", "anna@example.org", rb"utf-8;\x{1F600}\x{5C}\x{2B}\x{20}@z.test"),
        ("日@z.test", "anna@example.org", rb"utf-8;\x{65E5}@z.test"),
        ("rfc822;日", "anna@example.org", b"rfc822;+E6+97+A5"),
        ('"a;b"@z.test', "anna@example.org", b'rfc822;"a;b"@z.test'),
        (";x", "anna@example.org", b"rfc822;;x"),
        ("x400;\r\nRSET", "anna@example.org", b"x400;+0D+0ARSET"),
    ],
)
def test_original_recipient(orcpt: str | None, recipient: str, expected: bytes) -> None:
    assert encode_original_recipient(orcpt, parse_address(recipient)) == expected


def test_xtext() -> None:
    assert encode_xtext(bytes(range(0x20, 0x7F))) == (
        b"+20!\"#$%&'()*+2B,-./0123456789:;<+3D>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
    )


@pytest.mark.parametrize("octet", [*range(0x20), 0x7F])
def test_no_control_character_gets_into_a_command(octet: int) -> None:
    forged = EmailAddress("x", b"a" + bytes([octet]) + b"@b.test", "b.test")
    transaction = Transaction(sender=forged, recipient=forged)
    with pytest.raises(LocalProtocolError):
        encode_line(b"EHLO ", bytes([octet]))
    with pytest.raises(LocalProtocolError):
        mail(transaction)
    with pytest.raises(LocalProtocolError):
        encode_rcpt(transaction, ALL, plain=False)


def test_options_cannot_smuggle_parameters() -> None:
    with pytest.raises(LocalProtocolError, match="RET"):
        mail(Transaction(sender=None, recipient=ANNA, dsn=DsnOptions(ret="HDRS SIZE=1")))
    forged = Transaction(sender=None, recipient=ANNA, dsn=DsnOptions(notify=("NEVER ORCPT=x",)))
    with pytest.raises(LocalProtocolError, match="NOTIFY"):
        encode_rcpt(forged, ALL, plain=False)
