"""When a policy is looked for, fetched again, kept and forgotten (RFC 8461 section 5.1)."""

from __future__ import annotations

import asyncio

import pytest

from relayq.adapters import mta_sts
from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.adapters.mta_sts import RECHECK_SECONDS, RETRY_SECONDS, FetchError, HttpsPolicies
from relayq.policy.mta_sts import NO_POLICY, StsMode, StsPolicy
from relayq.ports import DnsFailureKind

DOMAIN = "a.test"
DAY = 86_400.0


def file(mode: str = "enforce", max_age: float = DAY) -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: mx.a.test\nmax_age: {max_age:.0f}\n".encode()


class Files:
    """Policy files by domain; what is an exception is raised."""

    def __init__(self) -> None:
        self.by_domain: dict[str, bytes | Exception] = {DOMAIN: file()}
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.is_closed = False

    async def fetch(self, domain: str) -> bytes:
        self.fetched.append(domain)
        self.begun.set()
        await self.gate.wait()
        answer = self.by_domain.get(domain, FetchError("status 404"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.is_closed = True


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.resolver = MemoryResolver(self.clock)
        self.files = Files()
        self.policies = HttpsPolicies(self.resolver, self.files, self.clock)
        self.announce("1")

    def announce(self, policy_id: str, domain: str = DOMAIN) -> None:
        self.resolver.set_txt(f"_mta-sts.{domain}", f"v=STSv1; id={policy_id};")

    async def mode(self, domain: str = DOMAIN) -> StsMode:
        """As a message finds it: what is cached, else what is fetched."""
        policy = self.policies.cached(domain) or await self.policies.fetch(domain)
        assert self.policies.cached(domain) == policy
        return policy.mode


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_policy_is_found_and_kept(world: World) -> None:
    assert world.policies.cached(DOMAIN) is None
    assert await world.policies.fetch(DOMAIN) == StsPolicy(StsMode.ENFORCE, ("mx.a.test",), DAY)
    assert await world.mode() is StsMode.ENFORCE
    assert world.files.fetched == [DOMAIN]


async def test_a_domain_without_an_announcement_is_not_asked_for_a_file(world: World) -> None:
    for domain in ("nothing.test", "texts.test"):
        world.resolver.set_txt("_mta-sts.texts.test", "v=spf1 -all")
        assert await world.policies.fetch(domain) is NO_POLICY
        assert world.policies.cached(domain) is NO_POLICY
    assert world.files.fetched == []


async def test_the_same_announcement_does_not_lead_to_another_fetch(world: World) -> None:
    await world.mode()
    world.clock.advance(RECHECK_SECONDS + 1)
    assert world.policies.cached(DOMAIN) is None  # the announcement is looked at again
    assert await world.mode() is StsMode.ENFORCE
    assert world.files.fetched == [DOMAIN]


async def test_another_announcement_does(world: World) -> None:
    await world.mode()
    world.announce("2")
    world.files.by_domain[DOMAIN] = file("testing")
    assert await world.mode() is StsMode.ENFORCE  # not before it is time to look
    world.clock.advance(RECHECK_SECONDS + 1)
    assert await world.mode() is StsMode.TESTING


@pytest.mark.parametrize("trouble", ["no file", "bad file", "no announcement", "no name server", "a bug"])
async def test_a_policy_outlives_any_trouble_until_it_expires(world: World, trouble: str) -> None:
    """Otherwise whoever can disturb the DNS could switch protection off."""
    await world.mode()
    if trouble == "no announcement":
        world.resolver.set_txt(f"_mta-sts.{DOMAIN}")
    elif trouble == "no name server":
        world.resolver.fail_txt(f"_mta-sts.{DOMAIN}", DnsFailureKind.TIMEOUT)
    else:
        world.announce("2")
        answers: dict[str, bytes | Exception] = {
            "no file": FetchError("status 500"), "bad file": b"nonsense", "a bug": RuntimeError("a bug"),
        }  # fmt: skip
        world.files.by_domain[DOMAIN] = answers[trouble]
    world.clock.advance(RECHECK_SECONDS + 1)
    assert await world.mode() is StsMode.ENFORCE
    world.clock.advance(DAY)
    assert await world.mode() is StsMode.NONE


async def test_a_policy_is_renewed_when_half_of_its_time_is_over(world: World) -> None:
    await world.mode()
    world.clock.advance(DAY / 2 + 1)
    await world.mode()
    assert world.files.fetched == [DOMAIN] * 2
    world.clock.advance(DAY / 2 + 1)
    assert await world.mode() is StsMode.ENFORCE  # the first would have expired by now


async def test_a_fetch_that_failed_is_repeated_after_a_while(world: World) -> None:
    world.files.by_domain[DOMAIN] = FetchError("status 503")
    assert await world.mode() is StsMode.NONE
    world.files.by_domain[DOMAIN] = file()
    world.clock.advance(RETRY_SECONDS - 1)
    assert await world.mode() is StsMode.NONE
    world.clock.advance(2)
    assert await world.mode() is StsMode.ENFORCE


async def test_a_domain_may_take_its_policy_back(world: World) -> None:
    await world.mode()
    world.announce("2")
    world.files.by_domain[DOMAIN] = file("none")
    world.clock.advance(RECHECK_SECONDS + 1)
    assert await world.mode() is StsMode.NONE


async def test_many_ask_at_once(world: World) -> None:
    world.files.gate.clear()
    tasks = [asyncio.create_task(world.policies.fetch(DOMAIN)) for _ in range(20)]
    await world.files.begun.wait()
    tasks[0].cancel()  # the message of one of them is sent away
    world.files.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {policy.mode for policy in found[1:] if isinstance(policy, StsPolicy)} == {StsMode.ENFORCE}
    assert world.files.fetched == [DOMAIN]


async def test_a_slow_web_server_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mta_sts, "FIND_SECONDS", 0.01)
    world.files.gate.clear()
    assert await world.policies.fetch(DOMAIN) is NO_POLICY


async def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mta_sts, "MAX_DOMAINS", 3)
    for number in range(6):
        domain = f"d{number}.test"
        world.announce("1", domain)
        world.files.by_domain[domain] = file()
        await world.policies.fetch(domain)
    assert world.policies.cached("d5.test") is not None
    assert world.policies.cached("d0.test") is None
    assert (len(world.policies._known), len(world.policies._look_again_at)) == (3, 3)


async def test_closing_gives_up_what_is_under_way(world: World) -> None:
    world.files.gate.clear()
    task = asyncio.create_task(world.policies.fetch(DOMAIN))
    await world.files.begun.wait()
    await world.policies.close()
    assert await task is NO_POLICY
    assert world.files.is_closed
    await world.policies.close()
