"""Result objects: order, members left out, history continued, bodies that are no JSON (spec results.md 2, 8 and 11)."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import msgspec
import pytest

from relayq.model import Attempt, DeliveryState, ResultType
from relayq.model.members import decode_members, encode_members
from relayq.model.result_json import append_attempt, attempts_of, encode_attempt, encode_invalid_body

AT = datetime(2031, 3, 1, 9, 0, 5, 999_999, tzinfo=UTC)
LOST = Attempt(state=DeliveryState.MESSAGE, result=ResultType.LOST, at=AT)
ACCEPTED = Attempt(
    state=DeliveryState.MESSAGE,
    result=ResultType.ACCEPTED,
    at=AT,
    egress_ip="192.0.2.10",
    remote_ip="198.51.100.25",
    ordinal=3,
    code=250,
    status="2.0.0",
    description="Ok: queued as 4F2A9",
)
LOST_JSON = b'{"state":"message","result":"lost","time":"2031-03-01 09:00:05"}'


def test_the_members_come_in_the_order_of_the_specification() -> None:
    assert encode_attempt(ACCEPTED) == (
        b'{"state":"message","result":"accepted","time":"2031-03-01 09:00:05","from":"192.0.2.10","to":"198.51.100.25",'
        b'"messages":3,"code":250,"status":"2.0.0","description":"Ok: queued as 4F2A9"}'
    )


def test_members_without_a_value_are_left_out() -> None:
    assert encode_attempt(LOST) == LOST_JSON


def test_an_empty_description_is_a_value() -> None:
    attempt = msgspec.structs.replace(ACCEPTED, description="")

    assert encode_attempt(attempt).endswith(b'"status":"2.0.0","description":""}')


def test_further_members_follow_in_their_order() -> None:
    attempt = msgspec.structs.replace(LOST, extra=(("mta", "mx.é"), ("dsn", True), ("sent", {"data": 1})))

    assert encode_attempt(attempt) == LOST_JSON[:-1] + ',"mta":"mx.é","dsn":true,"sent":{"data":1}}'.encode()


@pytest.mark.parametrize("state", list(DeliveryState))
@pytest.mark.parametrize("result", list(ResultType))
def test_states_and_results_are_written_by_their_names(state: DeliveryState, result: ResultType) -> None:
    written = json.loads(encode_attempt(Attempt(state=state, result=result, at=AT)))

    assert (written["state"], written["result"]) == (state.value, result.value)


def test_a_description_is_escaped_as_json_wants_it() -> None:
    text = 'a "quoted" \\ word \ufffd \U0001f600'

    assert json.loads(encode_attempt(msgspec.structs.replace(ACCEPTED, description=text)))["description"] == text


@pytest.mark.parametrize(
    "history",
    [
        b'[{"state":"dns"}]',
        b'[ {"state" : "dns", "code":1e400 },{} \n]',
        rb'[{"description":"\ud83d"},{"description":"\udc00"}]',
        b'[{"code":' + b"9" * 6000 + b"}]",
    ],
)
def test_a_history_is_continued_byte_for_byte(history: bytes) -> None:
    members = decode_members(b'{"results":' + history + b"}")

    assert append_attempt(members, LOST) == history[:-1] + b"," + LOST_JSON + b"]"
    assert append_attempt(members, LOST, attempts_of(members)) == append_attempt(members, LOST)


@pytest.mark.parametrize("history", [b"[]", b"[ ]", b"null", b'"x"', b"5", b"{}", b"[1]", b'[{},"x"]', rb'["\ud83d"]'])
def test_what_cannot_be_continued_is_replaced(history: bytes) -> None:
    members = decode_members(b'{"results":' + history + b',"z":1}')

    results = append_attempt(members, LOST)

    assert attempts_of(members) == 0
    assert results == append_attempt(members, LOST, 0)
    assert results == b"[" + LOST_JSON + b"]"
    assert encode_members(members, {"results": results}) == b'{"results":[' + LOST_JSON + b'],"z":1}'


def test_a_history_begins_with_the_first_attempt() -> None:
    assert append_attempt({}, LOST) == b"[" + LOST_JSON + b"]"


# --- bodies that are no JSON object -------------------------------------------------------------------------------

INVALID = Attempt(state=DeliveryState.AMQP, result=ResultType.INVALID, at=AT)
RESULTS = [{"state": "amqp", "result": "invalid", "time": "2031-03-01 09:00:05"}]


def invalid(body: bytes, *, is_encoded: bool = False) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = json.loads(
        encode_invalid_body(body, INVALID, is_encoded=is_encoded), object_pairs_hook=list
    )
    results = pairs.pop()
    assert results == ("results", [list(RESULTS[0].items())])
    return pairs


@pytest.mark.parametrize("text", ["", '{"recipient": "anna@example.org", "mime": ', "[]", "é\x00\r\n\u2028", "\ufeff{"])
def test_a_body_that_is_text_is_repeated_as_text(text: str) -> None:
    assert invalid(text.encode()) == [("invalid-body", text)]


@pytest.mark.parametrize("body", [b"\xff\xfe{\x00", b'{"a":"\xe9"}', b"\xed\xa0\xbd"])
def test_a_body_that_is_no_text_is_repeated_in_base64(body: bytes) -> None:
    assert invalid(body) == [("invalid-body", base64.b64encode(body).decode()), ("invalid-encoding", "base64")]


def test_a_body_that_could_not_be_unpacked_is_repeated_in_base64_even_if_it_is_text() -> None:
    assert invalid(b"text", is_encoded=True) == [("invalid-body", "dGV4dA=="), ("invalid-encoding", "base64")]


def test_a_long_body_is_cut_at_65536_octets() -> None:
    assert invalid(b"x" * 65_536) == [("invalid-body", "x" * 65_536)]
    assert invalid(b"x" * 65_537) == [("invalid-body", "x" * 65_536), ("invalid-truncated", True)]
    assert invalid(b"\xff" * 65_537) == [
        ("invalid-body", base64.b64encode(b"\xff" * 65_536).decode()),
        ("invalid-encoding", "base64"),
        ("invalid-truncated", True),
    ]


def test_text_is_cut_between_characters() -> None:
    assert invalid(("x" * 65_535 + "é" * 10).encode()) == [("invalid-body", "x" * 65_535), ("invalid-truncated", True)]


def test_what_is_no_text_behind_the_cut_makes_the_whole_no_text() -> None:
    assert invalid(b"x" * 65_536 + b"\xff")[1] == ("invalid-encoding", "base64")
