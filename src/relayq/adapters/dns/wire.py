"""DNS messages: questions as octets, octets as records. No socket, no clock (RFC 1035, 2308, 6840, 6891).

Whatever arrives is hostile until its identifier and its question are those that were asked. Only then is it parsed, and
never more of it than could be of use: the counts in the header are cut before the parser sees them, since it spends
60 µs on each record.
"""

from __future__ import annotations

import enum
import re
import secrets
import struct

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import msgspec
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from relayq.ports import MxRecord, TlsaRecord

Record = MxRecord | TlsaRecord | str

MAX_HOSTS = 100
"""Mail exchangers considered of one domain."""
MAX_RECORDS = 50
"""Records of any other type considered of one name."""
MAX_TXT_OCTETS = 4096
MAX_TLSA_OCTETS = 8192
MAX_CNAMES = 8
"""spec delivery.md 6.1."""
MAX_ANSWERS_PARSED = 300
MAX_OTHERS_PARSED = 60
UDP_PAYLOAD = 1232
"""Largest answer that needs no fragments on any usual path (DNS flag day 2020)."""
MAX_NAME_OCTETS = 255

_HEADER = struct.Struct(">HHHHHH")
_QR, _OPCODE, _AA, _TC, _RD, _RA, _AD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020
_NOERROR, _FORMERR, _SERVFAIL, _NXDOMAIN, _NOTIMP, _BADVERS = 0, 1, 2, 3, 4, 16
_OPT = b"\x00" + struct.pack(">HHIH", 41, UDP_PAYLOAD, 0, 0)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_LABEL_OCTETS = re.compile(rb"[A-Za-z0-9_-]{1,63}")


class UnusableNameError(ValueError):
    """Text that cannot be the name of anything we look up."""


class Verdict(enum.Enum):
    """What one answer of one server is worth."""

    ANSWER = "answer"
    """NOERROR; there may be records or none."""
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    UNUSABLE = "unusable"
    """REFUSED, FORMERR, NOTIMP, a referral, or octets that cannot be understood."""
    TRUNCATED = "truncated"
    """The rest is to be had over TCP."""
    NO_EDNS = "no edns"
    """The server does not know EDNS: the same question again without it."""
    NOT_OURS = "not ours"
    """Not an answer to this question."""


class Query(msgspec.Struct, frozen=True):
    """One question under one identifier.

    Attributes:
        octets: The message as sent over UDP.
        question: The question section in it.
    """

    query_id: int
    octets: bytes
    question: bytes
    with_edns: bool


class Reply(msgspec.Struct, frozen=True):
    """What came back; ``message`` is there for ``ANSWER`` and ``NXDOMAIN`` only, else ``text`` says what it was."""

    verdict: Verdict
    message: dns.message.Message | None = None
    text: str = ""


class Extract(msgspec.Struct, frozen=True):
    """What a reply says about a name.

    Attributes:
        records: Of the wanted type, usable ones only.
        ttl: Seconds, the smallest on the way to the records; ``None`` if there were no records of the type.
        negative_ttl: Seconds "does not exist" may be believed (RFC 2308); ``None`` if the reply has no SOA.
        canonical: Name at the end of the CNAMEs in the reply.
        cnames: How many CNAMEs that were.
        cname_ttl: Smallest TTL of these; ``None`` without any.
        is_authentic: AD flag.
        dropped: Records of the type were there that no one could use.
    """

    records: tuple[Record, ...]
    ttl: int | None
    negative_ttl: int | None
    canonical: str
    cnames: int
    cname_ttl: int | None
    is_authentic: bool
    dropped: bool


def encode_name(name: str) -> bytes:
    """A name as uncompressed octets.

    Raises:
        UnusableNameError: Empty or too long, or with labels other than letters, digits, hyphens and underscores.
    """
    labels = name.split(".")
    if len(name) > MAX_NAME_OCTETS - 2 or not all(map(_LABEL.fullmatch, labels)):
        raise UnusableNameError(f"{name[:80]!r} cannot be looked up")
    return b"".join([bytes((len(label),)) + label.encode("ascii") for label in labels]) + b"\x00"


def encode_query(name: str, record_type: int, *, with_edns: bool) -> Query:
    """A recursive query under a fresh unpredictable identifier.

    The AD bit asks for the AD flag (RFC 6840 section 5.7); DO would do as well, but brings signatures nobody reads.

    Raises:
        UnusableNameError: See ``encode_name``.
    """
    query_id = secrets.randbits(16)
    question = encode_name(name) + struct.pack(">HH", record_type, dns.rdataclass.IN)
    header = _HEADER.pack(query_id, _RD | _AD, 1, 0, 0, int(with_edns))
    return Query(query_id, header + question + (_OPT if with_edns else b""), question, with_edns)


def read_reply(query: Query, octets: bytes) -> Reply:
    """Judge what a server sent. Never raises, whatever it is."""
    if len(octets) < _HEADER.size:
        return Reply(Verdict.NOT_OURS)
    reply_id, flags, questions, *_ = _HEADER.unpack_from(octets)
    rcode = flags & 0xF
    if reply_id != query.query_id or not flags & _QR or flags & _OPCODE:
        return Reply(Verdict.NOT_OURS)
    asked = octets[_HEADER.size : _HEADER.size + len(query.question)]
    if questions != 1 or asked.lower() != query.question:
        # A server that could not read the question cannot repeat it (RFC 1035 section 4.1.1).
        if questions or rcode in (_NOERROR, _NXDOMAIN):
            return Reply(Verdict.NOT_OURS)
    elif flags & _TC:
        return Reply(Verdict.TRUNCATED)
    if rcode in (_NOERROR, _NXDOMAIN):
        return _parse(octets, with_edns=query.with_edns)
    if rcode == _SERVFAIL:
        return Reply(Verdict.SERVFAIL, text="SERVFAIL")
    if query.with_edns and rcode in (_FORMERR, _NOTIMP):
        return Reply(Verdict.NO_EDNS, text=f"response code {rcode}")
    return Reply(Verdict.UNUSABLE, text=f"response code {rcode}")


def _parse(octets: bytes, *, with_edns: bool) -> Reply:
    try:
        message = dns.message.from_wire(_cut(octets), ignore_trailing=True)
        rcode = int(message.rcode())
    except Exception as error:
        # Octets of strangers in somebody else's parser: nothing is impossible, and an answer like that is just useless.
        return Reply(Verdict.UNUSABLE, text=f"malformed answer: {type(error).__name__}")
    if rcode == _BADVERS and with_edns:
        return Reply(Verdict.NO_EDNS, text="BADVERS")
    if rcode == _NXDOMAIN:
        return Reply(Verdict.NXDOMAIN, message)
    if rcode != _NOERROR:
        return Reply(Verdict.UNUSABLE, text=f"response code {rcode}")
    if _is_referral(message):
        return Reply(Verdict.UNUSABLE, text="a referral instead of an answer")
    return Reply(Verdict.ANSWER, message)


def _cut(octets: bytes) -> bytes:
    """The message with counts the parser can cope with in bounded time; sections behind a cut one are left out."""
    query_id, flags, questions, answers, authority, additional = _HEADER.unpack_from(octets)
    if answers <= MAX_ANSWERS_PARSED and authority + additional <= MAX_OTHERS_PARSED:
        return octets
    if answers > MAX_ANSWERS_PARSED:
        answers, authority, additional = MAX_ANSWERS_PARSED, 0, 0
    elif authority > MAX_OTHERS_PARSED:
        authority, additional = 0, 0
    else:
        additional = 0
    return _HEADER.pack(query_id, flags, questions, answers, authority, additional) + octets[_HEADER.size :]


def _is_referral(message: dns.message.Message) -> bool:
    """A server that does not recurse points elsewhere: that is no statement about the name, so not NODATA."""
    if message.answer or message.flags & (_AA | _RA):
        return False
    kinds = {rrset.rdtype for rrset in message.authority}
    return dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds


def extract(message: dns.message.Message, name: str, record_type: int) -> Extract:
    """Follow the CNAMEs in the reply from ``name`` and read the records at their end. Stops after ``MAX_CNAMES``."""
    here = dns.name.from_text(name + ".")
    rdtype = dns.rdatatype.RdataType.make(record_type)
    cnames = 0
    cname_ttl: int | None = None
    while True:
        rrset = message.get_rrset(message.answer, here, dns.rdataclass.IN, rdtype)
        if rrset is not None:
            records, dropped = _usable_records(list(rrset))
            ttl: int | None = rrset.ttl if cname_ttl is None else min(rrset.ttl, cname_ttl)
            break
        alias = message.get_rrset(message.answer, here, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None or cnames > MAX_CNAMES:
            records, dropped, ttl = (), False, None
            break
        cnames += 1
        cname_ttl = alias.ttl if cname_ttl is None else min(alias.ttl, cname_ttl)
        target = alias[0]
        assert isinstance(target, CNAME)
        here = target.target
    return Extract(
        records=records,
        ttl=ttl,
        negative_ttl=_negative_ttl(message),
        canonical=name if not cnames else (_host_text(here) or ""),
        cnames=cnames,
        cname_ttl=cname_ttl,
        is_authentic=bool(message.flags & _AD),
        dropped=dropped,
    )


def _negative_ttl(message: dns.message.Message) -> int | None:
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA and rrset:
            soa = rrset[0]
            assert isinstance(soa, SOA)
            return min(rrset.ttl, soa.minimum)
    return None


def _usable_records(rdatas: list[object]) -> tuple[tuple[Record, ...], bool]:
    """Records we can work with, the best mail exchangers first; and whether any were left out as unusable."""
    found = [_record(rdata) for rdata in rdatas]
    records = [record for record in found if record is not None]
    exchangers = sorted(record for record in records if isinstance(record, MxRecord))
    kept: list[Record] = list(exchangers[:MAX_HOSTS]) if exchangers else records[:MAX_RECORDS]
    return tuple(kept), len(records) < len(found)


def _record(rdata: object) -> Record | None:
    """One record in our own terms, ``None`` if it is unusable."""
    match rdata:
        case A(address=address) | AAAA(address=address):
            return str(address)
        case MX(preference=preference, exchange=exchange):
            host = _host_text(exchange)
            return None if host is None else MxRecord(preference, host)
        case PTR(target=target):
            return _host_text(target) or None
        case TXT(strings=strings):
            text = b"".join(strings)
            return text.decode("utf-8", "replace") if len(text) <= MAX_TXT_OCTETS else None
        case TLSA(usage=usage, selector=selector, mtype=matching_type, cert=association):
            if len(association) > MAX_TLSA_OCTETS:
                return None
            return TlsaRecord(int(usage), int(selector), int(matching_type), bytes(association))
        case _:
            return None


def _host_text(name: dns.name.Name) -> str | None:
    """A host name in lower case without the trailing dot, ``""`` for the root, ``None`` if it is no host name."""
    labels = name.labels[:-1]
    if not all(map(_LABEL_OCTETS.fullmatch, labels)):
        return None
    return b".".join(labels).decode("ascii").lower()
