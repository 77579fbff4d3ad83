"""Signatures made in threads, several per hop.

An RSA signature runs without the interpreter's lock, so threads make use of other cores and the loop goes on. But the
way to a thread and back costs a good part of a signature. Under load it is therefore taken once for several: a thread
goes on as long as something waits, and reports a handful at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

_PER_REPORT = 8


class _Job(NamedTuple):
    work: Callable[[], Any]
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


class WorkThreads:
    """Threads of one loop, for work that releases the lock; started when they are needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: deque[_Job] = deque()
        self._active = 0
        self._executor: ThreadPoolExecutor | None = None

    async def do(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, done in a thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append(_Job(work, future))
        if self._active < self._size:
            self._active += 1
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._size, "compose")
            self._executor.submit(self._work, loop)
        return await future

    def close(self) -> None:
        """Finish what has begun and nothing else."""
        self._jobs.clear()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: work until nothing waits."""
        while True:
            done = self._do_some()
            # The loop may be closed by now: then nobody waits any more.
            try:
                loop.call_soon_threadsafe(self._report, done, loop)
            except RuntimeError:
                return
            if len(done) < _PER_REPORT:
                return

    def _do_some(self) -> list[_Done]:
        done: list[_Done] = []
        while len(done) < _PER_REPORT:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break
            try:
                done.append(_Done(job.future, job.work(), None))
            except Exception as error:
                done.append(_Done(job.future, None, error))
        return done

    def _report(self, done: list[_Done], loop: asyncio.AbstractEventLoop) -> None:
        """On the loop: hand over what a thread did; fewer than a handful mean that it has stopped."""
        for future, result, error in done:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if len(done) < _PER_REPORT:
            self._active -= 1
            if self._jobs and self._executor is not None:
                self._active += 1
                self._executor.submit(self._work, loop)
