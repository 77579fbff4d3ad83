"""Every transcript of this folder, played through the protocol as a whole and octet by octet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.transcript import Close, Expect, Send, load_transcript, parse_transcript, play

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.smtp"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("piece", [None, 1, 7], ids=["whole", "octets", "sevens"])
def test_dialogue(path: Path, piece: int | None) -> None:
    play(load_transcript(path), piece=piece)


def test_there_are_dialogues() -> None:
    assert len(TRANSCRIPTS) > 30


@pytest.mark.parametrize(
    "wrong",
    [
        "S: 220 hi\nC: HELO mta1.example.net\n",
        "S: 220 hi\n",
        "S: 220 hi\nC: EHLO mta1.example.net\nS: 250 hi\n= nothing\n",
        "S: 220 hi\nC: EHLO mta1.example.net\nS: 250 hi\n",
        "@ ehlo\n",
    ],
)
def test_the_runner_notices_what_differs(wrong: str) -> None:
    with pytest.raises(AssertionError):
        play(parse_transcript(wrong))


def test_a_line_nobody_understands_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_transcript("S: 220 hi\nX: what\n")


def test_the_servers_part_can_be_taken_alone() -> None:
    transcript = parse_transcript("tls: never\nS: 220-a\nS: 220 b\nC: EHLO x\n@ ehlo\nS--\n= broken ehlo lost\n")
    assert transcript.server_script() == (Send(b"220-a\r\n220 b\r\n"), Expect(b"EHLO x\r\n"), Close())
