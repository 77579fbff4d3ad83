"""Questions and answers as octets; whatever arrives, reading it never fails in another way than with a verdict."""

from __future__ import annotations

import time

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.adapters.dns.wire import (
    MAX_HOSTS,
    MAX_NAME_OCTETS,
    MAX_RECORDS,
    Query,
    UnusableNameError,
    Verdict,
    encode_name,
    encode_query,
    extract,
    read_reply,
)
from relayq.ports import MxRecord, TlsaRecord

NAME = "example.test"


def reply_to(query: Query, *rrsets: tuple[str, str, list[str]], flags: int = 0) -> bytes:
    message = dns.message.from_wire(query.octets)
    response = dns.message.make_response(message, recursion_available=True)
    response.flags |= flags
    for owner, kind, values in rrsets:
        response.answer.append(dns.rrset.from_text_list(owner + ".", 300, "IN", kind, values))
    return response.to_wire(max_size=65_535)


def ask(kind: str = "MX", *, with_edns: bool = True) -> Query:
    return encode_query(NAME, dns.rdatatype.from_text(kind), with_edns=with_edns)


@pytest.mark.parametrize("with_edns", [True, False])
def test_a_query_says_what_others_understand(with_edns: bool) -> None:
    query = ask("TLSA", with_edns=with_edns)
    message = dns.message.from_wire(query.octets)
    assert message.id == query.query_id
    assert message.question[0].name.to_text() == NAME + "."
    assert message.question[0].rdtype == dns.rdatatype.TLSA
    assert message.flags == dns.flags.RD | dns.flags.AD
    assert (message.edns, message.payload) == ((0, 1232) if with_edns else (-1, 0))


def test_identifiers_differ() -> None:
    assert len({ask().query_id for _ in range(100)}) > 90


@pytest.mark.parametrize("name", ["a", "_25._tcp.mx.test", "x" * 63, ".".join(["a" * 49] * 5) + ".abc"])
def test_names_that_can_be_asked_for(name: str) -> None:
    assert encode_name(name) == dns.name.from_text(name).to_wire()


def test_the_longest_name() -> None:
    name = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(encode_name(name)) == MAX_NAME_OCTETS
    with pytest.raises(UnusableNameError):
        encode_name(name + "a")


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        octets = encode_name(text)
    except UnusableNameError:
        return
    assert len(octets) == len(text) + 2


@given(st.binary(max_size=600))
def test_any_octets_get_a_verdict(octets: bytes) -> None:
    assert read_reply(ask(), octets).verdict is Verdict.NOT_OURS


@given(st.binary(max_size=400), st.integers(0, 255), st.integers(0, 255), st.binary(min_size=6, max_size=6))
def test_any_octets_behind_the_right_question_get_a_verdict(octets: bytes, high: int, low: int, counts: bytes) -> None:
    query = ask()
    header = query.query_id.to_bytes(2, "big") + bytes((high & 0x87 | 0x80, low)) + b"\x00\x01" + counts
    reply = read_reply(query, header + query.question + octets)
    assert reply.verdict is not Verdict.NOT_OURS
    if reply.message is not None:
        extract(reply.message, NAME, dns.rdatatype.MX)


@given(st.data())
def test_damaged_answers_get_a_verdict_and_usable_records_only(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["MX", "A", "TXT", "TLSA", "CNAME"]))
    values = {"MX": "10 mx.test.", "A": "192.0.2.1", "TXT": '"x"', "TLSA": "3 1 1 " + "ab" * 32, "CNAME": "b.test."}
    query = ask("MX" if kind == "CNAME" else kind)
    octets = bytearray(reply_to(query, (NAME, kind, [values[kind]])))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(2, len(octets) - 1))] = data.draw(st.integers(0, 255))
    reply = read_reply(query, bytes(octets[: data.draw(st.integers(12, len(octets)))]))
    if reply.message is None:
        return
    for record in extract(reply.message, NAME, dns.rdatatype.from_text(kind)).records:
        text = record.host if isinstance(record, MxRecord) else record if isinstance(record, str) else ""
        assert text.isprintable() or kind == "TXT"


@pytest.mark.parametrize(
    ("rcode", "with_edns", "verdict"),
    [
        (dns.rcode.NOERROR, True, Verdict.ANSWER),
        (dns.rcode.NXDOMAIN, True, Verdict.NXDOMAIN),
        (dns.rcode.SERVFAIL, True, Verdict.SERVFAIL),
        (dns.rcode.REFUSED, True, Verdict.UNUSABLE),
        (dns.rcode.FORMERR, True, Verdict.NO_EDNS),
        (dns.rcode.FORMERR, False, Verdict.UNUSABLE),
        (dns.rcode.NOTIMP, True, Verdict.NO_EDNS),
        (dns.rcode.NOTIMP, False, Verdict.UNUSABLE),
        (dns.rcode.BADVERS, True, Verdict.NO_EDNS),
        # Asking again without EDNS would go round in circles.
        (dns.rcode.BADVERS, False, Verdict.UNUSABLE),
        (dns.rcode.Rcode.make(32), True, Verdict.UNUSABLE),
        (dns.rcode.BADCOOKIE, True, Verdict.UNUSABLE),
    ],
)
def test_response_codes(rcode: dns.rcode.Rcode, with_edns: bool, verdict: Verdict) -> None:
    query = ask(with_edns=with_edns)
    response = dns.message.make_response(dns.message.from_wire(query.octets))
    response.use_edns(0)
    response.set_rcode(rcode)
    assert read_reply(query, response.to_wire()).verdict is verdict


def test_only_a_failure_may_come_without_its_question() -> None:
    query = ask()
    for rcode, verdict in ((0, Verdict.NOT_OURS), (3, Verdict.NOT_OURS), (2, Verdict.SERVFAIL), (1, Verdict.NO_EDNS)):
        octets = query.query_id.to_bytes(2, "big") + bytes((0x80, rcode)) + bytes(8)
        assert read_reply(query, octets).verdict is verdict


def test_the_question_may_come_back_in_other_case() -> None:
    query = ask()
    octets = reply_to(query).replace(b"example", b"eXaMPLe")
    assert read_reply(query, octets).verdict is Verdict.ANSWER


def test_truncation_is_seen_before_anything_is_parsed() -> None:
    query = ask()
    octets = bytearray(reply_to(query, flags=dns.flags.TC) + b"rubbish")
    octets[6:8] = b"\xff\xff"
    assert read_reply(query, bytes(octets)).verdict is Verdict.TRUNCATED


def test_thousands_of_records_are_neither_parsed_nor_kept() -> None:
    query = ask()
    octets = reply_to(query, (NAME, "MX", [f"{number} h{number}.test." for number in range(2500)]))
    started = time.process_time()
    reply = read_reply(query, octets)
    assert reply.message is not None
    found = extract(reply.message, NAME, dns.rdatatype.MX)
    assert time.process_time() - started < 5
    assert len(found.records) == MAX_HOSTS
    query = ask("A")
    reply = read_reply(query, reply_to(query, (NAME, "A", [f"192.0.2.{number}" for number in range(200)])))
    assert reply.message is not None
    assert len(extract(reply.message, NAME, dns.rdatatype.A).records) == MAX_RECORDS


@pytest.mark.parametrize("section", ["authority", "additional"])
def test_thousands_of_records_nobody_asked_for_are_left_out(section: str) -> None:
    query = ask()
    response = dns.message.make_response(dns.message.from_wire(query.octets), recursion_available=True)
    response.answer.append(dns.rrset.from_text(NAME + ".", 300, "IN", "MX", "10 mx.test."))
    getattr(response, section).append(
        dns.rrset.from_text_list("x.test.", 300, "IN", "TXT", [f'"{number}"' for number in range(2000)])
    )
    reply = read_reply(query, response.to_wire(max_size=65_535))
    assert reply.message is not None
    assert extract(reply.message, NAME, dns.rdatatype.MX).records == (MxRecord(10, "mx.test"),)
    assert not getattr(reply.message, section)


def test_oversized_texts_and_associations_are_unusable() -> None:
    query = ask("TXT")
    long = " ".join(['"' + "x" * 250 + '"'] * 17)
    reply = read_reply(query, reply_to(query, (NAME, "TXT", [long, '"short"'])))
    assert reply.message is not None
    found = extract(reply.message, NAME, dns.rdatatype.TXT)
    assert (found.records, found.dropped) == (("short",), True)
    query = ask("TLSA")
    reply = read_reply(query, reply_to(query, (NAME, "TLSA", ["3 0 0 " + "ab" * 9000, "3 1 1 " + "ab" * 32])))
    assert reply.message is not None
    assert extract(reply.message, NAME, dns.rdatatype.TLSA).records == (TlsaRecord(3, 1, 1, b"\xab" * 32),)


def test_records_of_other_names_are_not_believed() -> None:
    query = ask()
    reply = read_reply(query, reply_to(query, ("other.test", "MX", ["10 evil.test."])))
    assert reply.message is not None
    found = extract(reply.message, NAME, dns.rdatatype.MX)
    assert (found.records, found.ttl, found.canonical) == ((), None, NAME)


def test_types_nobody_reads_give_no_records() -> None:
    query = ask("SRV")
    reply = read_reply(query, reply_to(query, (NAME, "SRV", ["1 1 25 mx.test."])))
    assert reply.message is not None
    found = extract(reply.message, NAME, dns.rdatatype.SRV)
    assert (found.records, found.dropped) == ((), True)
