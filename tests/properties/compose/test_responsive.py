"""Whatever a document says, it becomes one well-formed message that says no more, or an error that says where."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from relayq.compose.responsive import DocumentError, DownloadFailure, Occasion, Plan, Resource, parse_document
from relayq.compose.responsive.addresses import split_addresses
from relayq.compose.responsive.html_edit import rewrite_links
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.rewriting import compile_wildcard
from relayq.compose.responsive.text_alternative import html_to_text
from relayq.model import parse_address
from tests.support.documents import SEEN_AT, build, parsed
from tests.support.mime_oracle import check_by_two_parsers

GENERATED = {
    "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type",
    "content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post",
}  # fmt: skip
EVIL = "X-Evil: 1"
pieces = st.sampled_from(
    [
        "\r\n", "\n", "\r", "\0", "\t", " ", f"\r\n{EVIL}", f"\n{EVIL}\n\n", "--=_b1",
        "\r\n--=_b1--\r\n", "--=_b2\r\n", "=_b1", "\u2028", "\x85", "ü", "日本語", "\U0001f600", "\ud83d",
        '"', "'", "<", ">", "&", "\\", ",", ";", ":", "@",
        "=?utf-8?q?", "?=", "a", "word ", "x" * 90, "y" * 1100, "{$a}", "{$b}", "{", "}", "{if $a}", "{/if}",
        "<p>", "<img src=x>", "<a href='", "</body>", "<script>", "<!--", "-->", "From ", ".", "http://x.test/",
        "javascript:", "data:image/png;base64,AAAA", "cid:a", "a@x.test",
    ]
)  # fmt: skip
texts = st.one_of(st.lists(pieces, max_size=8).map("".join), st.text(max_size=40))
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 2000), st.floats(allow_nan=False), texts)
garbage = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is expected, now and then anything."""
    return st.integers(0, 19).flatmap(lambda dice: garbage if dice == 0 else good)


def objects(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these members."""
    return st.fixed_dictionaries({}, optional={name: maybe(member) for name, member in members.items()})


addresses = st.sampled_from(
    ["a@x.test", "Ann <a@x.test>", '"A, B" <a@x.test>, c@y.test', "info@bücher.example", "G: a@x.test;", "{$b} <{$c}>"]
)
mailboxes = st.one_of(
    addresses, st.fixed_dictionaries({"address": st.just("a@x.test"), "name": texts}), st.lists(addresses, max_size=3)
)
urls = st.one_of(
    st.sampled_from(
        ["http://x.test/a.png", "https://y.test/?a={$a}", "cid:a", "mailto:a@x.test", "data:image/gif;base64,AA=="]
    ),
    texts,
)
looks = objects(
    css=st.dictionaries(st.one_of(st.just("color"), texts), scalars, max_size=2),
    attributes=st.dictionaries(st.one_of(st.sampled_from(["style", "class", "title"]), texts), scalars, max_size=2),
)
sizes = st.one_of(st.integers(-5, 1000), st.sampled_from(["12px", "50%", "{$n}", "x"]))
links = st.one_of(
    urls, objects(url=urls, title=texts, params=st.dictionaries(texts, scalars, max_size=2), attributes=st.just({}))
)
leaves = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "text", "html", "heading", "image", "button", "link", "separator", "spacer", "import", "feed", "video",
                "share", "follow", "odd",
            ]
        )
    },
    optional={
        "content": texts, "url": urls, "src": urls, "alt": texts, "label": texts, "link": links,
        "width": sizes, "height": sizes, "size": sizes, "padding": sizes, "align": texts,
        "margin": maybe(objects(top=sizes, left=sizes)),
        "background": objects(color=texts), "font": objects(family=texts, size=sizes, color=texts), "container": looks,
        "visibility": objects(device=st.sampled_from(["desktop", "mobile"]), output=texts), "css": maybe(st.just({})),
        "platforms": st.one_of(
            st.lists(st.sampled_from(["twitter", "facebook", "odd"]), max_size=2), st.just({"twitter": "@a"})
        ),
        "rewrite": objects(links=st.lists(objects(contains=texts, params=st.just({"a": 1}), match=texts), max_size=2)),
    },
)  # fmt: skip
blocks = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("container"), "blocks": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries(
            {
                "type": st.just("columns"),
                "columns": st.lists(objects(size=sizes, blocks=st.lists(inner, max_size=2)), max_size=3),
            }
        ),
    ),
    max_leaves=5,
)
attachments = objects(
    data=st.sampled_from(["SGFsbG8=", "SGFsbG8", "U3ViamVjdDogYQoKPV9iMQo="]), name=texts, cid=texts,
    type=st.one_of(texts, st.sampled_from(["message/rfc822", "text/plain; charset=x", "multipart/mixed", "image/png"])),
    disposition=texts, url=urls,
)  # fmt: skip
documents = objects(
    **{"from": mailboxes, "to": mailboxes, "cc": mailboxes, "replyTo": mailboxes, "bcc": texts},
    subject=texts, text=texts, html=texts,
    content=st.one_of(texts, objects(blocks=st.lists(maybe(blocks), max_size=4), background=objects(color=texts))),
    headers=st.dictionaries(st.one_of(st.sampled_from(["X-A", "Subject", "Content-Type"]), texts), scalars, max_size=3),
    attachments=st.lists(maybe(attachments), max_size=3),
    unsubscribe=objects(url=urls, email=addresses, oneclick=st.booleans()),
    images=st.sampled_from(["embed", "default"]), tracking=objects(pixel=urls, force=st.booleans()),
    font=objects(family=texts, size=sizes), css=st.dictionaries(texts, scalars, max_size=2),
    rewrite=objects(
        links=st.lists(objects(regex=texts, params=st.dictionaries(texts, scalars, max_size=1)), max_size=2)
    ),
)  # fmt: skip
variables = st.one_of(st.none(), st.fixed_dictionaries({"a": texts, "b": texts, "c": texts, "n": st.integers(0, 20)}))
answers = st.sampled_from(
    [
        Resource(b"<p>{$a}</p>\r\n--=_b1\r\n", "text/html"),
        Resource(b'[{"type": "text", "content": "{$a}"}]', "application/json"),
        Resource(b"GIF89a\x01\0\x01\0\0\0\0", "image/gif\r\nX-Evil: 1", 'attachment; filename="a\r\nX-Evil: 1"'),
        Resource(b"", None, None),
        DownloadFailure("HTTP 404", is_temporary=False),
        DownloadFailure("timed out", is_temporary=True),
    ]
)


def finished(mime: object, data: object, answer: Resource | DownloadFailure, *, force: bool) -> Plan | DocumentError:
    """A plan with the same answer to everything, or why there is none."""
    try:
        occasion = Occasion(
            data=None if data is None else json.dumps(data).encode(),
            envelope=parse_address("bounces@shop.example"),
            recipient="ann@example.org",
            seen_at=SEEN_AT,
            force=force,
        )
        plan = parse_document(json.dumps(mime).encode(), occasion)
        for _ in range(8):
            if not plan.downloads:
                return plan
            plan = plan.with_resources(dict.fromkeys(plan.downloads, answer))
    except DocumentError as error:
        return error
    raise AssertionError("downloads without end")


@settings(max_examples=600)
@given(documents, variables, answers, st.booleans())
def test_one_well_formed_message_or_an_error(mime: Any, data: Any, answer: Resource, force: bool) -> None:
    plan = finished(mime, data, answer, force=force)
    if isinstance(plan, DocumentError):
        assert "\n" not in str(plan)
        assert plan.is_temporary <= (isinstance(answer, DownloadFailure) and not force)
        return
    message = build(plan)
    check_message(message, mime)
    again = finished(mime, data, answer, force=force)
    assert isinstance(again, Plan)
    assert build(again) == message
    assert all("\n" not in note for note in plan.notes)


def check_message(message: bytes, mime: Any) -> None:
    """Line ends, line lengths, header fields and parts are as the document asks for."""
    assert message.replace(b"\r\n", b"").translate(None, b"\r\n\0") == message.replace(b"\r\n", b"")
    assert max(map(len, message.split(b"\r\n"))) <= 998
    header, _, body = message.partition(b"\r\n\r\n")
    assert body.isascii()
    for field in header.decode().replace("\r\n ", " ").split("\r\n"):
        assert field.replace("\t", " ").isprintable()
        assert field.isascii() or field.partition(":")[0].lower() in {"from", "sender", "to", "cc", "reply-to"}
    check_by_two_parsers(message)
    tree = parsed(message)
    asked = mime.get("headers")
    names = {name.lower() for name in asked} if isinstance(asked, dict) else set()
    assert {name.lower() for name in tree.keys()} <= GENERATED | names  # noqa: SIM118 - a message is no mapping
    assert [name.lower() for name in tree.keys()].count("message-id") == 1  # noqa: SIM118
    leaves = [part for part in tree.walk() if not part.is_multipart()]
    for part in leaves:
        assert {name.lower() for name in part.keys()} <= GENERATED | names | {"content-id", "content-disposition"}  # noqa: SIM118
    given_files = mime.get("attachments")
    files = len(given_files) if isinstance(given_files, list) else 1
    embedded = sum(part["Content-ID"] is not None for part in leaves)
    assert len([part for part in leaves if part.get_content_disposition() is None]) <= 2 + files
    assert len(leaves) <= 2 + files + embedded


@given(documents, variables)
def test_with_force_nothing_temporary_is_left(mime: Any, data: Any) -> None:
    failure = DownloadFailure("timed out", is_temporary=True)
    plan = finished(mime, data, failure, force=True)
    assert isinstance(plan, Plan) or not plan.is_temporary


@given(texts, st.booleans())
def test_addresses_are_taken_apart(text: str, has_tags: bool) -> None:
    for parts in split_addresses(text, has_tags=has_tags):
        assert isinstance(parts.name, str)


@given(texts)
def test_html_becomes_text(html: str) -> None:
    text = html_to_text(html)
    assert "\n\n\n" not in text
    assert "  " not in text
    assert text == text.strip()


@given(texts)
def test_html_without_rules_stays_what_it_was(html: str) -> None:
    assert rewrite_links(html, str) == html


@given(texts, st.booleans())
def test_urls_have_nothing_dangerous(text: str, is_image: bool) -> None:
    url = clean_url(text, is_image=is_image)
    assert url.isascii()
    assert not set(url) & set(' "<>\\^`{|}\r\n\t\0')
    assert not url.lower().startswith(("javascript:", "vbscript:", "data:text"))
    assert clean_url(url, is_image=is_image) == url


@given(st.text("ab?", max_size=12), st.text("ab?*", max_size=8))
def test_wildcards(text: str, pattern: str) -> None:
    def holds(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(holds(text[at:], pattern[1:]) for at in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and holds(text[1:], pattern[1:])

    assert (compile_wildcard(pattern).fullmatch(text) is not None) == holds(text, pattern)
