"""Threads that do blocking work of a store, with few hops between them and the event loop.

A warm file is read faster than a hop to a thread and back takes, but a cold disk or a network file system would stop
the loop. So hops are shared: calls queue up while a thread works and it takes one after the other without being woken
again, and results that are ready together come back in one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_Call = tuple[Callable[[], object], asyncio.Future[object]]


class IoThreads:
    """Runs calls in the order they come, as many at once as there are threads.

    A call that is cancelled before its turn is taken out of the line: while the threads hang on a dead disk, it does
    not grow by what nobody waits for any more.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        """Begin without threads; they start with the calls that need them.

        Args:
            name: Shown in lists of threads.
            count: Most threads.
        """
        self._name = name
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._condition = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._results: deque[tuple[asyncio.Future[object], object, BaseException | None]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._is_closing = False

    async def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, raise what it raises.

        Raises:
            RuntimeError: After `close`.
        """
        if self._is_closing:
            raise RuntimeError("the threads have ended")
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = self._loop.create_future()
        with self._condition:
            self._calls.append((call, future))  # type: ignore[arg-type]  # its result is what the call returns
            needs_thread = self._idle < len(self._calls) and len(self._threads) < self._count
            self._condition.notify()
        if needs_thread:
            self._start()
        try:
            return await future
        except asyncio.CancelledError:
            self._withdraw(future)
            raise

    async def close(self, patience: float = 5.0) -> None:
        """End the threads once they are done; one that hangs is left behind. Idempotent."""
        with self._condition:
            self._is_closing = True
            self._condition.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, patience)

    def _withdraw(self, future: asyncio.Future[T]) -> None:
        with self._condition:
            for waiting in self._calls:
                if waiting[1] is future:
                    self._calls.remove(waiting)
                    return

    def _start(self) -> None:
        # A daemon: a process must be able to end while a disk does not answer.
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            call, future = taken
            if not future.cancelled():
                self._answer(call, future)
            del taken, call, future  # bodies hang on them, and the next call may be long in coming

    def _answer(self, call: Callable[[], object], future: asyncio.Future[object]) -> None:
        try:
            result = call()
        except BaseException as error:
            self._give(future, None, error)
        else:
            self._give(future, result, None)

    def _take(self) -> _Call | None:
        with self._condition:
            while not self._calls:
                if self._is_closing:
                    return None
                self._idle += 1
                self._condition.wait()
                self._idle -= 1
            return self._calls.popleft()

    def _give(self, future: asyncio.Future[object], result: object, error: BaseException | None) -> None:
        with self._condition:
            is_first = not self._results
            self._results.append((future, result, error))
        if not is_first:
            return  # the loop was woken for the one before and has not looked yet
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._hand_out)
        except RuntimeError:
            self._is_closing = True  # the loop was closed: nobody waits any more

    def _hand_out(self) -> None:
        with self._condition:
            results, self._results = self._results, deque()
        for future, result, error in results:
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
