"""``relayq database``, and a worker that signs with keys of the database."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from relayq.adapters.database import open_database, rule_tables
from relayq.config.store_address import parse_store_address
from relayq.trial import ReceivedMessage
from tests.support.commands import run_here
from tests.support.engine import Engine, mail
from tests.unit.compose.test_arc import pem

KEY = "INSERT INTO dkim_keys (domain, selector, private_key) VALUES (?, ?, ?)"
PATTERN = "INSERT INTO dkim_patterns (key_id, kind, pattern) VALUES (?, ?, ?)"


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


async def test_mail_is_signed_by_the_domain_of_its_author(tmp_path: Path) -> None:
    path = tmp_path / "rules.db"
    database = open_database(parse_store_address(f"sqlite://{path}"))
    await database.repair(rule_tables())
    await database.close()
    execute(path, KEY, "shop.example", "s1", pem())
    execute(path, KEY, "service.example", "all", pem())
    execute(path, PATTERN, 2, "fnmatch", "*.example")
    received: list[ReceivedMessage] = []
    async with Engine(f"database-address=sqlite://{path}") as engine:
        await engine.sink(on_message=received.append)
        for number, author in enumerate(("a@shop.example", "a@other.example", "a@other.test")):
            await engine.send(mail(f"m{number}", mime=f"From: {author}\r\nSubject: m{number}\r\n\r\nx\r\n"))
            assert (await engine.outcome(f"m{number}")).kind == "success"
    signers = [re.findall(rb"\bd=([a-z.]+)", message.content or b"") for message in received]
    assert signers == [[b"shop.example", b"service.example"], [b"service.example"], []]


def relayq(*arguments: str) -> tuple[int, str, str]:
    done = run_here(list(arguments))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_tables_are_looked_at_created_and_dropped(tmp_path: Path) -> None:
    options = ("--no-default-config", "--hostname=mx.test", f"--database-address=sqlite://{tmp_path}/rules.db")
    code, output, _ = relayq("database", *options)
    assert (code, output.splitlines()[0]) == (78, "table dkim_keys is missing")
    code, output, _ = relayq("database", "--repair", *options)
    assert (code, output.splitlines()[0]) == (0, "table dkim_keys created")
    assert relayq("database", *options)[:2] == (0, "nothing is missing in 3 tables\n")
    execute(tmp_path / "rules.db", KEY, "shop.example", "s1", "key")
    code, output, errors = relayq("database", "--purge", *options)
    assert (code, output) == (64, "")
    assert "without a terminal --purge needs --yes" in errors
    assert relayq("database", "--purge", "--yes", *options)[:2] == (0, "created 3 empty tables\n")
    with closing(sqlite3.connect(tmp_path / "rules.db")) as connection:
        assert connection.execute("SELECT count(*) FROM dkim_keys").fetchone() == (0,)


def test_what_the_command_cannot_do(tmp_path: Path) -> None:
    code, _, errors = relayq("database", "--no-default-config", "--hostname=mx.test")
    assert code == 78
    assert "database-address is empty" in errors
    code, _, errors = relayq(
        "database", "--no-default-config", "--hostname=mx.test", f"--database-address=sqlite://{tmp_path}/no/rules.db"
    )
    assert code == 69
    assert "sqlite: unable to open database file" in errors
    assert relayq("database", "--repair", "--purge")[0] == 64
    assert relayq("database", "--yes")[0] == 64


def test_a_server_without_its_tables_does_not_start(tmp_path: Path) -> None:
    embedded = f"--rabbitmq-address=embedded://{tmp_path}/broker.db"
    code, _, errors = relayq(
        "run", "--no-default-config", embedded, f"--database-address=sqlite://{tmp_path}/rules.db",
        "--smtp-threads=1", "--hostname=mx.test", f"--journal-directory={tmp_path}/journal",
    )  # fmt: skip
    assert code == 78
    assert "table dkim_keys is missing; relayq database --repair creates it" in errors
