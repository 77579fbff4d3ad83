"""Invented mail for trials: any number of outbox messages, the same for the same seed.

Everything is about made-up people at domains below ``.test`` (RFC 6761), so a message that ever left a trial could not
reach anybody. Sizes are mixed as in transactional and newsletter mail: mostly a few KB, some 10 to 30, a few with an
attachment of about 60. Every message carries a custom property of its own, by which its result is recognised.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import msgspec

SENDER_DOMAIN: Final = "shop.test"
ORDINARY_DOMAINS: Final = (
    "orchard.test", "lighthouse.test", "meadow.test", "harbour.test", "quarry.test", "willow.test",
    "granite.test", "saffron.test", "juniper.test", "copper.test", "heron.test", "maple.test",
)  # fmt: skip
GREYLISTING_DOMAIN: Final = "patience.test"
UNKNOWN_USER_DOMAIN: Final = "moved-away.test"
DROPPING_DOMAIN: Final = "wobbly.test"
TROUBLE_DOMAINS: Final = (GREYLISTING_DOMAIN, UNKNOWN_USER_DOMAIN, DROPPING_DOMAIN)
ID_PROPERTY: Final = "trial-id"
"""Custom property that is unique to each generated message."""

_GREYLISTED_SHARE: Final = 0.05
_REFUSED_SHARE: Final = 0.03
_DROPPED_SHARE: Final = 0.02

TROUBLE_SCRIPT: Final = f"""\
# What the invented mail hosts do; sink script language, see docs/reference/commands.md.
rcptto *@{GREYLISTING_DOMAIN} first=1 450 4.2.0 Greylisted, please try again later
rcptto *@{UNKNOWN_USER_DOMAIN} 550 5.1.1 No such user here
message *@{DROPPING_DOMAIN} first=1 drop
"""
"""Sink script that gives the special domains their behaviour."""

_FIRST_NAMES: Final = (
    "Anna", "Bilal", "Carla", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Joris", "Kaya", "Liam", "Mei",
    "Nora", "Omar", "Petra", "Quinn", "Rosa", "Sven", "Tove", "Uma", "Zoë",
)  # fmt: skip
_LAST_NAMES: Final = (
    "Archer", "Berg", "Castell", "Dijkman", "Ekholm", "Fontaine", "Garcia", "Holm", "Ito", "Jansen", "Kowalski",
    "Lindqvist", "Marsh", "Novak", "Okafor", "Pereira", "Rossi", "Sato", "Weber",
)  # fmt: skip
_SUBJECTS: Final = (
    "Your order {number} is on its way", "Receipt for order {number}", "{name}, your weekly picks",
    "Please confirm your address", "Grüße aus der Werkstatt", "Reminder: appointment {number}",
    "Spring news, issue {number}",
)  # fmt: skip
_SENTENCES: Final = (
    "The parcel left our warehouse this morning and should arrive within two days.",
    "Nothing has to be done on your side; this message is for your records only.",
    "The new range of enamel pots comes in four colours and three sizes.",
    "If you did not ask for this, simply ignore it and nothing will change.",
    "Our workshop in the old mill is open on Saturdays from ten to four.",
    "Die neuen Öfen sind da, und für Stammkunden gibt es sie schon jetzt.",
    "You can change the address until the courier has picked the parcel up.",
    "Three readers sent us their best recipes, and we could not choose one.",
    "Prices include tax; returns are free for thirty days after delivery.",
    "A first look behind the scenes: how a kettle is made, in nine pictures.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedMessage:
    """One message for the outbox.

    Attributes:
        trial_id: Value of :data:`ID_PROPERTY`.
        body: The JSON object.
    """

    trial_id: str
    recipient: str
    body: bytes


def generate_messages(
    count: int, *, seed: int = 1, written_at: datetime | None = None, trouble: bool = True
) -> Iterator[GeneratedMessage]:
    """Generate ``count`` messages; equal arguments give equal octets.

    Args:
        count: How many; 0 gives none.
        seed: Chooses people, texts and sizes.
        written_at: Aware instant for the ``Date`` header, default a fixed one.
        trouble: About one in ten goes to a domain that greylists, refuses or hangs up (:data:`TROUBLE_SCRIPT`).
    """
    rng = random.Random(seed)
    date = format_datetime(written_at or datetime(2030, 5, 1, 7, 30, tzinfo=UTC))
    for number in range(1, count + 1):
        trial_id = f"trial-{seed}-{number:06d}"
        first, last = rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES)
        domain = _choose_domain(rng, number) if trouble else rng.choice(ORDINARY_DOMAINS)
        recipient = f"{first}.{last}.{number}@{domain}".lower().replace("ë", "e")
        mime = _compose(rng, f"{first} {last}", recipient, f"{trial_id}@{SENDER_DOMAIN}", date)
        body = msgspec.json.encode(
            {
                "envelope": f"bounces+{number}@{SENDER_DOMAIN}",
                "recipient": recipient,
                "mime": mime,
                ID_PROPERTY: trial_id,
                "campaign": {"name": "trial", "order": 100_000 + number},
            }
        )
        yield GeneratedMessage(trial_id=trial_id, recipient=recipient, body=body)


def _choose_domain(rng: random.Random, number: int) -> str:
    # The first three take one each, so that even the shortest trial shows every kind of trouble.
    match number:
        case 1:
            return GREYLISTING_DOMAIN
        case 2:
            return UNKNOWN_USER_DOMAIN
        case 3:
            return DROPPING_DOMAIN
    dice = rng.random()
    if dice < _GREYLISTED_SHARE:
        return GREYLISTING_DOMAIN
    if dice < _GREYLISTED_SHARE + _REFUSED_SHARE:
        return UNKNOWN_USER_DOMAIN
    if dice < _GREYLISTED_SHARE + _REFUSED_SHARE + _DROPPED_SHARE:
        return DROPPING_DOMAIN
    return rng.choice(ORDINARY_DOMAINS)


def _compose(rng: random.Random, name: str, recipient: str, message_id: str, date: str) -> str:
    subject = rng.choice(_SUBJECTS).format(number=rng.randrange(1000, 9999), name=name.partition(" ")[0])
    header = (
        f"From: The Enamel Shop <news@{SENDER_DOMAIN}>\r\n"
        f"To: {_encode_words(name)} <{recipient}>\r\n"
        f"Subject: {_encode_words(subject)}\r\n"
        f"Date: {date}\r\nMessage-ID: <{message_id}>\r\nMIME-Version: 1.0\r\n"
    )
    dice = rng.random()
    if dice < 0.55:
        return f"{header}{_part('plain', _text(rng, name, rng.randrange(6, 40)))}"
    html = _html(rng, name, rng.randrange(20, 140))
    alternative = _multipart("alternative", _part("plain", _text(rng, name, 12)), _part("html", html))
    if dice < 0.95:
        return f"{header}{alternative}"
    return f"{header}{_multipart('mixed', alternative, _attachment(rng))}"


def _encode_words(text: str) -> str:
    """Header text as it is when ASCII, else one encoded word (RFC 2047); the texts here are short enough for one."""
    return text if text.isascii() else f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="


def _part(subtype: str, text: str) -> str:
    return f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}"


def _multipart(subtype: str, *parts: str) -> str:
    boundary = f"=_{subtype}_{len(parts[0])}"
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n{body}--{boundary}--\r\n'


def _attachment(rng: random.Random) -> str:
    encoded = base64.encodebytes(rng.randbytes(45_000)).decode("ascii").replace("\n", "\r\n")
    return (
        'Content-Type: application/pdf; name="invoice.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="invoice.pdf"\r\n\r\n{encoded}'
    )


def _text(rng: random.Random, name: str, sentences: int) -> str:
    lines = "\r\n".join(rng.choices(_SENTENCES, k=sentences))
    return f"Dear {name},\r\n\r\n{lines}\r\n\r\nThe Enamel Shop\r\n"


def _html(rng: random.Random, name: str, rows: int) -> str:
    cells = "\r\n".join(
        f'<tr><td style="padding:4px 8px;color:#333;font-family:sans-serif">{sentence}</td></tr>'
        for sentence in rng.choices(_SENTENCES, k=rows)
    )
    return f"<html><body>\r\n<p>Dear {name},</p>\r\n<table>\r\n{cells}\r\n</table>\r\n</body></html>\r\n"
