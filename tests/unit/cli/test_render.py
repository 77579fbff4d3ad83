"""``relayq render``: every example and every golden document becomes something to look at."""

from __future__ import annotations

import asyncio
import email
import email.policy
import io
import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.database import open_database, rule_tables
from relayq.cli.main import main
from relayq.config.store_address import parse_store_address
from tests.unit.compose.test_arc import pem

ROOT = Path(__file__).parents[3]
GALLERY = sorted((ROOT / "examples" / "gallery").glob("*.json"))
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").rglob("*.json"))
    if path not in GALLERY and "mime" in json.loads(path.read_text("utf-8"))
]
DOCUMENTS = sorted((ROOT / "tests" / "golden" / "responsive").glob("*.json"))
MESSAGES = sorted((ROOT / "tests" / "golden" / "composing").glob("*.json"))
MESSAGE = {
    "envelope": "b@shop.test",
    "recipient": "ann@x.test",
    "mime": {
        "from": "shop@shop.test",
        "subject": "Hi {$first}",
        "text": "Dear {$first} {$last}",
        "html": "<p>{$first}",
    },
    "data": {"first": "Ann", "last": "Doe"},
}
DOWNLOAD = {"from": "a@x.test", "text": "x", "attachments": [{"url": "https://files.test/a.pdf"}]}


class Rendered:
    """What a command line printed."""

    def __init__(self, code: int, output: bytes, errors: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors


class Renderer:
    """Runs the command in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capture = capture

    def file(self, name: str, content: Any) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)

    def __call__(self, *words: str, given: Any = None) -> Rendered:
        text = given if isinstance(given, str) else json.dumps(given)
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main(["render", "--no-default-config", "--hostname=mta.test", *words])
        output, errors = self._capture.readouterr()
        return Rendered(code, output, errors.decode())


@pytest.fixture
def render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Renderer:
    return Renderer(tmp_path, monkeypatch, capsysbinary)


@pytest.mark.parametrize("view", ["--mime", "--html", "--text", "--page"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_can_be_looked_at(render: Renderer, path: Path, view: str) -> None:
    options = () if view == "--mime" else (view,)
    done = render(*options, str(path))
    if path.stem == "downloads":
        assert done.code == 65
        assert "mime.content.blocks[0]: not downloaded" in done.errors
        assert "not downloaded without --download: https://" in done.errors
    elif path.stem == "message" and view == "--html":
        assert (done.code, done.errors) == (65, f"relayq: {path}: the message has no HTML part\n")
    else:
        assert done.code == 0, done.errors
        assert done.output


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_every_entry_of_the_gallery_can_be_looked_at(render: Renderer, path: Path) -> None:
    web = path.with_suffix(".web")
    done = render("--page", *([f"--answers={web}"] if web.exists() else []), str(path))
    assert done.code == 0, done.errors
    assert b'class="re-body"' in done.output


def test_answers_stand_for_downloads(render: Renderer) -> None:
    blocks = [{"type": "import", "url": "https://x.test/i"}, {"type": "html", "url": "https://x.test/h"}]
    message = {**MESSAGE, "mime": {"from": "a@x.test", "content": {"blocks": blocks}}}
    answers: dict[str, Any] = {
        "https://x.test/i": {"body": {"type": "text", "content": "imported {$first}"}},
        "https://x.test/h": {"body": "<p>{$first} ü", "type": "text/html; charset=utf-8"},
    }
    done = render("--text", "--answers", render.file("web.json", answers), given=message)
    assert (done.output.decode(), done.errors) == ("imported Ann\n\n{$first} ü\n", "")
    del answers["https://x.test/h"]
    done = render("--text", "--answers", render.file("web.json", answers), given=message)
    assert done.code == 65
    assert "not downloaded without --download: https://x.test/h\n" in done.errors


@pytest.mark.parametrize(
    "content",
    ["{", "[]", {"https://x.test/": "x"}, {"https://x.test/": {"type": "a/b"}}, {"u": {"body": 1, "type": 1}}],
)
def test_answers_that_are_none(render: Renderer, content: object) -> None:
    path = render.file("web.json", content)
    done = render("--answers", path, given=MESSAGE)
    assert (done.code, done.output) == (65, b"")
    assert done.errors.startswith(f"relayq: {path}: ")


def test_there_are_examples() -> None:
    assert len(GALLERY) >= 18
    assert {path.stem for path in EXAMPLES} >= {"message", "newsletter", "order", "downloads"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_golden_document_can_be_looked_at(render: Renderer, path: Path) -> None:
    given = json.loads(path.read_text("utf-8"))
    done = render(given={"force": True, **given, "recipient": "ann@x.test", "envelope": "b@shop.test"})
    assert done.code == 0, done.errors
    parsed = email.message_from_bytes(done.output, policy=email.policy.default)
    assert parsed["From"]
    assert parsed["MIME-Version"] == "1.0"


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_every_golden_message_can_be_looked_at(render: Renderer, path: Path) -> None:
    expected = path.with_suffix(".out")
    done = render(str(path))
    assert done.code == (0 if expected.exists() else 65)
    if expected.exists():
        assert len(done.output.splitlines()) == len(expected.read_bytes().splitlines())
    else:
        assert f"relayq: {path}: responsive/error: " in done.errors


def test_the_message_as_it_would_be_sent(render: Renderer) -> None:
    seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
    more = {"dkim": {"domain": "shop.test", "selector": "s", "key": seed}, "headers": {"append": {"X-A": "1"}}}
    done = render(given={**MESSAGE, **more, "seen": "2030-05-01 07:30:00"})
    assert done.output.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")
    parsed = email.message_from_bytes(done.output, policy=email.policy.default)
    assert (parsed["Subject"], parsed["X-A"]) == ("Hi Ann", "1")
    assert parsed["Date"] == "Wed, 01 May 2030 07:30:00 +0000"
    assert done.errors == ""


def test_views(render: Renderer) -> None:
    assert render("--html", given=MESSAGE).output == b"<p>Ann\n"
    assert render("--text", given=MESSAGE).output == b"Dear Ann Doe\n"
    assert render("--page", given=MESSAGE).output.endswith(b"<p>Ann\n")


def test_style_sheets_are_inlined_by_the_settings(render: Renderer) -> None:
    html = "<style>p{color:red} a:hover{top:0}</style><p>x"
    given = {**MESSAGE, "mime": {"from": "a@x.test", "html": html}, "inlinecss": True}
    assert render("--html", given=given).output == b'<style> a:hover{top:0!important}</style><p style="color:red">x\n'
    done = render("--html", "--inlinecss-important=no", given=given)
    assert done.output == b'<style> a:hover{top:0}</style><p style="color:red">x\n'


def test_settings_come_from_a_file_as_well(render: Renderer) -> None:
    config = render.file("config.txt", "personalize-escape: html\n")
    given = {**MESSAGE, "data": {"first": "<b>"}}
    assert render("--html", "--config-file", config, given=given).output == b"<p>&lt;b&gt;\n"


@pytest.mark.parametrize("own", [{"first": "Ann", "last": "Doe"}, {}, [], None])
def test_other_data_goes_over_that_of_the_message(render: Renderer, own: object) -> None:
    data = render.file("data.json", {"first": "Bob"})
    last = b"Doe" if own and isinstance(own, dict) else b""
    done = render("--text", "--data", data, given={**MESSAGE, "data": own})
    assert done.output.rstrip() == b"Dear Bob " + last if last else b"Dear Bob"


def test_data_may_come_from_standard_input(render: Renderer) -> None:
    message = render.file("message.json", MESSAGE)
    assert render("--text", "--data", "-", message, given={"last": "Roe"}).output == b"Dear Ann Roe\n"


def test_a_recipient_can_be_missing(render: Renderer) -> None:
    done = render("--text", given={"mime": "Subject: x\r\n\r\n{$recipient}\r\n", "data": {}})
    assert done.output == b"recipient@example.org\n"
    assert done.errors == 'relayq: standard input: no recipient; rendered for "recipient@example.org"\n'


def test_what_force_leaves_out_is_told(render: Renderer) -> None:
    done = render("--text", given={**MESSAGE, "mime": DOWNLOAD, "force": True})
    assert (done.code, done.output) == (0, b"x\n")
    assert done.errors.splitlines() == [
        "relayq: compose: ann@x.test: mime.attachments[0]: not downloaded",
        "relayq: not downloaded without --download: https://files.test/a.pdf",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "standard input: "),
        ("{", "standard input: "),
        ("[]", "standard input: "),
        ('{"recipient": "a@b.test"} {}', "standard input: "),
        ({**MESSAGE, "recipient": "nobody"}, "standard input: recipient: "),
        ({**MESSAGE, "mime": 1}, "standard input: mime: "),
        ({**MESSAGE, "mime": None}, "standard input: "),
        ({**MESSAGE, "mime": None, "key": "k"}, "standard input: mime: missing; what lies in the message store"),
        (
            {**MESSAGE, "headers": {"append": {"X-A": "a\nb"}}},
            "standard input: amqp/invalid: headers.append.X-A: CR, LF",
        ),
        (
            {**MESSAGE, "mime": "Subject: {if $n}\r\n\r\n"},
            "standard input: responsive/error: subject: line 1: unclosed if",
        ),
        ({**MESSAGE, "mime": DOWNLOAD}, "standard input: responsive/error: mime.attachments[0]: not downloaded"),
    ],
)
def test_bad_input_is_told_with_its_place(render: Renderer, given: object, told: str) -> None:
    done = render(given=given)
    assert (done.code, done.output) == (65, b"")
    assert done.errors.splitlines()[-1].startswith(f"relayq: {told}")


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_bad_data_is_told_with_its_place(render: Renderer, content: str) -> None:
    data = render.file("data.json", content)
    done = render("--data", data, given=MESSAGE)
    assert done.code == 65
    assert done.errors.startswith(f"relayq: {data}: ")


def test_data_of_the_message_that_is_no_object(render: Renderer) -> None:
    done = render("--data", render.file("data.json", {}), given={**MESSAGE, "data": "x"})
    assert done.code == 65
    assert done.errors.startswith("relayq: standard input: data: ")


@pytest.mark.parametrize(
    "words", [("a.json", "b.json"), ("--data", "-"), ("--nonsense",), ("--download", "--answers=a", "b.json")]
)
def test_wrong_command_lines(render: Renderer, words: tuple[str, ...]) -> None:
    assert render(*words, given=MESSAGE).code == 64


def test_a_file_that_is_not_there(render: Renderer) -> None:
    done = render("/nowhere/message.json")
    assert done.code == 71
    assert done.errors == "relayq: /nowhere/message.json: No such file or directory\n"


SIGNER = re.compile(rb"^DKIM-Signature: .*?\bd=([a-z.]+);", re.MULTILINE | re.DOTALL)


def rules_of(folder: Path, *, has_tables: bool = True) -> str:
    """Setting with a database in which the domain of the message's author has a key."""
    path = folder / "rules.db"
    with closing(sqlite3.connect(path)) as connection:
        if has_tables:
            asyncio.run(create_tables(path))
            statement = "INSERT INTO dkim_keys (domain, selector, private_key) VALUES ('shop.test', 'all', ?)"
            connection.execute(statement, (pem(),))
        connection.commit()
    return f"--database-address=sqlite://{path}"


async def create_tables(path: Path) -> None:
    database = open_database(parse_store_address(f"sqlite://{path}"))
    await database.repair(rule_tables())
    await database.close()


def test_keys_of_the_database_sign_as_in_a_delivery(render: Renderer) -> None:
    address = rules_of(render.folder)
    done = render(address, given=MESSAGE)
    assert (done.code, done.errors) == (0, "")
    assert SIGNER.findall(done.output) == [b"shop.test"]
    assert b" s=all;" in done.output
    other = {**MESSAGE, "mime": "From: a@other.test\r\n\r\nx\r\n"}
    assert SIGNER.findall(render(address, given=other).output) == []


def test_unsigned_means_without_any_signature(render: Renderer) -> None:
    entry = {"domain": "shop.test", "selector": "s", "key": pem()}
    mime = {"from": "shop@shop.test", "text": "x", "dkim": {**entry, "selector": "inner"}}
    given = {**MESSAGE, "mime": mime, "dkim": entry}
    address = rules_of(render.folder)
    assert SIGNER.findall(render(address, given=given).output) == [b"shop.test"] * 3
    done = render("--unsigned", address, given=given)
    assert (done.code, done.errors) == (0, "")
    assert b"DKIM-Signature" not in done.output


def test_a_database_that_cannot_be_read_is_told(render: Renderer) -> None:
    address = rules_of(render.folder, has_tables=False)
    done = render(address, given=MESSAGE)
    assert (done.code, done.output) == (69, b"")
    assert "relayq database --repair" in done.errors
    assert "--unsigned does without the keys in it" in done.errors
    assert render("--unsigned", address, given=MESSAGE).code == 0
    assert render("--text", address, given=MESSAGE).code == 0  # nobody sees signatures there
