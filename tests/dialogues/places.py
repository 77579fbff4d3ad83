"""Every place of a session in which something may arrive, and how a client gets there."""

from __future__ import annotations

from relayq.smtp import SmtpClient
from tests.dialogues.transcript import Act, Send, act, parse_transcript

_HELLO = "S: 220 mx.test\n"
_READY = _HELLO + "S: 250 mx.test\n= ready\n"
_PIPELINED = _HELLO + "S: 250-mx.test\nS: 250 PIPELINING\n= ready\n"
_MAIL = "> mail b@shop.example anna@example.org\n"
_LAZY = "> mail b@shop.example anna@example.org lazy\n"
_LOGIN = "tls: immediate\nlogin: relay-user s3cret-pass\n" + _HELLO
_CHALLENGE = "S: 334 PDQ3MTEuMTQ1NzAwMDAwMEByZWxheS5leGFtcGxlLm5ldD4=\n"

PLACES: dict[str, str] = {
    "greeting": "tls: opportunistic\n",
    "EHLO": _HELLO,
    "HELO": _HELLO + "S: 500 what\n",
    "STARTTLS": _HELLO + "S: 250-mx.test\nS: 250 STARTTLS\n",
    "STARTTLS required": "tls: required\n" + _HELLO + "S: 250-mx.test\nS: 250 STARTTLS\n",
    "handshake": _HELLO + "S: 250-mx.test\nS: 250 STARTTLS\nS: 220 go\n= starttls\n",
    "AUTH CRAM-MD5": _LOGIN + "S: 250-mx.test\nS: 250 AUTH CRAM-MD5 LOGIN\n",
    "AUTH CRAM-MD5 alone": _LOGIN + "S: 250-mx.test\nS: 250 AUTH CRAM-MD5\n",
    "answer to the challenge": _LOGIN + "S: 250-mx.test\nS: 250 AUTH CRAM-MD5\n" + _CHALLENGE,
    "* after a bad challenge": _LOGIN + "S: 250-mx.test\nS: 250 AUTH CRAM-MD5\nS: 334 ?\n",
    "AUTH PLAIN": _LOGIN + "S: 250-mx.test\nS: 250 AUTH PLAIN LOGIN\n",
    "secret behind a 334": _LOGIN + "S: 250-mx.test\nS: 250 AUTH PLAIN\nS: 334\n",
    "AUTH LOGIN": _LOGIN + "S: 250-mx.test\nS: 250 AUTH LOGIN\n",
    "user name": _LOGIN + "S: 250-mx.test\nS: 250 AUTH LOGIN\nS: 334\n",
    "password": _LOGIN + "S: 250-mx.test\nS: 250 AUTH LOGIN\nS: 334\nS: 334\n",
    "idle": _READY,
    "MAIL": _READY + _MAIL,
    "RCPT": _READY + _MAIL + "S: 250 ok\n",
    "content due": _READY + _LAZY + "S: 250 ok\nS: 250 ok\n= recipient accepted\n",
    "DATA": _READY + _MAIL + "S: 250 ok\nS: 250 ok\n",
    "content": _READY + _MAIL + "S: 250 ok\nS: 250 ok\nS: 354 go\n",
    "RCPT after refusal": _PIPELINED + _MAIL + "S: 550 no\n= refused mailfrom 550 goes on\n",
    "DATA after refusal": _PIPELINED + _MAIL + "S: 250 ok\nS: 550 no\n= refused rcptto 550 goes on\n",
    "dot after refusal": _PIPELINED + _MAIL + "S: 250 ok\nS: 550 no\n= refused rcptto 550 goes on\nS: 354 go\n",
    "RSET after refusal": _READY + _MAIL + "S: 550 no\n= refused mailfrom 550 goes on\n",
    "RSET before the next mail": "defer-reset: yes\n"
    + _PIPELINED
    + _MAIL
    + "S: 550 no\n= refused mailfrom 550 goes on\nS: 503 no mail\nS: 503 no mail\n= ready\n"
    + _MAIL,
    "RSET before repetition": _HELLO + "S: 250-mx.test\nS: 250 SIZE\n= ready\n" + _MAIL + "S: 555 what\n",
    "QUIT": _READY + "> quit\n",
}


def go_to(place: str) -> SmtpClient:
    """A client that has arrived at ``place`` and written all it had to write."""
    transcript = parse_transcript(PLACES[place], place)
    client = transcript.make_client()
    for step in transcript.steps:
        _follow(client, step)
    return client


def _follow(client: SmtpClient, step: object) -> None:
    if isinstance(step, Send):
        # One reply at a time: the next one is an answer only to what has been written.
        for line in step.octets.split(b"\r\n")[:-1]:
            client.receive_data(line + b"\r\n")
            if line[3:4] != b"-":
                client.data_to_send()
    elif isinstance(step, Act):
        act(client, step)
        client.data_to_send()
    else:
        assert client.next_event() is not None
