"""Standard input and output next to an event loop that must not stop.

A terminal, a pipe or a pager may make a read or write wait for ever. The executor of the event loop is no help: it is
joined when the program ends, so Ctrl-C would wait as well. Hence one daemon thread, working on file descriptors: ending
a thread that holds the lock of a buffered stream is a fatal error of the interpreter.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

READ_OCTETS: Final = 1 << 20

T = TypeVar("T")


class BlockingCalls:
    """Runs blocking calls one after the other outside the event loop; what is still blocked dies with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, raise what it raises. Cancelling leaves it running unattended."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]  # None only when T allows it
            else:
                done.set_exception(error)

        def work() -> None:
            try:
                result = call()
            except BaseException as error:
                _tell(loop, settle, None, error)
            else:
                _tell(loop, settle, result, None)

        self._work.put(work)
        return await done

    def _serve(self) -> None:
        while True:
            self._work.get()()


def _tell(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], *arguments: object) -> None:
    # The loop may be closed by now: then nobody waits any more.
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle, *arguments)


def write_all(descriptor: int, octets: bytes) -> None:
    """Write everything, however small the pieces a pipe takes."""
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
