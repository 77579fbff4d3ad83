"""Attachments: where their content, names and types come from, and how they are written."""

from __future__ import annotations

import base64
from email.message import EmailMessage

import pytest

from relayq.compose.responsive import DocumentError, DownloadFailure, DownloadKind, Resource
from relayq.compose.responsive.attachments import clean_file_name, name_from_url
from relayq.compose.responsive.media_types import extension_of_type, type_of_name
from tests.support.documents import compose, defects, parsed, plan_of

URL = "https://files.example/a%20b.pdf?x=1"


def attached(attachments: object, **how: object) -> list[EmailMessage]:
    """The parts attachments become."""
    message = parsed(compose({"text": "x", "attachments": attachments}, **how))
    assert not defects(message)
    return list(message.iter_attachments())


def data_of(content: bytes = b"Hallo") -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("attachment", "name", "media_type"),
    [
        ({"data": "SGFsbG8="}, "attachment.bin", "application/octet-stream"),
        ({"data": "SGFsbG8=", "type": "application/pdf"}, "attachment.pdf", "application/pdf"),
        ({"data": "SGFsbG8=", "type": "application/x-odd"}, "attachment", "application/x-odd"),
        ({"data": "SGFsbG8=", "name": "a.PNG"}, "a.PNG", "image/png"),
        ({"data": "SGFsbG8=", "name": "a.odd"}, "a.odd", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "png"}, "png", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "a.png", "type": "text/plain"}, "a.png", "text/plain"),
        ({"data": "SGFsbG8=", "name": "a", "type": "nonsense"}, "a", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "a", "type": "multipart/mixed; boundary=x"}, "a", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "a", "type": "a/b\r\nX-Evil: 1"}, "a", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "../../etc/passwd"}, "passwd", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "C:\\x\\\"y\r\nX: '.txt"}, "yX: .txt", "text/plain"),
        ({"data": "SGFsbG8=", "name": ".."}, "attachment.bin", "application/octet-stream"),
        ({"data": "SGFsbG8=", "name": "größe €.txt"}, "größe €.txt", "text/plain"),
        ({"data": "SGFsbG8=", "name": "x" * 300}, "x" * 200, "application/octet-stream"),
        ({"data": "SGFsbG8=", "url": URL, "name": "a.txt"}, "a.txt", "text/plain"),
        ({"data": " SGFs\r\nbG8\t"}, "attachment.bin", "application/octet-stream"),
    ],
)  # fmt: skip
def test_data(attachment: dict[str, object], name: str, media_type: str) -> None:
    (part,) = attached([attachment])
    assert (part.get_filename(), part.get_content_type()) == (name, media_type)
    assert part.get_payload(decode=True) == b"Hallo"
    assert part["Content-Transfer-Encoding"] == "base64"
    assert part.get_content_disposition() == "attachment"
    assert list(part) == ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition"]


@pytest.mark.parametrize(
    ("attachment", "resource", "name", "media_type"),
    [
        ({}, Resource(b"Hallo"), "a b.pdf", "application/pdf"),
        ({}, Resource(b"Hallo", "text/plain; charset=utf-8"), "a b.pdf", "text/plain"),
        ({"type": "image/png"}, Resource(b"Hallo", "text/plain"), "a b.pdf", "text/plain"),
        ({"type": "image/png"}, Resource(b"Hallo"), "a b.pdf", "image/png"),
        ({"name": "b.txt"}, Resource(b"Hallo", None, "attachment; filename=c.gif"), "b.txt", "text/plain"),
        ({}, Resource(b"Hallo", None, 'attachment; filename="../c.gif"'), "c.gif", "image/gif"),
        ({}, Resource(b"Hallo", None, "attachment; filename*=utf-8''%C3%BC.gif"), "ü.gif", "image/gif"),
        ({}, Resource(b"Hallo", "bad", "attachment"), "a b.pdf", "application/octet-stream"),
        ({"url": "https://files.example/"}, Resource(b"Hallo"), "attachment", "application/octet-stream"),
        ({"url": " https://files.example/ü x.txt\r\n"}, Resource(b"Hallo"), "ü x.txt", "text/plain"),
    ],
)  # fmt: skip
def test_urls(attachment: dict[str, object], resource: Resource, name: str, media_type: str) -> None:
    given = {"url": URL, **attachment}
    (download,) = plan_of({"attachments": given}).downloads
    assert (download.kind, download.is_required, download.max_bytes) == (DownloadKind.ATTACHMENT, True, None)
    (part,) = attached(given, answers={download.url: resource})
    assert (part.get_filename(), part.get_content_type()) == (name, media_type)
    assert part.get_payload(decode=True) == b"Hallo"


def test_type_with_parameters() -> None:
    given = {"data": "SGFsbG8=", "name": "a", "type": 'Text/Plain; Charset=iso-8859-1; name=b; x="1\r\n2"; ö=1'}
    (part,) = attached([given])
    assert part["Content-Type"] == 'Text/Plain; charset="iso-8859-1"; x="1 2"; name="a"'
    assert compose({"text": "x", "attachments": given}).count(b'charset=iso-8859-1;\r\n x="1 2";\r\n name="a"\r\n') == 1


def test_disposition_and_order() -> None:
    given = [
        {"data": "YQ==", "name": "1", "disposition": "INLINE"},
        {"data": "Yg==", "name": "2", "disposition": "odd"},
    ]
    first, second = attached(given)
    assert (first.get_content_disposition(), second.get_content_disposition()) == ("inline", "attachment")
    assert attached([]) == attached(None) == []


@pytest.mark.parametrize(
    ("cid", "written"),
    [("logo@x.test", "logo@x.test"), (" <logo> ", "logo"), ("a\r\nX: 1é\0", "aX:1"), ("x" * 900, "x" * 200)],
)
def test_embedded(cid: str, written: str) -> None:
    message = compose({"content": "<p>", "attachments": {"data": "YQ==", "name": "a.gif", "cid": cid}})
    related = parsed(message)
    assert related.get_content_type() == "multipart/related"
    html, image = related.iter_parts()
    assert html.get_content_type() == "text/html"
    assert (image["Content-ID"], image.get_content_disposition()) == (f"<{written}>", "inline")
    assert list(image) == ["Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Disposition"]


@pytest.mark.parametrize("mime", [{"text": "x"}, {}, {"content": ""}])
def test_embedded_without_html(mime: dict[str, object]) -> None:
    message = parsed(compose({**mime, "attachments": [{"data": "YQ==", "cid": "a"}]}))
    (part,) = message.iter_attachments()
    assert (part.get_content_disposition(), part["Content-ID"]) == ("attachment", None)


def test_an_empty_content_id_is_none() -> None:
    message = parsed(compose({"content": "<p>", "attachments": [{"data": "YQ==", "cid": "<>"}]}))
    assert message.get_content_type() == "multipart/mixed"


@pytest.mark.parametrize(
    ("attachments", "message"),
    [
        ([{"name": "x"}], "mime.attachments[0]: data or url needed"),
        ([{"data": "YQ=="}, {"url": ""}], "mime.attachments[1]: data or url needed"),
        ({"url": "javascript:x"}, "mime.attachments: data or url needed"),
        ([{"data": "Y!=="}], "mime.attachments[0]: data is not base64"),
        ([{"data": "YQ=a"}], "mime.attachments[0]: data is not base64"),
        ([{"data": "Ü"}], "mime.attachments[0]: data is not base64"),
        ([{"data": 5}], "mime.attachments[0].data: expected a string"),
        ([{"data": "YQ==", "name": {}}], "mime.attachments[0].name: expected a string"),
        (["x"], "mime.attachments[0]: expected an object"),
        ("x", "mime.attachments: expected an array"),
        ([{"url": "ftp://x.test/a"}], "mime.attachments[0]: neither http nor https"),
        ([{"url": "/a"}], "mime.attachments[0]: neither http nor https"),
        ([{"data": "YQ=="}] * 101, "mime.attachments: more than 100 attachments"),
    ],
)
def test_errors(attachments: object, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        compose({"attachments": attachments})
    assert str(caught.value) == message
    plan = plan_of({"text": "x", "attachments": attachments}, force=True)
    assert message in plan.notes


def test_with_force_the_others_are_sent() -> None:
    given = [{"data": "YQ=="}, {"data": "!"}, {"name": "c"}, {"data": "ZA=="}, {"url": URL}]
    failures = {URL: DownloadFailure("HTTP 404", is_temporary=False)}
    assert [part.get_payload(decode=True) for part in attached(given, force=True, answers=failures)] == [b"a", b"d"]
    assert len(attached([{"data": "YQ=="}] * 101, force=True)) == 100


@pytest.mark.parametrize("is_temporary", [True, False])
def test_failed_downloads(*, is_temporary: bool) -> None:
    failures = {URL: DownloadFailure("HTTP 404", is_temporary=is_temporary)}
    with pytest.raises(DocumentError) as caught:
        attached([{"data": "YQ=="}, {"url": URL}], answers=failures)
    assert (str(caught.value), caught.value.is_temporary) == ("mime.attachments[1]: HTTP 404", is_temporary)


def test_a_permanent_failure_is_the_better_answer() -> None:
    answers = {
        "https://x.test/1": DownloadFailure("HTTP 503", is_temporary=True),
        "https://x.test/2": DownloadFailure("HTTP 404", is_temporary=False),
    }
    with pytest.raises(DocumentError) as caught:
        attached([{"url": url} for url in answers], answers=answers)
    assert (str(caught.value), caught.value.is_temporary) == ("mime.attachments[1]: HTTP 404", False)


def test_errors_of_the_document_need_no_download() -> None:
    with pytest.raises(DocumentError, match=r"attachments\[1\]: data or url"):
        plan_of({"attachments": [{"url": URL}, {}]})


def test_number_of_downloads() -> None:
    given = [{"url": f"https://x.test/{number}"} for number in range(100)]
    assert len(plan_of({"attachments": given}).downloads) == 100
    assert len(plan_of({"attachments": [{"url": URL}] * 100}).downloads) == 1
    block = {"type": "html", "url": "https://x.test/1"}
    assert len(plan_of({"attachments": given, "blocks": [block]}).downloads) == 101  # two kinds of one address
    with pytest.raises(DocumentError, match=r"^mime\.attachments\[99\]: more than 100 downloads$"):
        plan_of({"attachments": given, "blocks": [{**block, "url": URL}]})


def test_templates_do_not_touch_content() -> None:
    given = {"url": "https://x.test/{$f}", "name": "{$n}.txt"}
    resource = Resource(b"{$n}", "text/plain")
    (part,) = attached([given], data={"f": "ü", "n": "a\nb"}, answers={"https://x.test/%C3%BC": resource})
    assert (part.get_payload(decode=True), part.get_filename()) == (b"{$n}", "ab.txt")
    with pytest.raises(DocumentError, match="not base64"):
        attached([{"data": "{$n}"}], data={"n": "YQ=="})
    (part,) = attached({"data": "YQ==", "name": "{$n}"}, data={"n": "b"})
    assert part.get_filename() == "b"
    with pytest.raises(DocumentError, match=r"^mime\.attachments: expected an array"):
        attached("{$n}", data={"n": "b"})
    with pytest.raises(DocumentError, match=r"^mime\.attachments\[0\]\.name: line 1: "):
        attached([{"data": "YQ==", "name": "{$"}], data={})


def test_messages_are_not_encoded() -> None:
    inner = b"Subject: x\n\n--=_b1 is in here, \xc3\xbc not\r\n"
    (part,) = attached([{"data": data_of(inner.replace(b"\xc3\xbc", b"u")), "name": "m.eml"}])
    assert part.get_content_type() == "message/rfc822"
    assert part["Content-Transfer-Encoding"] == "7bit"
    for unfit in (inner, b"Hallo", b"", b"Subject: x", b"Subject: x\n\n\0", b"Subject: x\n\n" + b"y" * 999):
        (part,) = attached([{"data": data_of(unfit), "name": "m.eml"}])
        assert part.get_content_type() == "application/octet-stream"
        assert part.get_payload(decode=True) == unfit


def test_boundaries_do_not_occur_in_messages() -> None:
    inner = "Subject: x\n\n=_b1 =_b2\n"
    message = compose({"attachments": [{"data": data_of(inner.encode()), "name": "m.eml"}]})
    assert b'boundary="=_b3"' in message
    with pytest.raises(ValueError, match="boundaries"):
        compose(
            {
                "attachments": [
                    {
                        "data": data_of(("Subject: x\n\n" + " ".join(f"=_b{n}" for n in range(50))).encode()),
                        "name": "m.eml",
                    }
                ]
            }
        )


def test_names_and_types() -> None:
    assert clean_file_name("/a/b/") == ""
    assert name_from_url("https://x.test/a/b%2Fc.txt#d") == "c.txt"
    assert name_from_url("https://[x/a") == ""
    assert (type_of_name("a.tar.gz"), type_of_name("gz"), type_of_name("x.")) == ("application/gzip", None, None)
    assert [extension_of_type(name) for name in ("IMAGE/JPEG", "text/html", "text/plain", "x/y")] == [
        ".jpg", ".html", ".txt", "",
    ]  # fmt: skip
