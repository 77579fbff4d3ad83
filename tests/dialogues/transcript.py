r"""Transcripts of SMTP dialogues: one text format, played against the protocol here and over sockets elsewhere.

A transcript is a list of lines; blank ones and those starting with ``#`` are for the reader. First come settings, then
the dialogue:

===================== ==================================================================================================
``tls: required``     settings: ``ehlo``, ``tls`` (values of TlsMode), ``login`` (user, blank, password), and ``yes`` or
                      ``no`` for ``clear-auth``, ``pipelining``, ``bdat``, ``defer-reset``
``S: 250 ok``         the server sends this line; lines that follow each other are one write
``S| 250 \x00\r\n``   the server sends these octets, escapes as in Python, nothing added
``S--``               the server closes
``C: MAIL FROM:<>``   the client sends this line; lines that follow each other must be exactly one write
``C| \x00``           the same with escapes and nothing added
``C> content``        the client sends the content of the current mail, stuffed, and the final dot
``C> bdat``           … the command BDAT and the content as it is
``> mail A B …``      the session begins a transaction; ``<>`` is the null sender. Options: ``lazy``, ``8bit``,
                      ``utf8``, ``size=N`` (octets of content), ``text=…`` (content, escaped), ``notify=``, ``ret=``,
                      ``envid=``, ``orcpt=``, ``dsn``
``> content …``       it provides the content; options ``size=`` and ``text=``
``> abandon``         it has none to provide
``> tls``             it reports the handshake done
``> quit``            it says goodbye
``> reset``           it sends the RSET it owes
``@ rcptto``          the state is this
``= ready``           the next event, see :func:`describe_event`
===================== ==================================================================================================

Nothing may be left over at the end, neither octets to send nor events.
"""

from __future__ import annotations

import codecs
import dataclasses
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from relayq.model import DsnOptions, EmailAddress, parse_address
from relayq.smtp import (
    Broken,
    Closed,
    Credentials,
    Delivered,
    Event,
    Refused,
    SmtpClient,
    TlsMode,
    Transaction,
    normalise_line_ends,
)
from relayq.smtp.data import stuff_dots

DEFAULT_CONTENT = b"Subject: x\r\n\r\nHello\r\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Send:
    """The server sends ``octets``."""

    octets: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Close:
    """The server closes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expect:
    """The client sends ``octets``."""

    octets: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """The session calls the protocol: ``mail``, ``content``, ``abandon``, ``tls`` or ``quit``."""

    verb: str
    transaction: Transaction | None = None
    content: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectState:
    """The state is ``name``."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectEvent:
    """The next event is described by ``text``."""

    text: str


Step = Send | Close | Expect | Act | ExpectState | ExpectEvent


@dataclasses.dataclass(frozen=True, slots=True)
class Transcript:
    """Settings of the client and the steps of the dialogue in order."""

    name: str
    settings: dict[str, str]
    steps: tuple[Step, ...]

    def make_client(self) -> SmtpClient:
        """A client with the settings of this transcript."""
        login = self.settings.get("login")
        return SmtpClient(
            ehlo_name=self.settings.get("ehlo", "mta1.example.net"),
            tls=TlsMode(self.settings.get("tls", "opportunistic")),
            credentials=Credentials(*login.split(" ", 1)) if login else None,
            allow_clear_auth=self.settings.get("clear-auth") == "yes",
            use_pipelining=self.settings.get("pipelining") != "no",
            use_bdat=self.settings.get("bdat") == "yes",
            defers_reset=self.settings.get("defer-reset") == "yes",
        )

    def server_script(self) -> tuple[Send | Close | Expect, ...]:
        """What a scripted server has to do, for playing the dialogue over a socket."""
        return tuple(step for step in self.steps if isinstance(step, Send | Close | Expect))


def load_transcript(path: Path) -> Transcript:
    """Transcript from a ``.smtp`` file."""
    return parse_transcript(path.read_text(encoding="utf-8"), path.stem)


def parse_transcript(text: str, name: str = "transcript") -> Transcript:
    """Transcript from its text.

    Raises:
        ValueError: A line cannot be read.
    """
    settings: dict[str, str] = {}
    steps: list[Step] = []
    content = DEFAULT_CONTENT
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("> "):
            act = _parse_act(line[2:])
            content = act.content if act.content is not None else content
            steps.append(act)
        elif line == "C> content":
            steps.append(Expect(stuff_dots(content) + b".\r\n"))
        elif line == "C> bdat":
            steps.append(Expect(b"BDAT %d LAST\r\n" % len(content) + content))
        elif (step := _parse_step(line)) is not None:
            steps.append(step)
        elif not steps and ": " in line:
            key, _, value = line.partition(": ")
            settings[key] = value
        else:
            raise ValueError(f"{name}, line {number}: {line!r}")
    return Transcript(name, settings, tuple(_join_writes(steps)))


def _parse_step(line: str) -> Step | None:
    if line == "S--":
        return Close()
    kinds: dict[str, type[Send | Expect]] = {"S": Send, "C": Expect}
    kind = kinds.get(line[0])
    if kind is not None and line[1:3] == ": ":
        return kind(line[3:].encode() + b"\r\n")
    if kind is not None and line[1:3] == "| ":
        return kind(_unescape(line[3:]))
    if line.startswith("@ "):
        return ExpectState(line[2:])
    if line.startswith("= "):
        return ExpectEvent(line[2:])
    return None


def _join_writes(steps: Sequence[Step]) -> Iterator[Step]:
    """Neighbouring lines of one side are one write."""
    for kind, group in itertools.groupby(steps, type):
        if kind is Send or kind is Expect:
            yield kind(b"".join(step.octets for step in group if isinstance(step, Send | Expect)))
        else:
            yield from group


def _parse_act(text: str) -> Act:
    verb, *words = shlex.split(text)
    if verb == "mail":
        sender, recipient, *words = words
        options = _parse_options(words)
        transaction = _make_transaction(sender, recipient, options)
        return Act(verb, transaction, transaction.content)
    if verb == "content":
        return Act(verb, content=_make_content(_parse_options(words)))
    return Act(verb)


def _parse_options(words: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _make_transaction(sender: str, recipient: str, options: dict[str, str]) -> Transaction:
    dsn = None
    if options.keys() & {"dsn", "notify", "ret", "envid", "orcpt"}:
        notify = options.get("notify")
        dsn = DsnOptions(
            notify=tuple(notify.split(",")) if notify else None,
            ret=options.get("ret"),
            envid=options.get("envid"),
            orcpt=options.get("orcpt"),
        )
    return Transaction(
        sender=None if sender == "<>" else _parse_address(sender),
        recipient=_parse_address(recipient),
        content=None if "lazy" in options else _make_content(options),
        has_8bit="8bit" in options,
        has_utf8_headers="utf8" in options,
        dsn=dsn,
    )


def _parse_address(text: str) -> EmailAddress:
    return parse_address(text)


def _make_content(options: dict[str, str]) -> bytes:
    if "text" in options:
        return normalise_line_ends(_unescape(options["text"]))
    size = int(options.get("size", "0"))
    return DEFAULT_CONTENT if not size else b"x" * (size - 2) + b"\r\n"


def _unescape(text: str) -> bytes:
    return codecs.escape_decode(text.encode())[0]


def describe_event(event: Event | None) -> str:
    """One line for an event.

    ``ready``, ``starttls``, ``recipient accepted``, ``delivered CODE``, ``refused STATE (CODE|CAUSE) [goes on]``,
    ``broken STATE RESULT [CODE|received]``, ``closed [CODE]``, ``nothing``.
    """
    match event:
        case None:
            return "nothing"
        case Delivered(reply=reply):
            return f"delivered {reply.code}"
        case Refused():
            why = event.reply.code if event.reply is not None else event.cause
            return f"refused {event.state} {why}{' goes on' if event.is_usable else ''}"
        case Broken():
            what = f" {event.reply.code}" if event.reply is not None else " received" if event.received else ""
            return f"broken {event.state} {event.result}{what}"
        case Closed(reply=closing):
            return f"closed {closing.code}" if closing is not None else "closed"
    return {"Ready": "ready", "StartTls": "starttls", "RecipientAccepted": "recipient accepted"}[type(event).__name__]


def act(client: SmtpClient, step: Act) -> None:
    """Make the call ``step`` stands for."""
    if step.verb == "mail":
        assert step.transaction is not None
        client.begin(step.transaction)
    elif step.verb == "content":
        assert step.content is not None
        client.provide_content(step.content)
    elif step.verb == "abandon":
        client.abandon()
    elif step.verb == "tls":
        client.tls_established()
    elif step.verb == "quit":
        client.quit()
    elif step.verb == "reset":
        client.reset()
    else:
        raise ValueError(step.verb)


def play(transcript: Transcript, *, piece: int | None = None) -> None:
    """Play a dialogue through the protocol, the server's writes cut into pieces of ``piece`` octets.

    Raises:
        AssertionError: The client does something else than the transcript says.
    """
    client = transcript.make_client()
    for step in transcript.steps:
        if isinstance(step, Send):
            size = piece or len(step.octets)
            for start in range(0, len(step.octets), size):
                client.receive_data(step.octets[start : start + size])
        elif isinstance(step, Close):
            client.receive_data(b"")
        elif isinstance(step, Act):
            act(client, step)
        else:
            check(client, step)
    rest = client.data_to_send()
    assert rest == b"", f"left to send: {rest!r}"
    event = describe_event(client.next_event())
    assert event == "nothing", f"left to report: {event}"


def check(client: SmtpClient, step: Expect | ExpectState | ExpectEvent) -> None:
    """Compare what the client does with ``step``.

    Raises:
        AssertionError: It does something else.
    """
    expected: object
    found: object
    if isinstance(step, Expect):
        found, expected = client.data_to_send(), step.octets
    elif isinstance(step, ExpectState):
        found, expected = client.state.value, step.name
    else:
        found, expected = describe_event(client.next_event()), step.text
    assert found == expected, f"{found!r} instead of {expected!r}"
