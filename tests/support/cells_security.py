"""Pairs of state and result that belong to TLS and login, and how to bring them about (spec results.md 5).

A continuation of ``cells``: the same record, read by the same test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from relayq.model import DeliveryState, ResultType
from tests.support.cells import (
    EHLO,
    FAILURE,
    GARBAGE,
    RETRY,
    SMARTHOST_PORT,
    Cell,
    losses,
    nonsense,
    refusals,
    silence,
)
from tests.support.scripted_server import Close, Expect, Reset, Send, Stall, StartTls, Step, ehlo, opening, transaction
from tests.support.tls import self_signed

_S = DeliveryState
_R = ResultType

_REQUIRED = ("smtp-out-security=required",)
_ASKED = [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n")]
_GO_AHEAD = Send(b"220 2.0.0 Go ahead\r\n")
_SHAKING = [*_ASKED, _GO_AHEAD]
_CLIENT_HELLO = Expect(rb"\x16\x03")


def _tls(result: ResultType, when: str, peer: Sequence[Step], *options: str, description: str | None = None) -> Cell:
    return Cell(
        state=_S.STARTTLS, result=result, when=when, outcome=RETRY, peer=peer, options=(*_REQUIRED, *options),
        description=description,
    )  # fmt: skip


def _required(cells: Sequence[Cell]) -> list[Cell]:
    return [dataclasses.replace(cell, options=(*_REQUIRED, *cell.options)) for cell in cells]


_FAST = "smtp-out-timeout-starttls=0.2"

TLS = (
    *_required([silence(_S.STARTTLS, "no answer to STARTTLS", _ASKED, "starttls")]),
    _tls(_R.TIMEOUT, "the handshake makes no progress", [*_SHAKING, Stall()], _FAST),
    _tls(_R.TIMEOUT, "the handshake stops half way", [*_SHAKING, _CLIENT_HELLO, Send(b"\x16\x03\x03\x00"), Stall()],
         _FAST),
    *_required(losses(_S.STARTTLS, _ASKED)),
    _tls(_R.LOST, "the server closes instead of a handshake", [*_SHAKING, Close()]),
    _tls(_R.LOST, "the server closes during the handshake", [*_SHAKING, _CLIENT_HELLO, Close()]),
    _tls(_R.LOST, "the connection is reset during the handshake", [*_SHAKING, _CLIENT_HELLO, Reset()]),
    *_required(nonsense(_S.STARTTLS, _ASKED, "354 Go ahead")),
    _tls(_R.INVALID, "the handshake is answered in clear", [*_SHAKING, _CLIENT_HELLO, Send(GARBAGE)]),
    _tls(_R.INVALID, "the handshake is answered with zeros", [*_SHAKING, _CLIENT_HELLO, Send(bytes(200))]),
    Cell(state=_S.STARTTLS, result=_R.INVALID, when="a reply in clear stands behind the 220", outcome=RETRY,
         options=_REQUIRED, peer=[*_ASKED, Send(b"220 2.0.0 Go ahead\r\n250 2.1.0 injected\r\n")],
         code=250, status="2.1.0", description="injected"),
    _tls(_R.INVALID, "half a reply in clear stands behind the 220",
         [*_ASKED, Send(b"220 2.0.0 Go ahead\r\n250-mx.test")], description="250-mx.test"),
    *_required(refusals(_S.STARTTLS, _ASKED, RETRY)),
    _tls(_R.ERROR, "STARTTLS is not offered", opening("SIZE")),
    _tls(_R.ERROR, "an alert ends the handshake", [*_SHAKING, _CLIENT_HELLO, Send(b"\x15\x03\x03\x00\x02\x02\x28")]),
    _tls(_R.ERROR, "the certificate is not trusted", [*_SHAKING, StartTls(self_signed())],
         "smtp-out-security=verified"),
    Cell(state=_S.EHLO, result=_R.ERROR, when="5xx while TLS is required", outcome=RETRY, options=_REQUIRED,
         peer=[*EHLO, Send(b"502 5.5.1 Unknown\r\n")], code=502, status="5.5.1", description="Unknown"),
)  # fmt: skip

_LOGIN = {"hostname": "127.0.0.1", "port": SMARTHOST_PORT, "username": "relay-user", "password": "s3cret-pass"}
_CLEAR = ("auth-plaintext=true",)

_CRAM = [*opening("AUTH CRAM-MD5"), Expect(rb"AUTH CRAM-MD5\r\n")]
_RESPONSE = [*_CRAM, Send(b"334 PDEyM0B0ZXN0Pg==\r\n"), Expect(rb"\r\n")]
_PLAIN = [*opening("AUTH PLAIN"), Expect(rb"AUTH PLAIN AHJlbGF5LXVzZXIAczNjcmV0LXBhc3M=\r\n")]
_PLAIN_AGAIN = [*_PLAIN, Send(b"334 \r\n"), Expect(rb"AHJlbGF5LXVzZXIAczNjcmV0LXBhc3M=\r\n")]
_LOGIN_COMMAND = [*opening("AUTH LOGIN"), Expect(rb"AUTH LOGIN\r\n")]
_USERNAME = [*_LOGIN_COMMAND, Send(b"334 VXNlcm5hbWU6\r\n"), Expect(rb"cmVsYXktdXNlcg==\r\n")]
_PASSWORD = [*_USERNAME, Send(b"334 UGFzc3dvcmQ6\r\n"), Expect(rb"czNjcmV0LXBhc3M=\r\n")]


def _at_smarthost(cells: Sequence[Cell], *options: str) -> list[Cell]:
    return [
        dataclasses.replace(cell, message={"smarthost": _LOGIN}, options=(*options, *cell.options)) for cell in cells
    ]


def _login_step(state: DeliveryState, when: str, script: Sequence[Step], wrong: str) -> list[Cell]:
    """Everything that can go wrong where one step of a login awaits its answer."""
    cells = [
        silence(state, when, script, "auth"),
        *losses(state, script),
        *nonsense(state, script, wrong),
        *refusals(state, script, RETRY),
    ]
    return _at_smarthost(cells, *_CLEAR)


LOGIN = (
    *_login_step(_S.AUTHCRAM, "no answer to AUTH CRAM-MD5", _CRAM, "250 Fine"),
    *_login_step(_S.AUTHRESPONSE, "no answer to the response", _RESPONSE, "354 Go ahead"),
    *_login_step(_S.AUTHPLAIN, "no answer to AUTH PLAIN", _PLAIN_AGAIN, "354 Go ahead"),
    *_login_step(_S.AUTHLOGIN, "no answer to AUTH LOGIN", _LOGIN_COMMAND, "250 Fine"),
    *_login_step(_S.AUTHUSERNAME, "no answer to the user name", _USERNAME, "250 Fine"),
    *_login_step(_S.AUTHPASSWORD, "no answer to the password", _PASSWORD, "354 Go ahead"),
    *_at_smarthost([
        Cell(state=_S.AUTHCRAM, result=_R.INVALID, when="the challenge is not base64", outcome=RETRY, code=334,
             status="4.5.0", description="?not base64?",
             peer=[*_CRAM, Send(b"334 ?not base64?\r\n"), Expect(rb"\*\r\n"), Send(b"501 5.5.4 cancelled\r\n")]),
        Cell(state=_S.AUTHPLAIN, result=_R.ERROR, when="no mechanism is announced", outcome=RETRY, peer=opening()),
        Cell(state=_S.AUTHPLAIN, result=_R.ERROR, when="only passwords in clear without TLS", outcome=RETRY,
             peer=opening("AUTH PLAIN LOGIN")),
        Cell(state=_S.EHLO, result=_R.ERROR, when="5xx while a login is needed", outcome=RETRY,
             peer=[*EHLO, Send(b"502 5.5.1 Unknown\r\n")], code=502, status="5.5.1", description="Unknown"),
    ]),
    *_at_smarthost([
        Cell(state=_S.AUTHPLAIN, result=_R.ERROR, when="5xx with auth-5xx: fail", outcome=FAILURE,
             options=("auth-5xx=fail",), peer=[*_PLAIN, Send(b"535 5.7.8 No\r\n")],
             code=535, status="5.7.8", description="No"),
        Cell(state=_S.MESSAGE, result=_R.ACCEPTED, when="after a login", outcome="success",
             peer=[*_PLAIN, Send(b"235 2.7.0 Welcome\r\n"), *transaction()],
             code=250, status="2.0.0", description="queued"),
    ], *_CLEAR),
    Cell(state=_S.MESSAGE, result=_R.ACCEPTED, when="under TLS", outcome="success", options=_REQUIRED,
         peer=[*_SHAKING, StartTls(self_signed()), *ehlo(), *transaction()],
         code=250, status="2.0.0", description="queued"),
)  # fmt: skip

SECURITY_CELLS: tuple[Cell, ...] = (*TLS, *LOGIN)
