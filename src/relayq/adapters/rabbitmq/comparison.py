"""How queues and exchanges of a broker differ from what is wanted, without changing anything.

RabbitMQ refuses to declare what exists with other arguments, names the first one that differs, and closes the channel.
So an existing queue is declared again and again, each time with one more of the values it really has, until nothing is
left to complain about. A passive declaration goes ahead on the same channel: should the queue be gone, that one fails,
and the broker ignores what follows it. Policies are no arguments: what they set is not seen.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pamqp import commands

from relayq.adapters.rabbitmq.channel import Channel
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    ChannelClosedError,
)
from relayq.adapters.rabbitmq.frames import (
    Returned,
    encode_exchange_declare,
    encode_message,
    encode_publish,
    encode_queue_declare,
)
from relayq.adapters.rabbitmq.inspector import look_at_queue, on_channel
from relayq.adapters.rabbitmq.properties import encode_properties
from relayq.adapters.rabbitmq.topology import INEQUIVALENT, QueueDeclaration
from relayq.ports import Properties, QueueState

MOST_DIFFERENCES: Final = 20
"""A broker that never stops to complain is not asked for ever."""
TYPE_ARGUMENT: Final = "x-queue-type"
_FLAGS: Final = ("durable", "auto_delete", "exclusive")
_TYPED = re.compile(r"the value '(?P<value>.*)' of type '(?P<type>\w+)'", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Difference:
    """One argument or flag; ``None`` stands for its absence.

    Attributes:
        argument: ``durable``, ``auto_delete``, ``exclusive``, ``type`` of an exchange, or an argument ``x-…``.
        existing: What the broker has.
        wanted: What was declared.
    """

    argument: str
    existing: str | None
    wanted: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueComparison:
    """An existing queue beside its declaration.

    Attributes:
        declaration: What is wanted.
        state: What is there; nothing else says anything when it does not exist or cannot be looked at.
        differences: In the order the broker named them.
        kind: ``classic``, ``quorum`` or ``stream``; ``None`` = not found out.
        trouble: Why the comparison ended early, empty when it did not.
    """

    declaration: QueueDeclaration
    state: QueueState
    differences: tuple[Difference, ...] = ()
    kind: str | None = None
    trouble: str = ""

    def existing(self, argument: str) -> str | None:
        """Value of an argument the queue has, ``None`` = it has none."""
        for difference in self.differences:
            if difference.argument == argument:
                return difference.existing
        value = self.declaration.arguments.get(argument)
        return None if value is None else str(value)


async def compare_queue(connection: AmqpConnection, declaration: QueueDeclaration) -> QueueComparison:
    """Compare one queue.

    Raises:
        ChannelClosedError: The connection ended.
    """
    state = await look_at_queue(connection, declaration.name)
    if state.trouble or not state.exists:
        return QueueComparison(declaration=declaration, state=state)
    attempt = _Attempt.of(declaration)
    differences: list[Difference] = []
    trouble = ""
    while len(differences) < MOST_DIFFERENCES:
        refusal = await _declare_again(connection, declaration.name, attempt)
        if refusal is None:
            break
        difference = parse_difference(refusal)
        if difference is None or any(each.argument == difference.argument for each in differences):
            trouble = refusal
            break
        differences.append(difference)
        attempt = attempt.with_existing(difference)
    kind = await _find_kind(connection, declaration.name, attempt)
    return QueueComparison(
        declaration=declaration, state=state, differences=tuple(differences), kind=kind, trouble=trouble
    )


async def _find_kind(connection: AmqpConnection, name: str, attempt: _Attempt) -> str | None:
    """The real type: without the argument, the default of the virtual host decides, and nothing differs."""
    given = attempt.arguments.get(TYPE_ARGUMENT)
    if given is not None:
        return str(given)
    classic = _Attempt(attempt.flags, {**attempt.arguments, TYPE_ARGUMENT: "classic"})
    refusal = await _declare_again(connection, name, classic)
    if refusal is None:
        return "classic"
    difference = parse_difference(refusal)
    return difference.existing if difference is not None and difference.argument == TYPE_ARGUMENT else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Flags and arguments of one declaration."""

    flags: Mapping[str, bool]
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, declaration: QueueDeclaration) -> _Attempt:
        return cls(dict.fromkeys(_FLAGS, False) | {"durable": declaration.durable}, dict(declaration.arguments))

    def with_existing(self, difference: Difference) -> _Attempt:
        """The same with what the broker has."""
        name, value = difference.argument, difference.existing
        if name in _FLAGS:
            return _Attempt({**self.flags, name: value == "true"}, self.arguments)
        arguments = dict(self.arguments)
        if value is None:
            arguments.pop(name, None)
        else:
            arguments[name] = _read_value(value)
        return _Attempt(self.flags, arguments)


def _read_value(text: str) -> object:
    # Numbers of all sizes count as equal. A text of digits would be told apart: then the same argument is named twice.
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


async def _declare_again(connection: AmqpConnection, name: str, attempt: _Attempt) -> str | None:
    """Text of the refusal, ``None`` = nothing differs, or the queue is gone."""

    async def declare(channel: Channel) -> None:
        look = encode_queue_declare(channel.number, name, passive=True, durable=False, arguments={})
        again = encode_queue_declare(
            channel.number, name, passive=False, arguments=dict(attempt.arguments), **attempt.flags
        )
        looked = channel.call(look, commands.Queue.DeclareOk)
        declared = channel.call(again, commands.Queue.DeclareOk)
        await looked
        await declared

    try:
        await on_channel(connection, declare)
    except ChannelClosedError as error:
        if error.code in {PRECONDITION_FAILED, ACCESS_REFUSED}:
            return error.text
        if error.code == NOT_FOUND:
            return None
        raise
    return None


def parse_difference(text: str) -> Difference | None:
    """What a refusal complains about; ``None`` when it is about something else, or the text was cut."""
    match = INEQUIVALENT.search(text)
    if match is None:
        return None
    return Difference(match["argument"], _parse_value(match["existing"]), _parse_value(match["wanted"]))


def _parse_value(text: str) -> str | None:
    text = text.strip()
    typed = _TYPED.fullmatch(text)
    if typed is not None:
        return typed["value"]
    return None if text == "none" else text.removeprefix("'").removesuffix("'")


@dataclass(frozen=True, slots=True)
class ExchangeComparison:
    """An exchange beside what is wanted; ``exists`` is ``None`` when ``trouble`` kept it from being looked at."""

    exists: bool | None
    difference: Difference | None = None
    trouble: str = ""


async def compare_exchange(connection: AmqpConnection, name: str, *, durable: bool) -> ExchangeComparison:
    """Compare the exchange publishes go to with a direct one.

    Raises:
        ChannelClosedError: The connection ended.
    """

    async def declare(channel: Channel) -> None:
        requests = [
            encode_exchange_declare(channel.number, name, passive=passive, durable=durable) for passive in (True, False)
        ]
        for answer in [channel.call(request, commands.Exchange.DeclareOk) for request in requests]:
            await answer

    try:
        await on_channel(connection, declare)
    except ChannelClosedError as error:
        if error.code == NOT_FOUND:
            return ExchangeComparison(False)
        if error.code == PRECONDITION_FAILED and (difference := parse_difference(error.text)) is not None:
            return ExchangeComparison(True, difference)
        if error.code in {PRECONDITION_FAILED, ACCESS_REFUSED}:
            return ExchangeComparison(None, trouble=error.text)
        raise
    return ExchangeComparison(True)


class _ProbeChannel(Channel):
    """Waits for a publish to come back."""

    def __init__(self, connection: AmqpConnection) -> None:
        super().__init__(connection)
        self.answer: asyncio.Future[str] = connection.loop.create_future()

    def _settle(self, answer: str) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def on_returned(self, returned: Returned) -> None:
        self._settle("")

    def on_flow_changed(self) -> None:
        if self.connection.is_blocked:
            self._settle("the broker takes no messages now: a memory or disk alarm is in force")

    def on_closed(self, error: ChannelClosedError) -> None:
        self._settle(str(error))


async def probe_publishing(connection: AmqpConnection) -> str:
    """Publish something no queue gets over the default exchange; why that is not possible, empty when it is.

    The broker gives it back. It also starts to tell about alarms with the first publish of a connection.

    Raises:
        ChannelClosedError: The connection ended.
    """
    channel = _ProbeChannel(connection)
    await channel.open()
    frame = encode_publish(channel.number, "", f"relayq.doctor.{secrets.token_hex(8)}")
    block = encode_properties(Properties(persistent=False), persistent=False, content_encoding=None)
    connection.write_pieces(encode_message(frame, channel.number, block, b"", connection.frame_max))
    try:
        return await channel.answer
    finally:
        channel.close("done")
