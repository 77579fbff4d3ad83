"""Messages of the shapes that real mailers, old gateways and attackers produce, as octets with CRLF line ends.

None is copied from anywhere; each is small and named after what is odd about it. `MESSAGES` holds all of them by name.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal

SevenBit = Literal["clean", "convertible", "impossible", "headers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TortureMessage:
    """One message and what is true of it.

    Attributes:
        name: What is odd about it.
        mime: The octets, all lines ending with CRLF.
        leaves: Media types of its leaf parts in order, as a lenient reader sees them.
        seven_bit: Without an 8-bit octet at all; with some that can be converted; with some that must not be touched;
            with some in headers only.
        has_oracle: The parser of the standard library sees the same parts.
    """

    name: str
    mime: bytes
    leaves: tuple[str, ...]
    seven_bit: SevenBit = "clean"
    has_oracle: bool = True


def crlf(text: str | bytes, charset: str = "utf-8") -> bytes:
    """Text with LF line ends as octets with CRLF."""
    octets = text.encode(charset) if isinstance(text, str) else text
    return octets.replace(b"\n", b"\r\n")


def with_body(header: str, body: bytes) -> bytes:
    """Header lines with LF ends, an empty line, and a body as it is."""
    return crlf(header) + b"\r\n" + body


MESSAGES: dict[str, TortureMessage] = {}

TOP = """\
Return-Path: <bounce@shop.example>
Received: from a.example (a.example [192.0.2.1])
\tby b.example with ESMTP id 1234
\tfor <ann@example.org>; Sat, 21 Nov 2026 20:00:00 +0000
From: Shop <news@shop.example>
To: ann@example.org
Subject: Torture
Date: Sat, 21 Nov 2026 20:00:00 +0000
Message-ID: <1@shop.example>
MIME-Version: 1.0
"""
INNER = "From: x@y.example\nSubject: inner\n"
PIXEL = base64.b64encode(bytes(range(256))).decode()
BASE64_LINES = "".join(PIXEL[at : at + 76] + "\n" for at in range(0, len(PIXEL), 76))
GERMAN = "Grüße aus Köln, schöne Straße – 5 €\n"
PLAIN = ("text/plain",)
HTML = ("text/html",)
BOTH = ("text/plain", "text/html")
TWO = ("text/plain", "text/plain")


def _add(
    name: str,
    mime: bytes | str,
    leaves: tuple[str, ...] = PLAIN,
    seven_bit: SevenBit = "clean",
    *,
    has_oracle: bool = True,
) -> None:
    octets = crlf(mime) if isinstance(mime, str) else mime
    assert name not in MESSAGES, name
    MESSAGES[name] = TortureMessage(name=name, mime=octets, leaves=leaves, seven_bit=seven_bit, has_oracle=has_oracle)


def _text(charset: str, encoding: str, body: str, codec: str | None = None, subtype: str = "plain") -> bytes:
    header = f"{TOP}Content-Type: text/{subtype}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n"
    return with_body(header, crlf(body, codec or charset))


def mime_part(content_type: str, body: str, encoding: str = "", disposition: str = "") -> str:
    """A part with the fields that are given; the line break in front of the next delimiter is that of the body."""
    fields = (("Type", content_type), ("Transfer-Encoding", encoding), ("Disposition", disposition))
    return "".join(f"Content-{name}: {value}\n" for name, value in fields if value) + "\n" + body


def multipart(
    content_type: str, *parts: str, header: str = TOP, preamble: str = "", epilogue: str = "", is_closed: bool = True
) -> str:
    """A multipart with boundary ``=_`` and its subtype."""
    boundary = f"=_{content_type.partition(';')[0]}"
    body = preamble + "".join(f"--{boundary}\n{part}" for part in parts) + (f"--{boundary}--\n" if is_closed else "")
    kind, _, parameters = content_type.partition(";")
    more = f";{parameters}" if parameters else ""
    return f'{header}Content-Type: multipart/{kind}; boundary="{boundary}"{more}\n\n{body}{epilogue}'


UTF8 = "text/plain; charset=utf-8"
UTF8_HTML = "text/html; charset=utf-8"
GERMAN_PARTS = (mime_part(UTF8, GERMAN, "8bit"), mime_part(UTF8_HTML, f"<p>{GERMAN}", "8bit"))
ASCII_PART = mime_part("", "Hello\n")
FILE = mime_part("application/octet-stream; name=a.bin", BASE64_LINES, "base64", "attachment; filename=a.bin")


def _bare() -> None:
    """Without MIME, or hardly with it."""
    old = "From: a@b.example\nSubject: old style\n"
    _add("only-text", "Just a line of text, no header at all.\nAnd another.\n")
    _add("only-text-8bit", "Nur Text, ohne Kopf: Grüße\n", seven_bit="convertible")
    _add("empty-line-only", "\n")
    _add("empty-header-then-body", "\nBody behind an empty header.\n")
    _add("empty-header-then-8bit", "\nKöln\n", seven_bit="convertible")
    _add("headers-only", old)
    _add("headers-only-with-separator", f"{old}\n")
    _add("no-mime", f"{old}\nHello.\n")
    _add("no-mime-8bit", f"{old}\n{GERMAN}", seven_bit="convertible")
    _add("no-mime-latin1", with_body(old, crlf("Köln\n", "latin-1")), seven_bit="convertible")
    _add("missing-separator", f"{old}This line is no field: or is it?\nmore\n")
    _add("missing-separator-8bit", f"{old}Köln ist keine Kopfzeile\n", seven_bit="convertible")
    _add("mbox-line", f"From a@b.example Sat Nov 21 20:00:00 2026\n{old}\nHello\n")
    _add("text-that-begins-with-from", "From now on there is no header.\n\nbody\n", has_oracle=False)
    _add("old-content-type", "From: a@b.example\nContent-Type: text\n\nHello\n")
    _add("many-headers", "".join(f"X-Header-{n}: value {n}\n" for n in range(3000)) + "\nHello\n")
    _add("huge-header", f"{old}X-Big: {'word ' * 20000}\n\nHello\n")
    _add("huge-folded-header", f"{old}X-Big: x\n" + " more of it\n" * 5000 + "\nHello\n")
    _add("blank-continuation", f"{old} \n\t\nX-Next: y\n\nHello\n")
    _add("space-before-colon", "From : a@b.example\nContent-Type\t: text/html\n\n<p>\n", HTML, has_oracle=False)
    twice = "Content-Type: text/html\nContent-Type: text/plain\n"
    twice += "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: 7bit\n"
    _add("duplicate-content-headers", f"{twice}\n<p>Köln\n", HTML, "convertible")
    _add("nul-in-body", f"{old}\na\0b\n")


def _charsets() -> None:
    for charset, body in (
        ("utf-8", GERMAN),
        ("iso-8859-1", "Grüße aus Köln\n"),
        ("iso-8859-15", "Grüße, 5 €\n"),
        ("windows-1252", "„Grüße“ – 5 €\n"),
        ("windows-1251", "Привет, как дела?\n"),
        ("koi8-r", "Привет, как дела?\n"),
        ("windows-1250", "Příliš žluťoučký kůň\n"),
        ("iso-8859-2", "Zażółć gęślą jaźń\n"),
        ("windows-1253", "Καλημέρα κόσμε\n"),
        ("windows-1255", "שלום עולם\n"),
        ("windows-1256", "مرحبا بالعالم\n"),
        ("tis-620", "สวัสดีชาวโลก\n"),
        ("shift_jis", "こんにちは世界、ソ表示\n"),
        ("euc-jp", "こんにちは世界\n"),
        ("gb2312", "你好，世界\n"),
        ("gbk", "你好，世界\n"),
        ("gb18030", "你好，世界\n"),
        ("big5", "你好，世界\n"),
        ("euc-kr", "안녕하세요 세계\n"),
    ):
        _add(f"charset-{charset}", _text(charset, "8bit", body * 3), seven_bit="convertible")
    _add("charset-iso-2022-jp", _text("iso-2022-jp", "7bit", "こんにちは世界\n"))
    _add("charset-utf-7", _text("utf-7", "7bit", "Grüße\n"))
    _add("charset-unknown", _text("x-nobody-knows", "8bit", "Grüße\n", "latin-1"), seven_bit="convertible")
    _add("charset-lies", _text("utf-8", "8bit", "Grüße\n", "latin-1"), seven_bit="convertible")
    commented = 'MIME-Version: 1.0 (made)\nContent-Type: Text/Plain; CHARSET="UTF-8" (c)\n'
    _add("charset-quoted-with-comment", f"{commented}\nKöln\n", seven_bit="convertible")


def _encodings() -> None:
    soft = "Gr=C3=BC=C3=9Fe, eine lange Zeile, die =\nweitergeht =\nund endet=20\n"
    _add("7bit-lies", _text("utf-8", "7bit", GERMAN), seven_bit="convertible")
    _add("binary-label", _text("utf-8", "binary", GERMAN), seven_bit="convertible")
    _add("quoted-printable", _text("utf-8", "Quoted-Printable", soft))
    _add("quoted-printable-broken", _text("utf-8", "quoted-printable", "100 = hundred =ZZ\n"))
    _add("quoted-printable-raw-8bit", _text("utf-8", "quoted-printable", "K=C3=B6ln, schön\n"), seven_bit="convertible")
    _add("quoted-printable-broken-8bit", _text("utf-8", "quoted-printable", "a =ZZ ö\n"), seven_bit="impossible")
    _add("base64", _text("utf-8", "BASE64", BASE64_LINES))
    _add("base64-one-line", _text("utf-8", "base64", PIXEL[:-4] * 8 + "\n"))
    _add("base64-without-padding", _text("utf-8", "base64", "R3LDvMOfZQ\n"))
    _add("base64-broken", _text("utf-8", "base64", "this is !!! not base64\n"), has_oracle=False)
    _add("base64-raw-8bit", _text("utf-8", "base64", "R3LDvMOf ö ZQ==\n"), seven_bit="impossible", has_oracle=False)
    _add("uuencode", _text("utf-8", "x-uuencode", "begin 644 a\n#0V%T\n`\nend\n"), has_oracle=False)
    _add("unknown-encoding-8bit", _text("utf-8", "x-strange", GERMAN), seven_bit="impossible")
    _add("encoding-with-comment", _text("utf-8", "8bit (really)", GERMAN), seven_bit="convertible")
    _add("long-line", _text("us-ascii", "7bit", "word " * 400 + "\nend\n"))
    _add("long-line-8bit", _text("utf-8", "8bit", "wörd " * 400 + "\nend\n"), seven_bit="convertible")
    _add("long-line-in-header", f"Subject: {'x' * 1200}\n\nHello\n")
    _add("long-html-line", _text("utf-8", "8bit", f"<p>{'ä' * 5000}\n", subtype="html"), HTML, "convertible")
    _add("dots-and-from", _text("utf-8", "8bit", f".\n..\nFrom ö\n{'From ' * 30}\n.ö\n"), seven_bit="convertible")
    _add("trailing-blanks-8bit", _text("utf-8", "8bit", "ö  \n\t\n \nend\t\n"), seven_bit="convertible")
    flowed = "utf-8; format=flowed; delsp=yes"
    _add("flowed", _text(flowed, "8bit", "Köln ist \neine Stadt \n-- \nich\n", "utf-8"), seven_bit="convertible")


def _multiparts() -> None:
    _add(
        "alternative",
        multipart("alternative", mime_part("text/plain", "Hello\n"), mime_part("text/html", "<p>Hello\n")),
        BOTH,
    )
    labelled = f"{TOP}Content-Transfer-Encoding: 8bit\n"
    _add("alternative-8bit", multipart("alternative", *GERMAN_PARTS, header=labelled), BOTH, "convertible")
    _add("not-closed", multipart("alternative", *GERMAN_PARTS, is_closed=False), BOTH, "convertible", has_oracle=False)
    framed = multipart("alternative", *GERMAN_PARTS, preamble="This is MIME.\n\n", epilogue="\nThe end.\n")
    _add("preamble-and-epilogue", framed, BOTH, "convertible")
    framed = multipart("alternative", *GERMAN_PARTS, preamble="Für alte Programme.\n", epilogue="Tschüß\n")
    _add("8bit-preamble-and-epilogue", framed, BOTH, "convertible")
    blanks = multipart("alternative", *GERMAN_PARTS).replace("--=_alternative\n", "--=_alternative \t\n")
    _add("blanks-behind-boundary", blanks.replace("=--\n", "=-- \n"), BOTH, "convertible")
    look_alikes = "\n--=_mixedx\n--=_mixed-\n-- \n--\nx\n--=_mixed--x\n"
    _add("boundary-look-alikes", multipart("mixed", look_alikes, ASCII_PART), TWO)
    _add("delimiters-behind-the-end", multipart("mixed", ASCII_PART, epilogue=f"--=_mixed\n{ASCII_PART}--=_mixed--\n"))
    _add(
        "empty-parts",
        multipart("mixed", "", "\n", "\n\n", "Content-Type: text/html\n"),
        (*TWO, *BOTH),
        has_oracle=False,
    )
    headless = "Content-Type: text/plain\nKöln, keine Leerzeile\n"
    _add("part-without-separator-8bit", multipart("mixed", headless), PLAIN, "convertible")
    inner = multipart("alternative", *GERMAN_PARTS, header="", is_closed=False)
    _add("inner-not-closed", multipart("mixed", inner, ASCII_PART), (*BOTH, "text/plain"), "convertible")
    digested = f"\n{INNER}\nKöln\n"
    _add("digest", multipart("digest", digested, mime_part("text/plain", "x\n")), TWO, "convertible")
    _add("form-data", multipart("form-data", mime_part("", "ö\n", "", "form-data; name=a")), PLAIN, "convertible")
    pdf = mime_part("application/pdf; name=Größe.pdf", BASE64_LINES, "base64", "attachment; filename=Größe.pdf")
    _add("8bit-file-name", multipart("mixed", pdf), ("application/pdf",), "headers")
    _add("false-delimiters", multipart("mixed", mime_part("", "ö\n"), preamble="--\n" * 5000), PLAIN, "convertible")
    _add("many-parts", multipart("mixed", *[mime_part("", "ö\n")] * 500), PLAIN * 500, "convertible")
    too_many = multipart("mixed", *[mime_part("", "ö\n")] * 2500)
    _add("too-many-parts", too_many, ("multipart/mixed",), "impossible", has_oracle=False)


def _boundaries() -> None:
    mixed = ("multipart/mixed",)
    header = f"{TOP}Content-Type: multipart/mixed; "
    _add("no-boundary", f"{header}\n\n--x\n\none\n--x--\n", mixed)
    _add("no-boundary-8bit", f"{header}\n\n--x\n\nKöln\n--x--\n", mixed, "impossible")
    _add("boundary-never-appears", f"{header}boundary=b\n\nHello\n--other\n", mixed)
    _add("boundary-never-appears-8bit", f"{header}boundary=b\n\nKöln\n", mixed, "impossible")
    _add("boundary-only-closes", f"{header}boundary=b\n\n--b--\n", mixed, has_oracle=False)
    _add("boundary-empty", f'{header}boundary=""\n\n--\n\none\n----\n', mixed, has_oracle=False)
    colon = f'{header}boundary="Next:1"\n\n--Next:1\n\none\n--Next:1\nX-Only: header\n--Next:1\n\nö\n--Next:1--\n'
    _add("boundary-with-colon", colon, PLAIN * 3, "convertible")
    odd = f"{TOP}Content-Type: multipart/mixed;\n boundary=a/b=c?d.e'f\n\n--a/b=c?d.e'f\n\nö\n--a/b=c?d.e'f--\n"
    _add("boundary-unquoted-and-odd", odd, PLAIN, "convertible")
    _add("boundary-with-blank", f'{header}boundary="a b "\n\n--a b\n\nö\n--a b--\n', PLAIN, "convertible")
    sections = f'{header}boundary*0="ab"; boundary*1="cd"\n\n--abcd\n\nö\n--abcd--\n'
    _add("boundary-in-sections", sections, PLAIN, "convertible")
    _add("boundary-8bit", f'{header}boundary="bö"\n\n--bö\n\nö\n--bö--\n', PLAIN, "impossible", has_oracle=False)
    same = multipart("mixed", multipart("mixed", ASCII_PART, header=""), ASCII_PART)
    _add("nested-same-boundary", same, (*mixed, "text/plain"))
    inner = "Content-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--\n"
    hyphens = "Content-Type: multipart/mixed; boundary=b--\n\n"
    prefixes = f"{header}boundary=b\n\n--b\n{inner}--b\n{hyphens}--b--\n\n"
    _add("nested-prefix-boundaries", prefixes, ("text/plain", *mixed))
    levels = [f"Content-Type: multipart/mixed; boundary=b{n}.\n\n--b{n}.\n" for n in range(60)]
    deep = "".join(levels)
    _add("nested-too-deep", f"MIME-Version: 1.0\n{deep}\nKöln\n", mixed, "impossible", has_oracle=False)
    ends = "".join(f"--b{n}.--\n" for n in reversed(range(20)))
    twenty = "".join(levels[:20])
    _add("nested-twenty-deep", f"MIME-Version: 1.0\n{twenty}\nKöln\n{ends}", PLAIN, "convertible")


def _mailers() -> None:
    """Shapes that known mail programs write."""
    apple = TOP.replace("MIME-Version: 1.0", "X-Mailer: Apple Mail (2.3654)\nMime-Version: 1.0 (Mac OS X Mail 16.0)")
    image = mime_part(
        'image/png;\n\tx-unix-mode=0644;\n\tname="a b.png"', BASE64_LINES, "base64", "inline;\n\tfilename=a.png"
    )
    related = multipart(
        'related;\n\ttype="text/html"', mime_part("text/html", "<img>\n", "7bit"), image, header="", preamble="\n"
    )
    quoted = mime_part(f"{UTF8};\n\tdelsp=yes", "Gr=C3=BC=C3=9Fe\n\n", "quoted-printable")
    _add("apple", multipart("alternative", quoted, related, header=apple, preamble="\n"), (*BOTH, "image/png"))
    body = '<html xmlns:o="urn:schemas-microsoft-com:office:office"><!--[if mso]>x<![endif]-->'
    outlook = mime_part('text/html;\n\tcharset="utf-8"', f"{body}<p class=MsoNormal>{GERMAN}<o:p></o:p>\n\n", "8bit")
    alternative = multipart(
        "alternative", mime_part(UTF8, f"{GERMAN}\n\n", "8bit"), outlook, header="", preamble="\n", epilogue="\n"
    )
    tnef = mime_part('application/ms-tnef;\n\tname="winmail.dat"', f"{BASE64_LINES}\n", "base64")
    nice = "This is a multi-part message in MIME format.\n\n"
    _add("outlook", multipart("mixed", alternative, tnef, preamble=nice), (*BOTH, "application/ms-tnef"), "convertible")
    _add("webmail-html-only", _text("UTF-8", "8bit", "<div>Grüße</div>\n", subtype="html"), HTML, "convertible")
    event = mime_part("text/calendar; method=REQUEST; charset=utf-8", "BEGIN:VCALENDAR\nSUMMARY:Köln\n", "8bit")
    _add("calendar", multipart("alternative", GERMAN_PARTS[0], event), ("text/plain", "text/calendar"), "convertible")
    name = "application/pdf;\n name*0*=utf-8''Gr%C3%B6%C3%9Fe; name*1=\" und mehr\";\n name*2*=%2Epdf"
    _add("long-file-name", multipart("mixed", mime_part(name, BASE64_LINES, "base64")), ("application/pdf",))
    header = f"{TOP}Content-Type: application/octet-stream\nContent-Transfer-Encoding: binary\n"
    octets = bytes(octet for octet in range(256) if octet not in b"\r\n\0") + b"\r\n"
    _add("binary-attachment", with_body(header, octets), ("application/octet-stream",), "convertible")
    xml = mime_part("application/xml", '<a b=3D"c"/> ö\n', "quoted-printable")
    _add("attachment-as-quoted-printable", multipart("mixed", xml), ("application/xml",), "convertible")
    _add("text-attachment", multipart("mixed", *GERMAN_PARTS, FILE), (*BOTH, "application/octet-stream"), "convertible")


def _messages() -> None:
    """Messages in messages, and reports."""
    rfc822, status = "message/rfc822", "message/delivery-status"
    inner = f"{INNER}\n{GERMAN}"
    _add("rfc822", multipart("mixed", ASCII_PART, mime_part(rfc822, f"{INNER}\nHello\n")), TWO)
    _add("rfc822-8bit", multipart("mixed", ASCII_PART, mime_part(rfc822, inner, "8bit")), TWO, "convertible")
    nested = multipart("alternative", *GERMAN_PARTS, header=f"{INNER}Content-Transfer-Encoding: 8bit\n")
    _add("rfc822-8bit-multipart", multipart("mixed", mime_part(rfc822, nested, "8bit")), BOTH, "convertible")
    raw = multipart("mixed", mime_part(rfc822, "Subject: Köln\n\nöffnen\n", "8bit"))
    _add("rfc822-8bit-headers", raw, PLAIN, "convertible")
    _add("rfc822-empty", multipart("mixed", mime_part(rfc822, "")), (rfc822,), has_oracle=False)
    joined = multipart("mixed", f"Content-Type: {rfc822}\nKöln, keine Leerzeile\n")
    _add("rfc822-without-separator-8bit", joined, (rfc822,), "impossible", has_oracle=False)
    _add("rfc822-base64", multipart("mixed", mime_part(rfc822, BASE64_LINES, "base64")), (rfc822,), has_oracle=False)
    _add("rfc822-on-top", f"{TOP}Content-Type: message/rfc822\n\n{inner}", PLAIN, "convertible")
    mailbox = multipart("mixed", mime_part(rfc822, f"From x@y.example Ö\n{inner}"))
    _add("rfc822-with-mbox-line", mailbox, PLAIN, "convertible")
    chain = f"{TOP}Content-Type: message/rfc822\n\n" * 8
    _add("rfc822-chain", f"{chain}{inner}", PLAIN, "convertible")
    headers = mime_part("text/rfc822-headers", INNER)
    fields = "Reporting-MTA: dns; a.example\n\nFinal-Recipient: rfc822; b@c.example\nAction: failed\nStatus: 5.1.1\n\n"
    report = multipart("report; report-type=delivery-status", ASCII_PART, mime_part(status, fields), headers)
    _add("report", report, ("text/plain", status, "text/rfc822-headers"), has_oracle=False)
    bad = multipart("report", ASCII_PART, mime_part(status, f"{fields}Diagnostic-Code: x; ungültig\n"))
    _add("report-8bit-status", bad, ("text/plain", status), "impossible", has_oracle=False)
    everywhere = multipart("mixed", mime_part("message/global", "Subject: Köln\n\nö\n", "8bit"))
    _add("message-global", everywhere, ("message/global",), "convertible", has_oracle=False)
    partial = "message/partial; id=1; number=1; total=2"
    _add("message-partial", TOP + mime_part(partial, "Subject: x\n\nhalf\n"), ("message/partial",), has_oracle=False)


def _sealed() -> None:
    """Signed, encrypted, or covered by a signature."""
    armour = "-----BEGIN PGP MESSAGE-----\n\niQ==\n-----END PGP MESSAGE-----\n"
    signature = mime_part("application/pgp-signature; name=sig.asc", armour)
    signed = "signed; micalg=pgp-sha256; protocol=application/pgp-signature"
    leaves = ("text/plain", "application/pgp-signature")
    _add("signed", multipart(signed, ASCII_PART, signature), leaves)
    _add("signed-8bit", multipart(signed, GERMAN_PARTS[0], signature), leaves, "impossible")
    _add(
        "signed-8bit-file-name",
        multipart(signed, mime_part("text/plain; name=ö", "Hello\n"), signature),
        leaves,
        "headers",
    )
    _add("signed-8bit-preamble", multipart(signed, ASCII_PART, signature, preamble="Ö\n"), leaves, "impossible")
    footer = mime_part("", "Listenfuß: ü\n")
    mailing_list = multipart("mixed", multipart("signed", ASCII_PART, signature, header=""), footer)
    _add("signed-in-list-mail", mailing_list, (*leaves, "text/plain"), "convertible")
    smime = mime_part("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", BASE64_LINES, "base64")
    _add("smime", TOP + smime, ("application/pkcs7-mime",))
    header = f"{TOP}Content-Type: application/x-pkcs7-mime\nContent-Transfer-Encoding: binary\n"
    _add("smime-binary", with_body(header, b"\x30\x80\x06\r\n"), ("application/x-pkcs7-mime",), "impossible")
    version = mime_part("application/pgp-encrypted", "Version: 1\n")
    secret = ("application/pgp-encrypted", "application/octet-stream")
    _add("encrypted", multipart("encrypted", version, mime_part("application/octet-stream", armour)), secret)
    octets = mime_part("application/octet-stream", "öäü\n")
    _add("encrypted-8bit", multipart("encrypted", version, octets), secret, "impossible")
    inline = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nKöln\n{armour}"
    _add("pgp-inline", _text("utf-8", "8bit", inline), seven_bit="convertible")
    dkim = "DKIM-Signature: v=1; a=rsa-sha256; d=up.example; s=x; h=from;\n bh=AAAA; b=BBBB\n"
    _add("dkim", f"{dkim}{TOP}\nHello\n")
    _add("dkim-8bit", dkim + TOP + GERMAN_PARTS[0], seven_bit="impossible")
    _add("dkim-8bit-header", f"{dkim}{TOP}X-City: Köln\n\nHello\n", seven_bit="headers")
    _add("utf8-headers", f"Subject: Grüße\n{TOP}{GERMAN_PARTS[0]}", seven_bit="convertible")
    _add("stale-sizes", f"Lines: 1\nContent-Length: 40\n{TOP}{GERMAN_PARTS[0]}", seven_bit="convertible")


_bare()
_charsets()
_encodings()
_multiparts()
_boundaries()
_mailers()
_messages()
_sealed()
