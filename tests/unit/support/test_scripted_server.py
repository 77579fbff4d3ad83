"""The byte-script server does what its scripts say: engine tests rely on it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.support.scripted_server import (
    Close,
    Expect,
    Flood,
    RecordingSink,
    Reset,
    ScriptedServer,
    ScriptFailed,
    Send,
    Stall,
    Trickle,
    Wait,
    opening,
    quit_session,
    transaction,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(server: ScriptedServer) -> Streams:
    return await asyncio.open_connection(server.host, server.port)


async def finish(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_whole_dialogue() -> None:
    script = [*opening("PIPELINING", "SIZE 100"), *transaction(), *quit_session()]
    async with ScriptedServer(script, host="127.0.0.7") as server:
        reader, writer = await connect(server)
        writer.write(
            b"EHLO me.test\r\nMAIL FROM:<a@b.test> SIZE=1\r\nRCPT TO:<c@d.test>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n"
        )
        replies = (await reader.read()).splitlines()
        await finish(writer)
    assert [reply[:4] for reply in replies] == [
        b"220 ", b"250-", b"250-", b"250 ", b"250 ", b"250 ", b"354 ", b"250 ", b"221 ",
    ]  # fmt: skip
    assert server.connections[0].received.endswith(b"QUIT\r\n")
    assert server.connections[0].sent.startswith(b"220 mx.test")
    assert server.connections[0].problem is None


async def test_scripts_follow_connections_and_the_last_repeats() -> None:
    async with ScriptedServer([Send(b"one"), Close()], [Send(b"two"), Close()]) as server:
        texts = []
        for _ in range(3):
            reader, writer = await connect(server)
            texts.append(await reader.read())
            await finish(writer)
    assert texts == [b"one", b"two", b"two"]
    assert server.count == 3


async def test_reset_is_a_reset() -> None:
    async with ScriptedServer([Expect(b"x"), Reset()]) as server:
        reader, writer = await connect(server)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await finish(writer)


async def test_close_is_an_orderly_end() -> None:
    async with ScriptedServer([Close()]) as server:
        reader, writer = await connect(server)
        assert await reader.read() == b""
        await finish(writer)


async def test_trickle_and_flood_send_everything() -> None:
    async with ScriptedServer([Trickle(b"abc"), Flood(b"x" * 10, 1000), Close()]) as server:
        reader, writer = await connect(server)
        assert await reader.readexactly(1) == b"a"
        assert await reader.read(-1) == b"bc" + b"x" * 10_000
        await finish(writer)


async def test_wait_hands_control_to_the_test() -> None:
    go_on = asyncio.Event()
    async with ScriptedServer([Send(b"1"), Wait(go_on), Send(b"2"), Close()]) as server:
        reader, writer = await connect(server)
        connection = await server.connection(0)
        await connection.reached.wait()
        assert connection.sent == b"1"
        go_on.set()
        assert await reader.read() == b"12"
        await finish(writer)


async def test_stall_reads_and_never_answers() -> None:
    async with ScriptedServer([Stall(), Send(b"never")]) as server:
        _, writer = await connect(server)
        writer.write(b"hello")
        await finish(writer)
        connection = await server.connection(0)
        await connection.ended.wait()
    assert bytes(connection.received) == b"hello"
    assert not connection.sent
    assert connection.peer_closed


async def test_an_unmet_expectation_is_raised_with_the_transcript() -> None:
    server = ScriptedServer([Expect(b"EHLO")], patience=0.05)
    await server.__aenter__()
    reader, writer = await connect(server)
    writer.write(b"HELO")
    assert await reader.read() == b""
    await finish(writer)
    with pytest.raises(ScriptFailed, match=r"expected b'EHLO' .* got b'HELO'"):
        await server.__aexit__(None, None, None)


async def test_an_unmet_expectation_is_only_noted_when_not_strict() -> None:
    async with ScriptedServer([Expect(b"EHLO")], patience=0.05, strict=False) as server:
        reader, writer = await connect(server)
        assert await reader.read() == b""
        await finish(writer)
    assert server.connections[0].problem is not None


async def test_a_peer_that_leaves_early_is_no_problem_of_the_script() -> None:
    async with ScriptedServer([Expect(b"EHLO")]) as server:
        _, writer = await connect(server)
        await finish(writer)
        connection = await server.connection(0)
        await connection.ended.wait()
    assert connection.peer_closed
    assert connection.problem is None


async def test_open_connections_end_with_the_server() -> None:
    async with ScriptedServer([Send(b"x")]) as server:
        reader, writer = await connect(server)
        assert await reader.readexactly(1) == b"x"
    assert await reader.read() == b""
    await finish(writer)


async def test_the_recording_sink_keeps_what_it_gets_and_follows_its_script() -> None:
    async with RecordingSink("rcptto nobody@* 550 no", host="127.0.0.3") as sink:
        reader, writer = await asyncio.open_connection(sink.host, sink.port)
        writer.write(b"EHLO me.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<nobody@d.test>\r\nRCPT TO:<c@d.test>\r\n")
        writer.write(b"DATA\r\n")
        await reader.readuntil(b"354 ")
        writer.write(b"hi\r\n.\r\n")
        (message,) = await sink.wait_for(1)
        await finish(writer)
    assert (message.recipients, message.content) == (("c@d.test",), b"hi\r\n")
