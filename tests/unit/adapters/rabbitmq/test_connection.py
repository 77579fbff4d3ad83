"""One connection against a scripted server: negotiation, refusals, heartbeats, the end."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import trustme
from pamqp import commands, frame

from relayq.adapters.rabbitmq.channel import Channel, printable
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.dialer import Dialer, make_tls_context
from relayq.adapters.rabbitmq.errors import (
    ChannelClosedError,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
)
from relayq.adapters.rabbitmq.options import Endpoint
from tests.support.ports import free_port
from tests.unit.adapters.rabbitmq.conftest import Rig, soon
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession, greeting_server, running_broker


async def connect(rig: Rig, **options: Any) -> tuple[AmqpConnection, FakeSession]:
    connection = await soon(Dialer().connect(rig.server.endpoint(**options), "relayq test worker 1 consumer 1"))
    return connection, await rig.server.session()


async def test_login_tells_who_we_are(rig: Rig) -> None:
    connection, session = await connect(rig, user="mail", password="secret", vhost="tenant")
    ((_, login),) = session.of(commands.Connection.StartOk)
    ((_, opened),) = session.of(commands.Connection.Open)
    assert (login.mechanism, login.response) == ("PLAIN", "\0mail\0secret")
    assert opened.virtual_host == "tenant"
    assert session.client_properties["connection_name"] == "relayq test worker 1 consumer 1"
    assert session.client_properties["product"] == "relayq"
    assert set(session.client_properties["capabilities"]) == {
        "publisher_confirms",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
    }
    assert connection.server_properties == {"product": "RabbitMQ", "version": "3.10.8"}
    await connection.close(2)
    assert session.of(commands.Connection.Close)


@pytest.mark.parametrize(
    ("theirs", "ours", "agreed"),
    [((8192, 10, 30), 60, (8192, 10, 30)), ((0, 0, 0), 60, (131_072, 65_535, 60)),
     ((4_000_000, 2047, 90), 0, (1 << 20, 2047, 90)),
     ((131_072, 2047, 90), 60, (131_072, 2047, 60)), ((131_072, 2047, 0), 0, (131_072, 2047, 0))],
)  # fmt: skip
async def test_limits_are_negotiated(
    rig: Rig, theirs: tuple[int, int, int], ours: int, agreed: tuple[int, int, int]
) -> None:
    script = rig.server.script
    script.frame_max, script.channel_max, script.heartbeat = theirs
    connection, session = await connect(rig, heartbeat=ours)
    tune = session.tune_ok
    assert tune is not None
    assert (tune.frame_max, tune.channel_max, tune.heartbeat) == agreed
    assert connection.frame_max == agreed[0]
    await connection.close(2)


@pytest.mark.parametrize(
    ("code", "text", "is_refusal"),
    [
        (403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN", True),
        (530, "NOT_ALLOWED - vhost tenant not found", True),
        (530, "NOT_ALLOWED - access to vhost 'tenant' refused for user 'guest'", True),
        (
            530,
            "NOT_ALLOWED - access to vhost 'tenant' refused for user 'guest': connection limit (1) is reached",
            False,
        ),
        (541, "INTERNAL_ERROR - access to vhost 'tenant' refused for user 'guest': vhost 'tenant' is down", False),
        (320, "CONNECTION_FORCED - broker is shutting down", False),
    ],
)
@pytest.mark.parametrize("stage", ["refuse_login", "refuse_vhost"])
async def test_refusals_are_told_from_what_may_pass(
    rig: Rig, stage: str, code: int, text: str, is_refusal: bool
) -> None:
    setattr(rig.server.script, stage, (code, text))
    with pytest.raises(ConnectionLostError, match=text.partition(" - ")[0]) as caught:
        await soon(Dialer().connect(rig.server.endpoint(password="secret"), "test"))
    assert isinstance(caught.value, ConnectionRefusedByBrokerError) is is_refusal
    assert "secret" not in str(caught.value)


async def test_a_broker_without_plain_is_a_refusal(rig: Rig) -> None:
    rig.server.script.mechanisms = "EXTERNAL"
    with pytest.raises(ConnectionRefusedByBrokerError, match="PLAIN"):
        await soon(Dialer().connect(rig.server.endpoint(), "test"))


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectionLostError, match=r"127\.0\.0\.1"):
        await soon(Dialer().connect(Endpoint(host="127.0.0.1", port=free_port()), "test"))


async def test_a_silent_server_is_given_up(rig: Rig) -> None:
    rig.server.script.is_silent = True
    with pytest.raises(ConnectionLostError, match=r"did not answer within 0\.05 s"):
        await soon(Dialer().connect(rig.server.endpoint(connection_timeout=0.05), "test"))


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x00" * 40])
async def test_something_else_listens(greeting: bytes) -> None:
    async with greeting_server(greeting) as endpoint:
        with pytest.raises(ConnectionLostError, match=r"broke the protocol"):
            await soon(Dialer().connect(endpoint, "test"))


async def test_an_answer_out_of_turn_ends_the_login() -> None:
    async with greeting_server(frame.marshal(commands.Connection.OpenOk(), 0)) as endpoint:
        with pytest.raises(ConnectionLostError, match=r"Connection\.OpenOk where Connection\.Start was due"):
            await soon(Dialer().connect(endpoint, "test"))


async def test_heartbeats_are_sent_and_silence_ends_the_connection(rig: Rig) -> None:
    connection, session = await connect(rig, heartbeat=1)
    await session.until(lambda: session.heartbeats >= 2)
    reason = await soon(asyncio.shield(connection.lost))
    assert "silent for 2 s" in str(reason)


async def test_a_peer_that_sends_heartbeats_stays(rig: Rig) -> None:
    connection, session = await connect(rig, heartbeat=1)
    for expected in range(1, 6):  # 2.5 s: longer than the silence that ends a connection
        await session.until(lambda expected=expected: session.heartbeats >= expected)  # type: ignore[misc]
        session.send_raw(b"\x08\x00\x00\x00\x00\x00\x00\xce")
    assert not connection.lost.done()
    await connection.close(2)


async def test_calls_are_answered_in_order_and_fail_when_the_channel_closes(rig: Rig) -> None:
    connection, session = await connect(rig)
    channel = Channel(connection)
    await soon(channel.open())
    first = channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    second = channel.call(commands.Basic.Qos(0, 5, False), commands.Basic.QosOk)
    assert isinstance(await soon(first), commands.Confirm.SelectOk)
    assert isinstance(await soon(second), commands.Basic.QosOk)

    rig.server.script.is_silent = True
    waiting = channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    session.close_channel(channel.number, 406, "PRECONDITION_FAILED - no\nsuch thing")
    with pytest.raises(ChannelClosedError, match="406 PRECONDITION_FAILED - no such thing"):
        await soon(waiting)
    await session.next_answer(commands.Confirm.Select)
    await session.next_answer(commands.Channel.CloseOk)
    with pytest.raises(ChannelClosedError, match="channel is closed"):
        await soon(channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk))
    assert not connection.lost.done()
    await connection.close(0.01)


async def test_calls_fail_when_the_connection_ends(rig: Rig) -> None:
    connection, session = await connect(rig)
    channel = Channel(connection)
    await soon(channel.open())
    rig.server.script.is_silent = True
    waiting = channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    session.close_connection(541, "INTERNAL_ERROR")
    with pytest.raises(ChannelClosedError, match="541"):
        await soon(waiting)
    assert (await soon(connection.lost)).code == 541
    await session.next_answer(commands.Confirm.Select)
    await session.next_answer(commands.Connection.CloseOk)
    with pytest.raises(ChannelClosedError):
        await soon(Channel(connection).open())


async def test_a_method_nobody_waits_for_ends_the_connection(rig: Rig) -> None:
    connection, session = await connect(rig)
    channel = Channel(connection)
    await soon(channel.open())
    session.send(channel.number, commands.Basic.CancelOk("none"))
    assert "unexpected Basic.CancelOk" in str(await soon(connection.lost))


async def test_frames_for_a_channel_that_is_closed_are_dropped(rig: Rig) -> None:
    connection, session = await connect(rig)
    channel = Channel(connection)
    await soon(channel.open())
    session.send(77, commands.Basic.Ack(1))
    session.send(77, commands.Channel.CloseOk())
    await soon(channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk))
    assert not connection.lost.done()
    await connection.close(2)


async def test_channel_numbers_are_reused_late(rig: Rig) -> None:
    rig.server.script.channel_max = 3
    connection, _ = await connect(rig)
    channels = [Channel(connection) for _ in range(2)]
    for channel in channels:
        await soon(channel.open())
    assert [channel.number for channel in channels] == [1, 2]
    channels[0].close("done")
    third, fourth = Channel(connection), None
    await soon(third.open())
    fourth = Channel(connection)
    await soon(fourth.open())
    assert (third.number, fourth.number) == (3, 1)
    with pytest.raises(ConnectionLostError, match="all 3 channels"):
        Channel(connection)
    await connection.close(2)


async def test_channel_flow_is_answered(rig: Rig) -> None:
    connection, session = await connect(rig)
    channel = Channel(connection)
    await soon(channel.open())
    session.send(channel.number, commands.Channel.Flow(False))
    assert (await session.next_answer(commands.Channel.FlowOk)).active is False
    assert channel.is_flow_active is False
    await connection.close(2)


async def test_close_does_not_wait_for_ever(rig: Rig) -> None:
    connection, _ = await connect(rig)
    rig.server.script.is_silent = True
    await soon(connection.close(0.05))
    assert connection.lost.done()


def watch(connection: AmqpConnection) -> list[bytes]:
    """What leaves from now on, piece by piece."""
    writes: list[bytes] = []
    transport: Any = connection._transport

    class Watching:
        def write(self, octets: bytes) -> None:
            writes.append(octets)
            transport.write(octets)

        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

    connection._transport = Watching()  # type: ignore[assignment]
    return writes


BEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


async def test_what_is_written_in_one_turn_leaves_in_one_piece(rig: Rig) -> None:
    connection, session = await connect(rig)
    writes = watch(connection)
    connection.call_before_flush(lambda: connection.write(BEAT))
    connection.write(BEAT)
    await session.until(lambda: session.heartbeats == 2)
    assert writes == [BEAT * 2]
    await connection.close(2)


@pytest.mark.parametrize("release", ["more", "no longer", "closed"])
async def test_what_may_wait_leaves_with_the_next_that_may_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.connection.GATHER_SECONDS", 3600.0)
    connection, session = await connect(rig)
    writes = watch(connection)
    connection.write_pieces((BEAT,), gather=True)
    connection.call_before_flush(lambda: connection.write(BEAT), gather=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert writes == []
    if release == "more":
        connection.write_pieces(())
    elif release == "no longer":
        connection.send_gathered()
    else:
        await connection.close(2)
    await session.until(lambda: session.heartbeats == 2)
    assert writes[0] == BEAT * 2
    await connection.close(2)


async def test_what_waits_for_more_leaves_alone_after_a_moment(rig: Rig) -> None:
    connection, session = await connect(rig)
    connection.send_gathered()  # nothing waits
    connection.write_pieces((BEAT,), gather=True)
    await session.until(lambda: session.heartbeats == 1)
    connection.write_pieces((BEAT,), gather=True)
    connection.abort("lost")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("broker.test").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Any) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_tls_with_a_checked_certificate(server_context: ssl.SSLContext, ca_file: str) -> None:
    async with running_broker(server_context) as server:
        endpoint = server.endpoint(tls=True, ca_file=ca_file, server_name="broker.test")
        connection = await soon(Dialer().connect(endpoint, "test"))
        await connection.close(2)


@pytest.mark.parametrize("wrong", [{"server_name": "other.test"}, {"ca_file": None, "server_name": "broker.test"}])
async def test_a_certificate_that_does_not_fit_is_a_refusal(
    server_context: ssl.SSLContext, ca_file: str, wrong: dict[str, Any]
) -> None:
    async with running_broker(server_context) as server:
        endpoint = server.endpoint(**{"tls": True, "ca_file": ca_file, **wrong})
        with pytest.raises(ConnectionRefusedByBrokerError):
            await soon(Dialer().connect(endpoint, "test"))


async def test_the_check_can_be_switched_off(server_context: ssl.SSLContext) -> None:
    async with running_broker(server_context) as server:
        connection = await soon(Dialer().connect(server.endpoint(tls=True, verify=False), "test"))
        await connection.close(2)


async def test_a_client_certificate_is_shown(authority: trustme.CA, ca_file: str, tmp_path: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("broker.test").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    cert = authority.issue_cert("worker.test")
    cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    async with running_broker(context) as server:
        options: dict[str, Any] = {"tls": True, "ca_file": ca_file, "server_name": "broker.test"}
        file = str(tmp_path / "client.pem")
        connection = await soon(Dialer().connect(server.endpoint(**options, cert_file=file, key_file=file), "test"))
        await connection.close(2)
        with pytest.raises(ConnectionLostError):
            await soon(Dialer().connect(server.endpoint(**options), "test"))


async def test_plain_text_where_tls_was_due_may_pass(rig: Rig) -> None:
    with pytest.raises(ConnectionLostError):
        await soon(Dialer().connect(rig.server.endpoint(tls=True, connection_timeout=1), "test"))


def test_files_that_cannot_be_used_are_named(tmp_path: Any) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ConnectionRefusedByBrokerError, match=r"missing\.pem"):
        make_tls_context(Endpoint(tls=True, ca_file=missing))
    with pytest.raises(ConnectionRefusedByBrokerError, match=r"missing\.pem"):
        make_tls_context(Endpoint(tls=True, cert_file=missing, key_file=missing))


def test_tls_is_1_2_or_later() -> None:
    assert make_tls_context(Endpoint(tls=True)).minimum_version == ssl.TLSVersion.TLSv1_2


def test_endpoints_show_no_password() -> None:
    endpoint = Endpoint(host="::1", port=5671, password="secret")
    assert "secret" not in repr(endpoint)
    assert str(endpoint) == "[::1]:5671"


def test_texts_of_the_broker_are_one_bounded_line() -> None:
    assert printable("a\r\nb\x1b[0m") == "a  b [0m"
    assert len(printable("x" * 2000)) == 500
    assert printable(None) == ""
