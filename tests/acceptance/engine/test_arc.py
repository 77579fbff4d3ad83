"""A message that passes through two installations, both of which seal it (RFC 8617)."""

from __future__ import annotations

import re

from relayq.compose.arc_chain import ChainValue
from relayq.trial import ReceivedMessage
from tests.support.engine import Engine, mail
from tests.unit.compose.test_arc import NAME, judge, pem, records

KEY = {"domain": "example.com", "selector": "s1", "key": pem(), "protocols": ["arc"]}


async def relay(mime: str, **members: object) -> bytes:
    """What an installation makes of a message."""
    received: list[ReceivedMessage] = []
    async with Engine() as engine:
        engine.resolver.set_txt(NAME, records()[NAME])
        await engine.sink(on_message=received.append)
        await engine.send(mail("m1", mime=mime, dkim=KEY, **members))
        assert (await engine.outcome("m1")).kind == "success"
    return received[0].content or b""


async def test_a_chain_grows_and_tells_where_it_broke() -> None:
    first = await relay("From: a@example.com\r\nSubject: x\r\n\r\nHello\r\n")
    assert judge(first) is ChainValue.PASS
    second = await relay(first.decode(), headers={"replace": {"subject": "changed here"}})
    assert judge(second) is ChainValue.PASS
    assert re.findall(rb"i=\d; a=rsa-sha256; t=\d+; cv=(\w+)", second) == [b"pass", b"none"]
    tampered = second.replace(b"Hello", b"Hallo")
    third = await relay(tampered.decode())
    assert re.findall(rb"i=\d; a=rsa-sha256; t=\d+; cv=(\w+)", third) == [b"fail", b"pass", b"none"]
    fourth = await relay(third.decode())
    assert fourth == third  # nothing is added any more
