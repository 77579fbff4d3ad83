"""How many connections there are altogether, and which lane gets the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relayq.delivery.budget import FAIR_MESSAGES
from relayq.delivery.lane import LaneLimits, Route
from tests.support.fake_sessions import FakeSession, Yard

LIMITS = LaneLimits(
    max_connections=3, max_starting=3, max_messages=0, max_idle=5.0, offline_time=300.0, backoff_time=60.0
)


@pytest.fixture
def yard() -> Iterator[Yard]:
    made = Yard(LIMITS, budget=2)
    yield made
    made.end()


def idle_on(yard: Yard, address: str) -> FakeSession:
    """A session to an address, idle."""
    lane = yard.lane_to(address)
    yard.acquire(lane)
    session = yard.opens(lane)
    yard.release(session)
    return session


def used_on(yard: Yard, address: str) -> FakeSession:
    lane = yard.lane_to(address)
    yard.acquire(lane)
    return yard.opens(lane)


def test_a_route_has_one_lane(yard: Yard) -> None:
    assert yard.lane_to("192.0.2.1") is yard.lane
    assert yard.lane_to("192.0.2.2") is not yard.lane
    assert yard.lane_to("192.0.2.1", "anna") is not yard.lane
    assert yard.lane_to("192.0.2.1", "anna") is yard.lane_to("192.0.2.1", "anna")


def test_questions_make_no_lane(yard: Yard) -> None:
    before = len(yard.pool._lanes)
    route = Route(None, "192.0.2.9", 25)
    assert not yard.pool.has_idle(route)
    assert yard.pool.load(route) == 0
    assert len(yard.pool._lanes) == before


def test_load_counts_those_that_wait(yard: Yard) -> None:
    idle_on(yard, "192.0.2.1")
    assert yard.pool.has_idle(yard.lane.route)
    assert yard.pool.load(yard.lane.route) == 0
    for _ in range(6):
        yard.acquire()
    assert yard.pool.load(yard.lane.route) > 0


def test_the_connection_idle_for_longest_elsewhere_makes_room(yard: Yard) -> None:
    first, second = idle_on(yard, "192.0.2.1"), idle_on(yard, "192.0.2.2")
    third = yard.lane_to("192.0.2.3")
    task = yard.acquire(third)
    assert [session.is_quitting for session in (first, second)] == [True, False]
    assert not yard.openings
    first.close()
    assert yard.opens(third) is task.result()


def test_one_waiting_lane_closes_one_connection_not_all(yard: Yard) -> None:
    first, second = idle_on(yard, "192.0.2.1"), idle_on(yard, "192.0.2.2")
    third = yard.lane_to("192.0.2.3")
    for _ in range(5):
        yard.acquire(third)
    assert [session.is_quitting for session in (first, second)] == [True, False]


def test_lanes_that_wait_get_connections_in_turn(yard: Yard) -> None:
    busy = [used_on(yard, "192.0.2.1"), used_on(yard, "192.0.2.2")]
    third, fourth = yard.lane_to("192.0.2.3"), yard.lane_to("192.0.2.4")
    tasks = [yard.acquire(third), yard.acquire(fourth)]
    busy[0].close()
    session = yard.opens(third)
    assert tasks[0].result() is session
    busy[1].close()
    assert yard.opens(fourth) is tasks[1].result()


def test_a_session_nobody_else_here_needs_goes_to_a_lane_that_waits(yard: Yard) -> None:
    busy = used_on(yard, "192.0.2.1")
    used_on(yard, "192.0.2.2")
    yard.acquire(yard.lane_to("192.0.2.3"))
    yard.release(busy)
    assert busy.is_quitting


def test_a_busy_lane_keeps_its_only_connection_for_a_fair_number_of_messages() -> None:
    yard = Yard(LIMITS, budget=1)
    session = used_on(yard, "192.0.2.1")
    for _ in range(FAIR_MESSAGES + 5):
        yard.acquire()
    yard.acquire(yard.lane_to("192.0.2.2"))
    served = 1
    while not session.is_quitting:
        yard.release(session)
        served += 1
    assert served == FAIR_MESSAGES + 1
    yard.end()


def test_a_lane_with_two_connections_more_gives_one_up() -> None:
    yard = Yard(LIMITS, budget=3)
    mine = [used_on(yard, "192.0.2.1") for _ in range(3)]
    yard.acquire()
    yard.acquire(yard.lane_to("192.0.2.2"))
    yard.release(mine[0])
    assert mine[0].is_quitting
    yard.end()


def test_lanes_with_as_many_connections_do_not_take_them_from_each_other() -> None:
    yard = Yard(LIMITS, budget=2)
    session, other = used_on(yard, "192.0.2.1"), used_on(yard, "192.0.2.2")
    for _ in range(3):
        yard.acquire()
        yard.acquire(yard.lane_to("192.0.2.2"))
    for _ in range(3):
        yard.release(session)
        yard.release(other)
    assert not session.is_quitting
    assert not other.is_quitting
    yard.end()


def test_two_logins_to_one_host_share_its_limit() -> None:
    yard = Yard(LIMITS, budget=10)
    anna, otto = yard.lane_to("192.0.2.1", "anna"), yard.lane_to("192.0.2.1", "otto")
    yard.acquire(anna)
    session = yard.opens(anna)
    for _ in range(3):
        yard.acquire(anna)
        yard.acquire(otto)
    assert anna.open_count + otto.open_count == LIMITS.max_connections
    session.close()
    assert anna.open_count + otto.open_count <= LIMITS.max_connections
    yard.end()


def test_an_idle_login_makes_room_for_another() -> None:
    yard = Yard(LIMITS, budget=10)
    anna, otto = yard.lane_to("192.0.2.1", "anna"), yard.lane_to("192.0.2.1", "otto")
    sessions = []
    for _ in range(3):
        yard.acquire(anna)
    while yard.openings:
        sessions.append(yard.opens(anna))
    for session in sessions:
        yard.release(session)
    yard.acquire(otto)
    assert [session.is_quitting for session in sessions].count(True) == 1
    yard.end()


def test_closing_an_empty_pool_is_immediate(yard: Yard) -> None:
    closing = yard.loop.create_task(yard.pool.close(5.0))
    yard.loop.settle()
    assert closing.done()
