"""What `relayq.ports.MessageStore` promises, checked against every adapter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from relayq.ports import MessageStore, StoreDamagedError, StoreUnavailableError
from tests.contract.store.conftest import PATIENCE, Bench

MIB = 1024 * 1024

BODIES = {
    "mail": b"From: a@shop.test\r\nSubject: Hi\r\n\r\n.Hello\r\n",
    "bare line ends": b"a\nb\rc\r\n",
    "json source": b'{"subject":"Hi","text":"\xc3\xa9"}',
    "empty": b"",
    "one nul": b"\0",
    "every octet": bytes(range(256)) * 5,
    "not UTF-8": b"\xff\xfe\xc3(",
    "looks like gzip": b"\x1f\x8b\x08\x00",
    "compresses well": b"a" * 100_000,
}

KEYS = [
    "a",
    "mta-" + "0123456789abcdef" * 2,
    "../../etc/x",
    "/etc/passwd",
    "..",
    ".",
    ".hidden",
    "a/b\\c",
    "%2E%2e",
    "a%00b",
    "a\0b",
    "line\r\nend",
    "tab\tblank ",
    " ",
    "'; DROP TABLE messages; --",
    '{"$gt": ""}',
    "$where",
    "a.b.c",
    "key.part0",
    "name.gz",
    "*?[]{}~",
    "schl\u00fcssel",
    "\u90f5\u4ef6",
    "\U0001f48c",
    "k" * 1024,
    "\u00e9" * 512,
    "\U0001f48c" * 256,
]

# Different texts that some engine somewhere takes for the same.
ALIKE = [
    "Key",
    "key",
    "KEY",
    "key ",
    " key",
    "k\u00e9y",
    "ke\u0301y",
    "k\u00cay",
    "key\0",
    "key/",
    "stra\u00dfe",
    "strasse",
]


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def noise(size: int) -> bytes:
    """Octets no compression makes smaller, the same in every run."""
    return random.Random(size).randbytes(size)


async def gone(store: MessageStore, key: str, hours_from_now: float = 0.0) -> None:
    """Return once ``key`` is unknown, for a sweeper that believes it is that late already."""
    async with asyncio.timeout(PATIENCE):
        while await store.load(key) is not None:
            while await store.sweep(in_hours(hours_from_now)):
                pass
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_comes_back_octet_by_octet(bench: Bench, name: str) -> None:
    store = bench.open()
    await store.save("key", BODIES[name], in_hours(1))
    assert await store.load("key") == BODIES[name]


@pytest.mark.parametrize("name", BODIES)
async def test_a_compressed_body_comes_back_octet_by_octet(bench: Bench, name: str) -> None:
    store = bench.open(compress=True)
    await store.save("key", BODIES[name], in_hours(1))
    assert await store.load("key") == BODIES[name]


async def test_an_unknown_key_is_no_error(bench: Bench) -> None:
    store = bench.open()
    assert await store.load("nobody") is None
    await store.delete("nobody")
    await store.refresh("nobody", in_hours(1))
    assert await store.load("nobody") is None
    assert await bench.factory.count() == 0


@pytest.mark.parametrize("key", KEYS, ids=ascii)
async def test_any_text_is_a_key(bench: Bench, key: str) -> None:
    store = bench.open()
    await store.save(key, b"body", in_hours(1))
    assert await store.load(key) == b"body"
    await store.refresh(key, in_hours(2))
    await store.delete(key)
    assert await store.load(key) is None
    assert await bench.factory.count() == 0


async def test_short_keys_are_not_taken_for_anything_else(bench: Bench) -> None:
    store = bench.open()
    for number in range(40):
        await store.save(f"key-{number}", b"body", in_hours(1))
    assert [await store.load(key) for key in "0123456789abcdef"] == [None] * 16
    await store.save("a", b"short", in_hours(1))
    assert await store.load("a") == b"short"


async def test_different_texts_are_different_keys(bench: Bench) -> None:
    store = bench.open()
    for number, key in enumerate(ALIKE):
        await store.save(key, b"%d" % number, in_hours(1))
    assert [await store.load(key) for key in ALIKE] == [b"%d" % number for number in range(len(ALIKE))]
    await store.delete(ALIKE[0])
    assert [await store.load(key) is None for key in ALIKE] == [True] + [False] * (len(ALIKE) - 1)


async def test_a_second_save_replaces_the_first(bench: Bench) -> None:
    store = bench.open()
    for body in (b"first", b"", b"second, longer", b"third"):
        await store.save("key", body, in_hours(1))
        assert await store.load("key") == body
    assert await bench.factory.count() == 1


async def test_deleting_removes_one_entry_alone(bench: Bench) -> None:
    store = bench.open()
    await store.save("one", b"1", in_hours(1))
    await store.save("two", b"2", in_hours(1))
    await store.delete("one")
    assert await store.load("one") is None
    assert await store.load("two") == b"2"
    await store.delete("one")
    assert await bench.factory.count() == 1


async def test_another_store_object_sees_what_was_saved(bench: Bench) -> None:
    await bench.open().save("key", b"body", in_hours(1))
    other = bench.open()
    assert await other.load("key") == b"body"
    await other.delete("key")
    assert await bench.open().load("key") is None


@pytest.mark.parametrize("compress", [False, True])
async def test_a_large_body_comes_back_and_goes(bench: Bench, compress: bool) -> None:
    store = bench.open(compress=compress)
    body = noise(5 * MIB)
    await store.save("large", body, in_hours(1))
    assert await store.load("large") == body
    await store.delete("large")
    assert await store.load("large") is None
    assert await bench.factory.count() == 0


async def test_what_was_written_before_compression_was_switched_is_readable(bench: Bench) -> None:
    plain, packed = bench.open(), bench.open(compress=True)
    body = b"text " * 1000
    await plain.save("plain", body, in_hours(1))
    await packed.save("packed", body, in_hours(1))
    assert await packed.load("plain") == body
    assert await plain.load("packed") == body


async def test_switching_compression_replaces_what_a_key_had(bench: Bench) -> None:
    plain, packed = bench.open(), bench.open(compress=True)
    first, second, third = b"first " * 1000, b"second " * 1000, b"third " * 1000
    await plain.save("key", first, in_hours(1))
    await packed.save("key", second, in_hours(1))
    assert await plain.load("key") == second
    await plain.save("key", third, in_hours(1))
    assert await packed.load("key") == third
    assert await bench.factory.count() == 1
    await packed.delete("key")
    assert await plain.load("key") is None


@pytest.mark.parametrize("value", [b"From: x@y.test\r\n\r\nhello\r\n", b"", b"\xff\0\xfe"], ids=repr)
async def test_an_entry_of_another_program_is_read_as_it_is(bench: Bench, value: bytes) -> None:
    store = bench.open()
    await bench.factory.put_foreign("theirs", value)
    assert await store.load("theirs") == value
    await store.delete("theirs")
    assert await store.load("theirs") is None


async def test_an_entry_without_expiry_stays(bench: Bench) -> None:
    store = bench.open()
    await store.save("ours", b"body", in_hours(1))  # the storage is prepared by now
    await bench.factory.put_foreign("theirs", b"body")
    await store.refresh("theirs", in_hours(-2))
    while await store.sweep(in_hours(24)):
        pass
    assert await store.load("theirs") == b"body"


async def test_what_has_expired_goes_and_the_rest_stays(bench: Bench) -> None:
    if not bench.factory.can_expire:
        pytest.skip("expires by a rule of the server that cannot be waited for")
    store = bench.open()
    await store.save("old", b"old", in_hours(-3))
    await store.save("new", b"new", in_hours(1))
    await gone(store, "old")
    assert await store.load("new") == b"new"
    assert await bench.factory.count() == 1


async def test_a_refreshed_entry_lives_longer(bench: Bench) -> None:
    if not bench.factory.can_expire:
        pytest.skip("expires by a rule of the server that cannot be waited for")
    store = bench.open()
    for key in ("longer", "shorter", "control"):
        await store.save(key, b"body", datetime.now(UTC) + timedelta(seconds=5))
    await store.refresh("longer", in_hours(5))
    await store.save("shorter", b"body", in_hours(5))
    await store.refresh("shorter", in_hours(-3))
    await gone(store, "control", 2)
    assert await store.load("longer") == b"body"
    assert await store.load("shorter") == b"body"


async def test_many_entries_expire(bench: Bench) -> None:
    if not bench.factory.can_expire:
        pytest.skip("expires by a rule of the server that cannot be waited for")
    store = bench.open()
    for number in range(25):
        await store.save(f"old-{number}", b"body", in_hours(-3))
    for number in range(25):
        await gone(store, f"old-{number}")
    assert await bench.factory.count() == 0


async def test_operations_run_at_the_same_time(bench: Bench) -> None:
    store = bench.open()

    async def live(number: int) -> None:
        key, body = f"key-{number}", noise(1000 + number)
        await store.save(key, b"to be replaced", in_hours(1))
        await store.save(key, body, in_hours(1))
        assert await store.load(key) == body
        await store.refresh(key, in_hours(2))
        await store.delete(key)
        assert await store.load(key) is None

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number in range(32):
            group.create_task(live(number))
    assert await bench.factory.count() == 0


async def test_writers_of_one_key_leave_one_body_whole(bench: Bench) -> None:
    store = bench.open()
    bodies = [bytes([number]) * 50_000 for number in range(8)]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for body in bodies:
            group.create_task(store.save("key", body, in_hours(1)))
    assert await store.load("key") in bodies
    assert await bench.factory.count() == 1


async def test_a_cancelled_operation_leaves_a_usable_store(bench: Bench) -> None:
    store = bench.open()
    await store.save("key", b"body", in_hours(1))
    for _ in range(10):
        tasks = [asyncio.create_task(store.load("key")) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(PATIENCE):
        assert await store.load("key") == b"body"


async def test_probing_reads_and_changes_nothing(bench: Bench) -> None:
    store = bench.open()
    await store.probe()
    assert await bench.factory.count() == 0


OPERATIONS: dict[str, Callable[[MessageStore], Awaitable[object]]] = {
    "load": lambda store: store.load("key"),
    "save": lambda store: store.save("key", b"body", in_hours(1)),
    "refresh": lambda store: store.refresh("key", in_hours(1)),
    "delete": lambda store: store.delete("key"),
    "probe": lambda store: store.probe(),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_store_that_cannot_be_used_says_so_every_time(bench: Bench, name: str) -> None:
    store = bench.open_unreachable()
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError) as caught:
                await OPERATIONS[name](store)
            assert str(caught.value)


async def test_a_body_cut_short_is_damaged(bench: Bench) -> None:
    if not bench.factory.can_compress:
        pytest.skip("nothing stored tells that octets are missing")
    store = bench.open(compress=True)
    await store.save("key", b"text " * 1000, in_hours(1))
    await bench.factory.damage("key")
    with pytest.raises(StoreDamagedError):
        await store.load("key")
    await store.delete("key")
    assert await bench.factory.count() == 0


# --- large bodies in parts -----------------------------------------------------------------------------------------

PART = 64 * 1024


@pytest.fixture
def splitting(bench: Bench) -> Bench:
    """The bench of an engine that splits."""
    if not bench.factory.can_split:
        pytest.skip("never splits a body")
    return bench


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 7])
@pytest.mark.parametrize("compress", [False, True])
async def test_parts_make_up_the_body(splitting: Bench, size: int, compress: bool) -> None:
    store = splitting.open(part_bytes=PART, compress=compress)
    body = noise(size)
    await store.save("key", body, in_hours(1))
    assert (await splitting.factory.count() > 1) == (size > PART)
    assert await store.load("key") == body
    assert await splitting.open().load("key") == body
    await store.delete("key")
    assert await store.load("key") is None
    assert await splitting.factory.count() == 0


async def test_compression_comes_before_splitting(splitting: Bench) -> None:
    store = splitting.open(part_bytes=PART, compress=True)
    await store.save("key", b"a" * (PART * 3), in_hours(1))
    assert await splitting.factory.count() == 1


async def test_replacing_leaves_no_parts_behind(splitting: Bench) -> None:
    store = splitting.open(part_bytes=PART)
    for size in (4 * PART, 2 * PART, 10, 3 * PART, 0):
        body = noise(size)
        await store.save("key", body, in_hours(1))
        assert await store.load("key") == body
    assert await splitting.factory.count() == 1


async def test_a_missing_part_is_damage_and_can_be_deleted(splitting: Bench) -> None:
    store = splitting.open(part_bytes=PART)
    await store.save("key", noise(4 * PART), in_hours(1))
    await splitting.factory.damage("key")
    with pytest.raises(StoreDamagedError):
        await store.load("key")
    await store.delete("key")
    assert await store.load("key") is None
    assert await splitting.factory.count() == 0


async def test_expiry_and_refreshing_reach_all_parts(splitting: Bench) -> None:
    if not splitting.factory.can_expire:
        pytest.skip("expires by a rule of the server that cannot be waited for")
    store = splitting.open(part_bytes=PART)
    body = noise(4 * PART)
    await store.save("control", body, in_hours(-3))
    await store.save("key", body, datetime.now(UTC) + timedelta(seconds=60))
    await store.refresh("key", in_hours(5))
    await gone(store, "control")
    while await store.sweep(in_hours(2)):
        pass
    assert await store.load("key") == body
    await store.delete("key")
    assert await splitting.factory.count() == 0
