"""The worker's end of what workers share: permits, marks of hosts, questions; over the channel to the supervisor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from relayq.app import Worker
from relayq.delivery.lane import Route
from relayq.delivery.ledger import Knowledge
from relayq.model import DeliveryError
from relayq.ports import LimitKey, PairKey
from relayq.supervisor.messages import (
    Answer,
    Ask,
    Asked,
    Cleared,
    Failure,
    FromWorker,
    GaveBack,
    MarkedDown,
    Question,
    Told,
)
from relayq.supervisor.permits import Granted, Limits, Recalled

QUESTION_SECONDS = 1500.0
"""Longest wait for an answer: by then the broker wants to know (config ``rabbitmq-ack-limit``)."""

Send = Callable[[FromWorker], None]


class PermitDesk:
    """``ports.Lender``: keeps count of what was lent, so that all of it can be given back."""

    def __init__(self, limits: Limits, send: Send) -> None:
        self.limits = limits
        self._send = send
        self._lent: dict[LimitKey, int] = {}
        self._forgotten: deque[tuple[PairKey, int]] = deque()

    @property
    def share_of_all(self) -> int:
        """See ``ports.Lender``."""
        return self.limits.share_of_all

    @property
    def share_of_pair(self) -> int:
        """See ``ports.Lender``."""
        return self.limits.share_of_pair

    def ask(self, key: LimitKey, count: int) -> None:
        """See ``ports.Lender``."""
        self._send(Ask(key, count))

    def give_back(self, key: LimitKey, count: int) -> None:
        """See ``ports.Lender``."""
        left = self._lent.get(key, 0) - count
        if left > 0:
            self._lent[key] = left
        else:
            self._lent.pop(key, None)
        self._send(GaveBack(key, count))

    def forget(self, key: PairKey) -> None:
        """See ``ports.Lender``. The collector of cycles calls it, in whatever thread it runs: only noted here."""
        count = self._lent.pop(key, 0)
        if count:
            self._forgotten.append((key, count))

    def return_forgotten(self) -> None:
        """Send back what was noted."""
        while self._forgotten:
            key, count = self._forgotten.popleft()
            self._send(GaveBack(key, count))

    def granted(self, order: Granted, worker: Worker) -> None:
        """Permits came."""
        self._lent[order.key] = self._lent.get(order.key, 0) + order.count
        worker.pool.granted(order.key, order.count)


class MarkDesk:
    """``delivery.lane.MarkBoard``. A route with a login is nobody else's business."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def marked_down(self, route: Route, error: DeliveryError, seconds: float) -> None:
        """See ``MarkBoard``."""
        if route.credentials is None:
            self._send(MarkedDown(route, Failure.of(error), seconds))

    def cleared(self, route: Route) -> None:
        """See ``MarkBoard``."""
        if route.credentials is None:
            self._send(Cleared(route))


class QuestionDesk:
    """``delivery.scheduler.Inquiry``."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open: dict[int, asyncio.Future[Knowledge]] = {}
        self._next_number = 1
        self._is_closed = False

    async def ask(self, key: bytes, *, is_unique: bool, is_owed: bool) -> Knowledge:
        """See ``Inquiry``."""
        if self._is_closed:
            return Knowledge.UNKNOWN
        number = self._next_number
        self._next_number += 1
        told: asyncio.Future[Knowledge] = asyncio.get_running_loop().create_future()
        self._open[number] = told
        self._send(Question(number, key, is_unique, is_owed))
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                await told
        except TimeoutError:
            return Knowledge.UNKNOWN
        else:
            return told.result()
        finally:
            del self._open[number]

    def told(self, told: Told) -> None:
        """The answer to a question of ours."""
        future = self._open.get(told.number)
        if future is not None and not future.done():
            future.set_result(told.knowledge)

    def close(self) -> None:
        """Nobody answers any more."""
        self._is_closed = True
        for future in self._open.values():
            if not future.done():
                future.set_result(Knowledge.UNKNOWN)

    def answer(self, asked: Asked, worker: Worker | None) -> None:
        """A question of another worker."""

        def tell(is_known: bool) -> None:
            self._send(Answer(asked.number, Knowledge.KNOWN if is_known else Knowledge.UNKNOWN))

        knowledge = Knowledge.UNKNOWN
        if worker is not None:
            knowledge = worker.ledger.answer(asked.key, tell, is_unique=asked.is_unique, is_owed=asked.is_owed)
        self._send(Answer(asked.number, knowledge))


def pass_on(worker: Worker, order: Recalled | MarkedDown | Cleared) -> None:
    """What needs no desk."""
    match order:
        case Recalled():
            worker.pool.recalled(order.key, order.count)
        case MarkedDown():
            worker.pool.mark_down(order.route, order.failure.as_error(), order.seconds)
        case Cleared():
            worker.pool.clear_mark(order.route)
