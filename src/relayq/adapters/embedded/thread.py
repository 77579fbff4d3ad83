"""The thread of the embedded broker: collects changes into groups, commits, retries, watches the clock and the others.

The event loop hands over lists of changes and gets one call back per transaction. Changes that come while a transaction
is being written form the next one, so the busier the broker, the more of them share one flush to the disk. A change
that cannot be committed stays first in line until it can be: until then the broker is blocked (spec amqp.md 20).
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from relayq.adapters.embedded.location import find_file
from relayq.adapters.embedded.locks import TurnTimeoutError
from relayq.adapters.embedded.options import EmbeddedOptions
from relayq.adapters.embedded.store import Change, Claim, Store
from relayq.ports import BrokerError, BrokerUnavailableError, Clock

LARGEST_GROUP = 512
"""Changes of one transaction."""
LARGEST_GROUP_BYTES = 32 * 1024 * 1024


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCallbacks:
    """What the thread reports, each called on the event loop.

    Attributes:
        opened: The file, now open.
        failed: Why the file cannot be used; the thread has ended.
        committed: Changes that are on disk, and messages that were claimed.
        flow_changed: Why nothing can be written, repeated with every failing try; ``None`` = it can be again.
        closed: Changes that never reached the disk; the thread has ended.
        log: Level and text.
    """

    opened: Callable[[Path], None]
    failed: Callable[[BrokerError], None]
    committed: Callable[[Sequence[Change], Sequence[Claim]], None]
    flow_changed: Callable[[str | None], None]
    closed: Callable[[Sequence[Change]], None]
    log: Callable[[str, str], None]


class _Call:
    """Something the thread has to do between two transactions."""

    __slots__ = ("action", "done")

    def __init__(self, action: Callable[[Store], object], done: asyncio.Future[Any]) -> None:
        self.action = action
        self.done = done


class StorageThread:
    """Owns the `Store`. Its public methods are called on the event loop."""

    def __init__(
        self, options: EmbeddedOptions, clock: Clock, callbacks: ThreadCallbacks, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._options = options
        self._timings = options.timings
        self._clock = clock
        self._callbacks = callbacks
        self._loop = loop
        self._inbox: queue.SimpleQueue[Sequence[Change] | _Call | None] = queue.SimpleQueue()
        self._pending: deque[Change] = deque()
        self._is_stopping = False
        self._failure: Exception | None = None
        self._locked_since: float | None = None
        self._retry_at = 0.0
        self._group_at = 0.0
        self._watch_at = 0.0
        self._sweep_at = 0.0
        # A daemon: a process that dies of something else must not wait for a disk that does not answer.
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)

    def start(self) -> None:
        """Open the file; `opened` or `failed` follows."""
        self._thread.start()

    def submit(self, changes: Sequence[Change]) -> None:
        """Write these as soon as possible, in this order."""
        self._inbox.put(changes)

    async def call(self, action: Callable[[Store], T]) -> T:
        """Let ``action`` run between two transactions; returns what it returns, raises what it raises."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._inbox.put(_Call(action, done))
        return await done

    def tell(self, action: Callable[[Store], object]) -> None:
        """Let ``action``, which must not raise, run between two transactions."""
        self._inbox.put(_Call(action, self._loop.create_future()))

    def stop(self) -> None:
        """Write what was submitted, give back what is held, close; `closed` follows."""
        self._inbox.put(None)

    def join(self) -> None:
        """Wait for the end of the thread; only after `closed` or `failed`."""
        self._thread.join()

    # Everything below runs in the thread.

    def _run(self) -> None:
        store = self._open()
        if store is None:
            return
        try:
            while not self._is_stopping:
                self._collect(store, self._wait_time(store))
                if time.monotonic() >= self._retry_at:
                    self._step(store)
            self._finish(store)
        except Exception as error:
            self._wait_for_end(error)
        store.close()
        self._post(self._callbacks.closed, tuple(self._pending))

    def _wait_for_end(self, error: Exception) -> None:
        """After a bug: stay blocked, and keep what is held until the broker is closed, or it would be sent twice."""
        self._post(self._callbacks.log, "critical", f"the embedded broker stopped working: {error!r}")
        self._report_failure(error)
        while not self._is_stopping:
            work = self._inbox.get()
            if work is None:
                self._is_stopping = True
            elif isinstance(work, _Call):
                self._post(_set_exception, work.done, error)
            else:
                self._pending.extend(work)

    def _open(self) -> Store | None:
        give_up_at = None if self._options.time_limit is None else time.monotonic() + self._options.time_limit
        while True:
            try:
                path = find_file(self._options.path)
                store = Store(path, self._options, self._clock)
            except BrokerError as error:
                self._post(self._callbacks.failed, error)
                return None
            except Exception as error:
                if give_up_at is not None and time.monotonic() >= give_up_at:
                    self._post(self._callbacks.failed, BrokerUnavailableError(f"embedded broker: {error}"))
                    return None
                if not self._is_worth_waiting(error, time.monotonic()):
                    self._report_failure(error)
            else:
                self._report_success()
                self._post(self._callbacks.opened, path)
                return store
            if self._wait_for_stop(self._timings.retry_interval):
                self._post(self._callbacks.closed, ())
                return None

    def _wait_for_stop(self, timeout: float) -> bool:
        """Wait while the file is not open yet: nothing but a stop can be asked for."""
        try:
            return self._inbox.get(timeout=timeout) is None
        except queue.Empty:
            return False

    def _wait_time(self, store: Store) -> float | None:
        """Seconds until something has to be done even if nothing is submitted, ``None`` = nothing has to be."""
        now = time.monotonic()
        if self._failure is not None:
            return max(self._retry_at - now, 0.0)
        if self._pending:
            return 0.0
        waits = []
        if store.has_consumers:
            waits.append(self._sweep_at - now)
        if store.has_hungry:
            waits.append(self._watch_at - now)
            work = store.seconds_to_work()
            if work is not None:
                waits.append(work)
        return max(min(waits), 0.0) if waits else None

    def _collect(self, store: Store, timeout: float | None) -> None:
        """Take over what was submitted: wait for something, then let more of it gather when the broker is busy."""
        try:
            self._accept(store, self._inbox.get(timeout=timeout))
            pause = self._group_at - time.monotonic()
            if pause > 0 and not self._is_stopping:
                time.sleep(pause)
            while True:
                self._accept(store, self._inbox.get_nowait())
        except queue.Empty:
            pass

    def _accept(self, store: Store, work: Sequence[Change] | _Call | None) -> None:
        if work is None:
            self._is_stopping = True
        elif isinstance(work, _Call):
            self._answer(store, work)
        else:
            self._pending.extend(work)

    def _answer(self, store: Store, call: _Call) -> None:
        try:
            result = call.action(store)
        except Exception as error:
            self._post(_set_exception, call.done, error)
        else:
            self._post(_set_result, call.done, result)

    def _step(self, store: Store) -> None:
        """Commit one group and what became ready; on any error nothing has happened and it is tried again later."""
        started = time.monotonic()
        try:
            if self._failure is not None:
                _check_recovery(store, self._failure)
            self._look_around(store, started)
            changes = self._next_group(store)
            if changes or store.has_work():
                claims = store.commit(changes)
                self._group_at = started + self._timings.group_interval if len(changes) > 1 else 0.0
                for _ in changes:
                    self._pending.popleft()
                self._post(self._callbacks.committed, changes, claims)
        except Exception as error:
            if self._is_worth_waiting(error, started):
                return
            self._report_failure(error)
        else:
            self._report_success()

    def _look_around(self, store: Store, now: float) -> None:
        """Look for what other processes have published or left behind, when it is time to."""
        if now >= self._sweep_at and store.has_consumers:
            self._sweep_at = now + self._timings.sweep_interval
            store.unpark()
            count = store.sweep()
            if count:
                self._post(
                    self._callbacks.log, "info", f"{count} messages of an ended process are back in their queues"
                )
        if now >= self._watch_at and store.has_hungry:
            self._watch_at = now + self._timings.poll_interval
            store.watch()

    def _is_worth_waiting(self, error: Exception, started: float) -> bool:
        """Whether somebody else is just writing, and not yet for so long that the broker counts as blocked."""
        if not _is_lock(error):
            return False
        if self._locked_since is None:
            self._locked_since = started
        return time.monotonic() - self._locked_since < self._timings.lock_patience

    def _next_group(self, store: Store) -> list[Change]:
        """Changes from the front of the line for one transaction, encoded."""
        group: list[Change] = []
        total = 0
        for change in self._pending:
            if len(group) >= LARGEST_GROUP or total >= LARGEST_GROUP_BYTES:
                break
            total += store.encode((change,))
            group.append(change)
        return group

    def _finish(self, store: Store) -> None:
        """The last transactions of a stopping process: as much as can be written within the time for it."""
        store.stop_consuming()
        deadline = time.monotonic() + self._timings.close_timeout
        while self._pending and time.monotonic() < deadline:
            self._step(store)
            if self._failure is not None:
                time.sleep(max(min(self._timings.retry_interval, deadline - time.monotonic()), 0.0))
        try:
            store.release_all()
        except Exception as error:
            # The kernel drops our lock with the file: others then see a dead owner and take everything back.
            self._post(self._callbacks.log, "warning", f"unsettled messages are left to the next process: {error}")

    def _report_failure(self, error: Exception) -> None:
        self._failure = error
        self._retry_at = time.monotonic() + self._timings.retry_interval
        reason = str(error) or type(error).__name__
        if _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            reason = f"the file is damaged: {reason}"
        self._post(self._callbacks.flow_changed, reason)

    def _report_success(self) -> None:
        self._locked_since = None
        if self._failure is not None:
            self._failure = None
            self._retry_at = 0.0
            self._post(self._callbacks.flow_changed, None)

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The loop was closed without closing the broker first: nobody is left to be told.
            self._is_stopping = True


def _is_lock(error: Exception) -> bool:
    return isinstance(error, TurnTimeoutError) or _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _code(error: Exception) -> int | None:
    """SQLite's primary result code, ``None`` for an error that did not come from SQLite itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _check_recovery(store: Store, failure: Exception) -> None:
    """Whatever failed has to work again before the broker counts as usable."""
    if _code(failure) == sqlite3.SQLITE_FULL:
        store.shrink_log()
        if not store.has_space():
            raise failure
    store.probe()


def _set_result(done: asyncio.Future[Any], result: object) -> None:
    if not done.done():
        done.set_result(result)


def _set_exception(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
