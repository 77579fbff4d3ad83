"""What one worker learns about a host, the others know (spec operations.md 20)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relayq.delivery.lane import HostDownError, LaneLimits, Route
from relayq.model import ConnectionLost, DeliveryError, DeliveryState, Scope
from tests.support.fake_sessions import Yard

OFFLINE = 30.0


class Board:
    """``MarkBoard`` of a worker."""

    def __init__(self) -> None:
        self.marks: list[tuple[Route, DeliveryError, float]] = []
        self.cleared_routes: list[Route] = []

    def marked_down(self, route: Route, error: DeliveryError, seconds: float) -> None:
        self.marks.append((route, error, seconds))

    def cleared(self, route: Route) -> None:
        self.cleared_routes.append(route)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def yard(board: Board) -> Iterator[Yard]:
    yard = Yard(LaneLimits(offline_time=OFFLINE), marks=board)
    yield yard
    yard.end()


def failure() -> DeliveryError:
    return ConnectionLost(DeliveryState.INTRO, Scope.HOST, "lost")


def test_a_mark_is_told_and_so_is_its_end(yard: Yard, board: Board) -> None:
    task = yard.acquire()
    error = failure()
    yard.fails(error)
    assert isinstance(task.exception(), ConnectionLost)
    assert board.marks == [(yard.lane.route, error, OFFLINE)]
    yard.pass_time(OFFLINE)
    yard.acquire()
    yard.opens()
    assert board.cleared_routes == [yard.lane.route]


def test_a_host_that_was_never_down_is_not_told_about(yard: Yard, board: Board) -> None:
    yard.ready()
    assert (board.marks, board.cleared_routes) == ([], [])


def test_a_mark_from_elsewhere_sends_waiting_messages_on_and_is_not_told_again(yard: Yard, board: Board) -> None:
    task = yard.acquire()
    yard.acquire().cancel()
    waiting = [yard.acquire() for _ in range(8)]
    yard.pool.mark_down(yard.lane.route, failure(), 2 * OFFLINE)
    yard.loop.settle()
    assert yard.pool.marked_down == 1
    assert [each for each in waiting if each.done() and isinstance(each.exception(), HostDownError)]
    with pytest.raises(HostDownError):
        yard.loop.run_until_complete(yard.acquire())
    assert board.marks == []
    yard.opens()  # the connection that was being opened got through: it knows better, and says so
    assert task.done()
    assert board.cleared_routes == [yard.lane.route]
    assert yard.pool.marked_down == 0


def test_a_mark_from_elsewhere_ends_in_time_or_when_it_is_cleared(yard: Yard) -> None:
    route = Route(None, "198.51.100.7", 25)
    yard.pool.mark_down(route, failure(), 10 * OFFLINE)
    yard.pass_time(OFFLINE - 1)
    assert yard.pool.marked_down == 1
    yard.pass_time(1)  # no longer than our own would last
    assert yard.pool.marked_down == 0
    yard.pool.mark_down(route, failure(), OFFLINE)
    yard.pool.clear_mark(route)
    yard.pool.clear_mark(Route(None, "198.51.100.8", 25))
    assert yard.pool.marked_down == 0


def test_a_connection_of_our_own_that_works_knows_better(yard: Yard) -> None:
    yard.ready()
    yard.pool.mark_down(yard.lane.route, failure(), OFFLINE)
    assert yard.pool.marked_down == 0
