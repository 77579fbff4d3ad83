"""Messages from the outbox and the octets they become, in the order of spec html-css-dkim.md 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import msgspec
import pytest

from relayq.adapters.memory import LocalWorkshop, ManualClock, MemoryFetcher, MemoryResolver, RecordingObserver
from relayq.compose.making import Maker
from relayq.compose.responsive import Resource
from relayq.delivery import composer as composer_module
from relayq.delivery.arrivals import Arrivals
from relayq.delivery.composer import Composer, ComposerRules, Draft
from relayq.delivery.downloads import DownloadRules, Downloads
from relayq.model import DeliveryError
from relayq.model.message_json import ParseRules, decode_members, parse_message
from relayq.ports import DownloadError
from relayq.smtp import Capabilities
from tests.support.mime_oracle import check_by_two_parsers

FOLDER = Path(__file__).parent
CASES = sorted(FOLDER.glob("*.json"))
NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def make_boundaries() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"=_b{next(numbers)}"


async def composed(body: bytes, web: MemoryFetcher, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, str]:
    """Octets and log; an error is the last line of the log."""
    monkeypatch.setattr(composer_module, "_make_boundary", make_boundaries())
    monkeypatch.setattr("relayq.delivery.downloads.SECOND_TRY_SECONDS", 0.0)
    log: list[str] = []

    def warn(component: str, text: str) -> None:
        log.append(f"{component}: {text}\n")

    clock, rules = ManualClock(NOW), ComposerRules()
    downloads = Downloads(lambda: web, DownloadRules(), clock, RecordingObserver())
    workshop = LocalWorkshop(Maker(rules.making, clock.monotonic, make_boundaries()))
    composer = Composer(rules, clock, warn, workshop, downloads, Arrivals(MemoryResolver(clock), clock, warn))
    message = parse_message(decode_members(body), ParseRules())
    octets = b""
    try:
        content = await composer.prepare(message, message.seen_at or NOW)
        if isinstance(content, Draft):
            content = await composer.complete(content)
        octets = (await composer.finish(content, Capabilities(eight_bit_mime=True))).octets
    except DeliveryError as error:
        log.append(f"{error}\n")
    composer.close()
    await downloads.close()
    return octets, "".join(log)


def web_of(path: Path) -> MemoryFetcher:
    """What can be downloaded."""
    web = MemoryFetcher()
    for url, given in msgspec.json.decode(path.read_bytes()).items() if path.exists() else ():
        if "cause" in given:
            web.pages[url] = DownloadError(given["cause"], is_temporary=given.get("is_temporary", False))
        else:
            web.pages[url] = Resource(given["body"].encode(), given.get("type"))
    return web


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
async def test_message(case: Path, monkeypatch: pytest.MonkeyPatch, *, update_golden: bool) -> None:
    web = web_of(case.with_suffix(".web"))
    octets, log = await composed(case.read_bytes(), web, monkeypatch)  # noqa: ASYNC240 - a small file
    for path, content in (
        (case.with_suffix(".out"), octets.replace(b"\r\n", b"\n")),
        (case.with_suffix(".log"), log.encode()),
    ):
        if update_golden:
            path.unlink(missing_ok=True)
            if content:
                path.write_bytes(content)
        assert (path.read_bytes() if path.exists() else b"") == content
    if octets:
        check_by_two_parsers(octets)


def test_there_are_cases() -> None:
    assert len(CASES) >= 30
    assert all("recipient" in json.loads(case.read_text("utf-8")) for case in CASES)
