"""Every place of a session × every kind of answer: the table of spec delivery.md 13 as seen from outside."""

from __future__ import annotations

import pytest

from relayq.model import DeliveryState
from relayq.smtp import SmtpClient
from relayq.smtp.states import TABLE, Move, Row, Step
from tests.dialogues.places import PLACES, go_to
from tests.dialogues.transcript import describe_event

# What comes of a 2xx, 334, 450, 550 and 421; ``>`` is what is sent. The second column is the state to be blamed, ``-``
# where no mail and no host is: what cannot be read and the end of the connection follow from it.
GRID = """
greeting                | intro        | > EHLO mta1.example.net | invalid | refused | refused | refused
EHLO                    | ehlo         | ready | invalid | refused | > HELO mta1.example.net | refused
HELO                    | helo         | ready | invalid | refused | refused | refused
STARTTLS                | starttls     | starttls | invalid | ready | ready | refused
STARTTLS required       | starttls     | starttls | invalid | refused | refused | refused
handshake               | starttls     | invalid | invalid | invalid | invalid | invalid
AUTH CRAM-MD5           | authcram     | invalid | > * | refused | > AUTH LOGIN | refused
AUTH CRAM-MD5 alone     | authcram     | invalid | > * | refused | refused | refused
answer to the challenge | authresponse | ready | invalid | refused | refused | refused
AUTH PLAIN              | authplain    | ready | > AHJlbGF5LXVzZXIAczNjcmV0LXBhc3M= | refused | > AUTH LOGIN | refused
secret behind a 334     | authplain    | ready | invalid | refused | refused | refused
AUTH LOGIN              | authlogin    | invalid | > cmVsYXktdXNlcg== | refused | refused | refused
user name               | authusername | invalid | > czNjcmV0LXBhc3M= | refused | refused | refused
password                | authpassword | ready | invalid | refused | refused | refused
idle                    | -            | closed | closed | closed | closed | closed
MAIL                    | mailfrom     | > RCPT TO:<anna@example.org> | invalid | reset | reset | refused
RCPT                    | rcptto       | > DATA | invalid | reset | reset | refused
content due             | storage      | invalid | invalid | invalid | invalid | invalid
DATA                    | data         | invalid | > Subject: x | reset | reset | refused
content                 | message      | delivered 250 | invalid | reset | reset | refused
RCPT after refusal      | -            | | | | | closed 421
DATA after refusal      | -            | > RSET | > . | > RSET | > RSET | closed 421
dot after refusal       | -            | > RSET | > RSET | > RSET | > RSET | closed 421
RSET after refusal      | -            | ready | closed 334 | closed 450 | closed 550 | closed 421
RSET before the next mail | -         | | closed 334 | closed 450 | closed 550 | closed 421
RSET before repetition  | mailfrom     | > MAIL FROM:<b@shop.example> | invalid | refused | invalid | refused
QUIT                    | -            | closed 250 | closed 334 | closed 450 | closed 550 | closed 421
"""
CODES = ("250", "334", "450", "550", "421")
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in GRID.strip().splitlines()]


def observe(client: SmtpClient) -> str:
    """Events and the first line sent, in one line."""
    seen = []
    while (event := client.next_event()) is not None:
        seen.append(describe_event(event))
    octets = client.data_to_send()
    if octets:
        seen.append("> " + octets.split(b"\r\n")[0].decode())
    return "; ".join(seen)


def spell_out(cell: str, state: str, code: str) -> str:
    return {
        "invalid": f"broken {state} invalid {code}",
        "refused": f"refused {state} {code}",
        "reset": f"refused {state} {code} goes on; > RSET",
    }.get(cell, cell)


@pytest.mark.parametrize(
    ("place", "code", "expected"),
    [
        (place, code, spell_out(cell, state, code))
        for place, state, *cells in ROWS
        for code, cell in zip(CODES, cells, strict=True)
    ],
)
def test_reply(place: str, code: str, expected: str) -> None:
    client = go_to(place)
    client.receive_data(f"{code} ?\r\n".encode())
    assert observe(client) == expected


@pytest.mark.parametrize(("place", "state"), [row[:2] for row in ROWS])
@pytest.mark.parametrize("garbage", [b"150 x\r\n", b"650 x\r\n", b"hello\r\n", b"\r\n", b"25\r\n", b"250+x\r\n"])
def test_no_reply(place: str, state: str, garbage: bytes) -> None:
    client = go_to(place)
    client.receive_data(garbage)
    received = "" if garbage == b"\r\n" else " received"
    assert observe(client) == ("closed" if state == "-" else f"broken {state} invalid{received}")
    assert client.is_over


@pytest.mark.parametrize(("place", "state"), [row[:2] for row in ROWS])
def test_end_of_connection(place: str, state: str) -> None:
    client = go_to(place)
    client.receive_data(b"")
    assert observe(client) == ("closed" if state == "-" else f"broken {state} lost")
    assert client.is_over


@pytest.mark.parametrize(("place", "state"), [row[:2] for row in ROWS])
def test_state_to_be_blamed(place: str, state: str) -> None:
    if state != "-":
        assert go_to(place).state.value == state


@pytest.mark.parametrize("answer", [b"250 ok\r\n", b"334 ?\r\n", b"421 bye\r\n", b"hello\r\n", b""])
def test_the_challenge_is_blamed_whatever_comes_after_the_cancellation(answer: bytes) -> None:
    client = go_to("* after a bad challenge")
    client.receive_data(answer)
    assert observe(client) == "broken authcram invalid 334"


def test_every_place_is_in_the_grid() -> None:
    assert {row[0] for row in ROWS} | {"* after a bad challenge"} == set(PLACES)


def test_every_step_has_a_row_whose_moves_exist() -> None:
    assert set(TABLE) == set(Step)
    for row in TABLE.values():
        for move in row.moves:
            assert callable(getattr(SmtpClient, Move(move).value))


def test_no_move_is_unused() -> None:
    assert {move for row in TABLE.values() for move in row.moves} == set(Move)


def test_rows_are_told_apart_by_identity() -> None:
    twin = Row(DeliveryState.MAILFROM, TABLE[Step.MAIL].moves)
    assert twin != TABLE[Step.MAIL]
