"""What records show of themselves: logs and consoles must never see a secret."""

from __future__ import annotations

import io

from rich.console import Console
from rich.pretty import Pretty

from relayq.model import Smarthost
from relayq.model.message_json import ParseRules, decode_members, parse_message

BODY = b"""{"envelope":"b@x.test","recipient":"a@x.test","mime":"secret text","key":"secret key","data":{"a":"secret"},
"dkim":{"domain":"x.test","selector":"s","key":"secret"},
"smarthost":{"hostname":"relay.test","username":"u","password":"secret"}}"""


def shown(value: object) -> str:
    console = Console(file=io.StringIO(), width=500)
    console.print(Pretty(value))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_message_shows_its_envelope_and_nothing_else() -> None:
    message = parse_message(decode_members(BODY), ParseRules())

    assert repr(message) == "Message('b@x.test' -> 'a@x.test', attempts=0)"
    assert "a@x.test" in shown(message)
    assert "secret" not in shown(message)


def test_a_null_sender_is_shown_empty() -> None:
    message = parse_message(decode_members(b'{"recipient":"a@x.test","mime":"x","results":[{}]}'), ParseRules())

    assert repr(message) == "Message('' -> 'a@x.test', attempts=1)"


def test_a_smarthost_hides_its_password() -> None:
    smarthost = Smarthost(hostname="relay.test", port=587, username="u", password="secret")

    assert repr(smarthost) == "Smarthost('relay.test', 587, username='u')"
    assert "relay.test" in shown(smarthost)
    assert "secret" not in shown(smarthost)
