"""Email addresses as the dialogue needs them: parsed once, impossible to inject with.

Syntax is RFC 5321 section 4.1.2 with the extensions of RFC 6531; domains go through IDNA 2008 with the UTS 46 mapping,
non-transitional (spec messages.md 3.1). What the wire needs (A-labels, the octets between the angle brackets) is worked
out at parsing, so nothing below can get it wrong.
"""

from __future__ import annotations

import functools
import re

import idna
import msgspec

from relayq.model.values import parse_ip

MAX_LOCAL_OCTETS = 64
MAX_DOMAIN_OCTETS = 253
MAX_PATH_OCTETS = 254

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"')
_LOOSE_ATOM = re.compile(r'[^ <>"]+')
_QUOTED_PAIRS = str.maketrans({'"': r"\"", "\\": r"\\"})
_LDH_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
# The shape of nearly every address; what it lets through passes all the checks below as well.
_PLAIN = re.compile(r"([A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*)@([A-Za-z0-9.-]+)")


class InvalidAddressError(ValueError):
    """Text that is no address; the message says why, without quoting more than the offending part."""


class EmailAddress(msgspec.Struct, frozen=True):
    """An address that can be put between angle brackets.

    Attributes:
        text: As given, without surrounding blanks.
        wire: Octets for MAIL FROM and RCPT TO: local part as given, domain in A-labels or as an address literal.
            Blanks, quotes and angle brackets occur only inside a quoted string that ends right before the last ``@``,
            so nothing in it can be taken for the end of the path.
        domain: Domain in lower-case A-labels, or the literal with its brackets.
        literal_ip: Address of a domain literal in its canonical form, ``None`` for a name.
        needs_smtputf8: The local part is not ASCII (RFC 6531).
    """

    text: str
    wire: bytes
    domain: str
    literal_ip: str | None = None
    needs_smtputf8: bool = False


def parse_address(text: str, *, loose: bool = False) -> EmailAddress:
    """Parse one bare address.

    Args:
        text: Address; ASCII blanks around it are ignored.
        loose: Accept any local part without control characters (``validate-*: loose``). One that could not be told
            from the end of the path goes out as a quoted string, which names the same mailbox (RFC 5321 section 4.1.2).

    Raises:
        InvalidAddressError: It is not an address.
    """
    if len(text) <= MAX_PATH_OCTETS:
        match = _PLAIN.fullmatch(text)
        if match is not None and match.end(1) <= MAX_LOCAL_OCTETS:
            return EmailAddress(text, text.encode("ascii"), parse_domain(match[2]))
    return _parse_unusual(text, loose=loose)


def _parse_unusual(text: str, *, loose: bool) -> EmailAddress:
    if _CONTROL.search(text):
        raise InvalidAddressError("control character in the address")
    text = text.strip(" ")
    if len(text) > MAX_PATH_OCTETS:
        raise InvalidAddressError(f"address longer than {MAX_PATH_OCTETS} octets")
    local, at, domain_text = text.rpartition("@")
    if not at or not local or not domain_text:
        raise InvalidAddressError("an address needs a local part, an @ and a domain")
    try:
        local_octets = _wire_local(local, loose=loose).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidAddressError("lone surrogate in the local part") from None
    literal_ip: str | None = None
    if domain_text.startswith("["):
        domain, literal_ip = _parse_literal(domain_text)
    else:
        domain = parse_domain(domain_text)
    # An ASCII domain keeps its spelling on the wire; only other scripts need the A-label form.
    wire_domain = domain_text if domain_text.isascii() else domain
    wire = local_octets + b"@" + wire_domain.encode("ascii")
    if len(local_octets) > MAX_LOCAL_OCTETS and not loose:
        raise InvalidAddressError(f"local part longer than {MAX_LOCAL_OCTETS} octets")
    if len(wire) > MAX_PATH_OCTETS:
        raise InvalidAddressError(f"address longer than {MAX_PATH_OCTETS} octets")
    return EmailAddress(text, wire, domain, literal_ip, not local.isascii())


def _wire_local(local: str, *, loose: bool) -> str:
    if _DOT_ATOM.fullmatch(local) or _QUOTED.fullmatch(local):
        return local
    if not loose:
        raise InvalidAddressError("local part is neither a dot-atom nor a quoted string")
    return local if _LOOSE_ATOM.fullmatch(local) else f'"{local.translate(_QUOTED_PAIRS)}"'


def _parse_literal(text: str) -> tuple[str, str]:
    """``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` → (canonical literal with brackets, address)."""
    if not text.endswith("]"):
        raise InvalidAddressError("address literal without closing bracket")
    inner = text[1:-1]
    is_tagged = inner[:5].lower() == "ipv6:"
    address_text = inner[5:] if is_tagged else inner
    ip = parse_ip(address_text)
    if ip is None or (":" in address_text) != is_tagged:
        raise InvalidAddressError("address literal without a usable IP address")
    return (f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"), ip


@functools.lru_cache(maxsize=16384)
def parse_domain(text: str) -> str:
    """Domain in lower-case A-labels.

    Raises:
        InvalidAddressError: Not a host name: bad label, too long, trailing dot, underscore.
    """
    # A-labels are never shorter than what they stand for, and the mapping drops characters: without this bound a
    # megabyte of soft hyphens would be a valid name, and stay in the cache.
    if len(text) > MAX_DOMAIN_OCTETS:
        raise InvalidAddressError(f"domain longer than {MAX_DOMAIN_OCTETS} octets")
    domain = text.lower()
    if not domain.isascii():
        try:
            domain = idna.encode(text, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            # Too long as A-labels is one of its reasons.
            raise InvalidAddressError("domain is not a valid internationalised name") from error
    if not _LDH_DOMAIN.fullmatch(domain):
        raise InvalidAddressError("domain is not made of letters, digits and hyphens")
    return domain
