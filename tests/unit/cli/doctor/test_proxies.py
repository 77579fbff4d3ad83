from __future__ import annotations

from pathlib import Path

from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.cli.doctor.examination import examine
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.cli.doctor.proxies import proxy_checks
from tests.support.ports import free_port
from tests.support.proxy_server import ProxyServer
from tests.unit.config.loading import load_text


async def look(folder: Path, address: str, **names: str) -> list[Finding]:
    resolver = MemoryResolver(ManualClock())
    for name, found in names.items():
        resolver.set_addresses(f"{name}.test", found)
    settings = load_text(folder, f"proxy-server: {address}\n")
    return await examine(proxy_checks(settings, resolver, 30.0))


async def test_no_proxy_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert await look(tmp_path, "") == []


async def test_a_proxy_that_takes_connections(tmp_path: Path) -> None:
    async with ProxyServer("socks") as proxy:
        for host in ("127.0.0.1", "proxy.test"):
            [finding] = await look(tmp_path, f"socks://u:secret@{host}:{proxy.port}", proxy="127.0.0.1")
            assert finding.verdict is Verdict.OK
            assert finding.found == f"socks proxy at 127.0.0.1 port {proxy.port}"


async def test_a_proxy_that_does_not(tmp_path: Path) -> None:
    port = free_port()
    [finding] = await look(tmp_path, f"http://127.0.0.1:{port}")
    assert finding.verdict is Verdict.WRONG
    assert finding.found.startswith(f"127.0.0.1 port {port}: ")
    assert "download-proxy" in finding.fix


async def test_a_proxy_without_an_address(tmp_path: Path) -> None:
    [finding] = await look(tmp_path, "http://user:secret@nowhere.test:3128")
    assert finding.verdict is Verdict.WRONG
    assert "nowhere.test" in finding.found
    assert "secret" not in finding.found
