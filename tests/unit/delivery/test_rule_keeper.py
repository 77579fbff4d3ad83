"""Rules of the database in memory (spec operations.md 25)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from relayq.adapters.database import rule_tables
from relayq.adapters.memory import ManualClock, MemoryDatabase, MemoryResolver, RecordingObserver
from relayq.compose import PrivateKeys
from relayq.delivery import rule_keeper as module
from relayq.delivery.rule_keeper import RuleKeeper, RuleKeeperRules
from relayq.ports import DatabaseUnavailableError, DnsFailureKind, SchemaError
from tests.support.engine import eventually

SEED = base64.b64encode(bytes(32)).decode()
KEY = {"id": 1, "domain": "shop.example", "selector": "s1", "private_key": SEED}
NAME = "s1._domainkey.shop.example"
MESSAGE = b"From: a@shop.example\r\n\r\n"
DOWN = DatabaseUnavailableError("connection refused")


class Desk:
    def __init__(self) -> None:
        self.database = MemoryDatabase(dkim_keys=[dict(KEY)], dkim_patterns=[], settings_version=[{"version": 1}])
        self.resolver = MemoryResolver(ManualClock())
        self.observer = RecordingObserver()
        self.keeper = self.make()

    def make(self, *, ttl: float = 600.0, is_validated: bool = True) -> RuleKeeper:
        rules = RuleKeeperRules(ttl=ttl, is_validated=is_validated)
        self.keeper = RuleKeeper(self.database, rule_tables(), rules, self.resolver, self.observer)
        return self.keeper

    @property
    def selectors(self) -> list[str]:
        return [key.selector for key in self.keeper.keys_of_author(MESSAGE)]

    @property
    def warnings(self) -> list[str]:
        return [warning.text for warning in self.observer.warnings]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    await made.keeper.close()
    await made.keeper.close()
    assert made.database.is_closed


async def test_keys_are_read_before_anything_starts(desk: Desk) -> None:
    assert desk.selectors == []
    await desk.keeper.start()
    assert desk.selectors == ["s1"]


async def test_they_are_read_again_and_again_and_kept_while_the_database_is_down(desk: Desk) -> None:
    desk.make(ttl=0.0)
    await desk.keeper.start()
    desk.database.rows["dkim_keys"].append({**KEY, "id": 2, "selector": "s2"})
    await eventually(lambda: desk.selectors == ["s1", "s2"], "the new key")
    desk.database.trouble = DOWN
    await eventually(lambda: "rules stay as they were: connection refused" in desk.warnings, "it is told")
    assert desk.selectors == ["s1", "s2"]
    desk.database.trouble = None
    desk.database.rows["dkim_keys"].clear()
    await eventually(lambda: desk.selectors == [], "none is left")


async def test_a_reload_reads_at_once(desk: Desk) -> None:
    await desk.keeper.start()
    desk.database.rows["dkim_keys"].clear()
    desk.keeper.reconfigure(RuleKeeperRules(ttl=700.0))
    await eventually(lambda: desk.selectors == [], "none is left")
    assert desk.database.reads == 2


async def test_nothing_starts_before_the_database_answers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 0.0)
    desk.database.trouble = DOWN
    starting = asyncio.create_task(desk.keeper.start())
    await eventually(lambda: len(desk.warnings) > 2, "it tries again")
    assert not starting.done()
    assert desk.warnings[0] == "nothing is delivered before rules were read: connection refused"
    desk.database.trouble = None
    await starting
    assert desk.selectors == ["s1"]


async def test_a_missing_table_stops_the_start_and_says_what_to_do(desk: Desk) -> None:
    del desk.database.rows["dkim_patterns"]
    with pytest.raises(SchemaError, match=r"table dkim_patterns is missing; relayq database --repair creates it"):
        await desk.keeper.start()


async def test_a_missing_table_is_empty_if_nobody_minds(desk: Desk) -> None:
    desk.make(is_validated=False)
    del desk.database.rows["dkim_patterns"]
    await desk.keeper.start()
    assert desk.selectors == ["s1"]
    assert desk.warnings == ["table dkim_patterns is missing: taken as empty"]


async def test_rows_that_cannot_be_used_are_told_once(desk: Desk) -> None:
    desk.make(ttl=0.0)
    desk.database.rows["dkim_keys"].append({**KEY, "id": 2, "private_key": "AAAA"})
    await desk.keeper.start()
    await eventually(lambda: desk.database.reads > 3, "several looks")
    assert desk.warnings == ["dkim_keys 2: not a private key, skipped"]
    assert desk.selectors == ["s1"]


async def test_keys_that_wait_for_dns(desk: Desk) -> None:
    desk.database.rows["dkim_keys"][0]["match_dns"] = 1
    record = PrivateKeys().load(SEED).dns_record()
    desk.make(ttl=0.0)
    await desk.keeper.start()
    assert desk.selectors == []
    desk.resolver.set_txt(NAME, "v=DKIM1; p=AAAA")
    await eventually(lambda: any("another public key" in text for text in desk.warnings), "the wrong one is told")
    assert desk.selectors == []
    desk.resolver.set_txt(NAME, record.replace("p=", "p= "))
    await eventually(lambda: desk.selectors == ["s1"], "the right one signs")
    desk.resolver.fail_txt(NAME, DnsFailureKind.TIMEOUT)
    reads = desk.database.reads
    await eventually(lambda: desk.database.reads > reads + 2, "several looks")
    assert desk.selectors == ["s1"]  # nobody says that it is gone
    desk.resolver.fail_txt(NAME, DnsFailureKind.NXDOMAIN)
    await eventually(lambda: desk.selectors == [], "it signs only while it is there")


async def test_what_nobody_foresaw_is_told_and_ends_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.make(ttl=0.0)
    await desk.keeper.start()

    async def fail(tables: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(desk.database, "read", fail)
    await eventually(lambda: len(desk.observer.crashes) > 1, "it goes on")
    assert desk.selectors == ["s1"]


async def test_a_database_that_hangs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.01)
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 60.0)

    async def hang(tables: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(desk.database, "read", hang)
    starting = asyncio.create_task(desk.keeper.start())
    await eventually(lambda: desk.warnings != [], "it is told")
    assert desk.warnings == ["nothing is delivered before rules were read: no answer in time"]
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
