"""Our ARC sets before other people's verifiers, and theirs before ours (RFC 8617, spec html-css-dkim.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import pytest

from relayq.compose.arc import NEW, Arrival, prepare_seal
from relayq.compose.arc_chain import BrokenChainError, ChainValue, judge_chain, read_chain
from relayq.compose.dkim import MessageHeader, sign_message
from relayq.smtp import normalise_line_ends
from tests.integration.dkim.test_signatures import MESSAGES, NOW, PAIRS, PRIVATE_KEYS, keys_of, new_pem, records_of
from tests.integration.dkim.verifiers import (
    MailDkim,
    Records,
    Verifier,
    seal_with_mail_dkim,
    verify_arc_with_dkimpy,
    verify_with_dkimpy,
)

Judge = Callable[[Sequence[bytes], Records, datetime], list[str]]
OTHER = new_pem(2048)
ALL_RECORDS = records_of(keys_of({}, {"selector": "s2"}, {"domain": "other.example", "key": OTHER}))


def judge_ourselves(messages: Sequence[bytes], records: Records, now: datetime) -> list[str]:
    found = []
    for message in messages:
        header = MessageHeader(message)
        try:
            found.append(judge_chain(message, header, read_chain(header), records, now).value)
        except BrokenChainError:
            found.append("broken")
    return found


@pytest.fixture(params=["dkimpy", "mail_dkim", "ours"])
def judge(request: pytest.FixtureRequest) -> Judge:
    if request.param == "dkimpy":
        return verify_arc_with_dkimpy
    if request.param == "ours":
        return judge_ourselves
    verifier: MailDkim = request.getfixturevalue("mail_dkim")
    return verifier.verify_arc


def seal(message: bytes, arrival: Arrival = NEW, **entry: object) -> bytes:
    keys = keys_of({"protocols": ["arc"], **entry})
    prepared, notes = prepare_seal(message, keys, arrival, "mx.example.com", NOW, PRIVATE_KEYS)
    assert prepared is not None, notes
    return prepared.sign() + message


# Two verifiers that are not ours have trouble of their own with these.
SOUND = {name: message for name, message in MESSAGES.items() if name not in {"two authors", "8 bit"}}


@pytest.mark.parametrize("pair", PAIRS)
def test_every_kind_of_message_passes(judge: Judge, pair: str) -> None:
    sealed = [seal(normalise_line_ends(message), canonicalization=pair) for message in SOUND.values()]
    assert dict(zip(SOUND, judge(sealed, ALL_RECORDS, NOW), strict=True)) == dict.fromkeys(SOUND, "pass")


def test_a_chain_goes_on(judge: Judge) -> None:
    once = seal(MESSAGES["plain"])
    twice = seal(once, Arrival(1, ChainValue.PASS), selector="s2", canonicalization="relaxed/relaxed")
    thrice = seal(twice, Arrival(2, ChainValue.PASS), domain="other.example", key=OTHER)
    assert judge([once, twice, thrice], ALL_RECORDS, NOW) == ["pass"] * 3
    assert thrice.count(b"cv=none") == 1
    assert thrice.count(b"cv=pass") == 2


@pytest.mark.usefixtures("mail_dkim")
def test_chains_of_others_pass_and_go_on(judge: Judge) -> None:
    key = "".join(line for line in OTHER.splitlines() if "-----" not in line)
    theirs = seal_with_mail_dkim(MESSAGES["plain"], "other.example", "s1", key, "none", NOW)
    assert judge_ourselves([theirs], ALL_RECORDS, NOW) == ["pass"]
    ours = seal(theirs, Arrival(1, ChainValue.PASS))
    back = seal_with_mail_dkim(seal(MESSAGES["plain"]), "other.example", "s1", key, "pass", NOW)
    assert judge([ours, back], ALL_RECORDS, NOW) == ["pass", "pass"]


def test_a_chain_that_broke_is_sealed_as_such(judge: Judge) -> None:
    broken = seal(MESSAGES["plain"]).replace(b"Hello", b"Hallo")
    assert judge([broken], ALL_RECORDS, NOW) == ["fail"]
    sealed = seal(broken, Arrival(1, ChainValue.FAIL))
    assert b"cv=fail" in sealed
    assert judge([sealed], ALL_RECORDS, NOW)[0] in {"fail", "ended"}


def test_signatures_stand_above_the_set_and_cover_none_of_it(verify: Verifier, judge: Judge) -> None:
    sealed = seal(MESSAGES["plain"])
    signed = sign_message(sealed, keys_of({}), NOW, PRIVATE_KEYS)
    assert signed.startswith(b"DKIM-Signature:")
    assert verify([signed], ALL_RECORDS, NOW) == [[True]]
    assert judge([signed], ALL_RECORDS, NOW) == ["pass"]
    again = seal(signed, Arrival(1, ChainValue.PASS))
    assert b"dkim-signature" in again
    assert judge([again], ALL_RECORDS, NOW) == ["pass"]
    assert verify_with_dkimpy([again], ALL_RECORDS, NOW) == [[True]]


def test_no_key_no_pass(judge: Judge) -> None:
    sealed = seal(MESSAGES["plain"])
    assert judge([sealed], {}, NOW)[0] in {"fail", "invalid"}
    assert judge([sealed], records_of(keys_of({"key": OTHER})), NOW) == ["fail"]


@pytest.mark.parametrize("pair", ["simple/simple", "relaxed/relaxed"])
def test_changing_any_octet_breaks_the_chain(judge: Judge, pair: str) -> None:
    message = (
        b"From: Ann <a@example.com>\r\nTo: b@example.org\r\nSubject: some  more\r\n text\r\n\r\n"
        b"Hello there,  \r\nso long.\r\n\r\nEnd\r\n"
    )
    signed = seal(seal(message, canonicalization=pair), Arrival(1, ChainValue.PASS), canonicalization=pair)
    step = 0x02
    # Values of signatures are decoded leniently by all of them; what they cover is everything else.
    lenient = [at for at in range(len(signed)) if _is_in_signature(signed, at)]
    changed = {
        at: signed[:at] + bytes([signed[at] ^ step]) + signed[at + 1 :]
        for at in range(0, len(signed), 3)
        if at not in lenient
    }
    verdicts = dict(zip(changed, judge(list(changed.values()), ALL_RECORDS, NOW), strict=True))
    assert {at: signed[at : at + 20] for at, verdict in verdicts.items() if verdict == "pass"} == {}
    assert len(changed) > 200


def _is_in_signature(signed: bytes, at: int) -> bool:
    start = signed.rfind(b"\r\n b=", 0, at)
    if start < 0:
        return False
    end = start + 5
    while signed[end : end + 2] != b"\r\n" or signed[end + 2 : end + 3] == b" ":
        end += 1
    return start + 5 <= at < end
