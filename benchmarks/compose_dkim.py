"""What signing costs per message: ``python benchmarks/compose_dkim.py``.

A mail of 10 KB with the header of a newsletter. RSA is printed as the whole and as what lies around the arithmetic.
Prints microseconds, the best of several rounds.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relayq.compose.canonical import relaxed_body, simple_body
from relayq.compose.dkim import prepare_signatures
from relayq.compose.signing_keys import PrivateKeys, load_private_key, parse_signing_keys
from relayq.delivery.threads import WorkThreads

ROUNDS = 7
LOOPS = 300
NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
LINE = b"Ten kilobytes of lines of the usual length.  Some of them. End with a dot.\r\n"
HEADER = b"""From: Shop <shop@example.com>
To: Ann <ann@example.org>
Reply-To: service@example.com
Subject: =?utf-8?q?Neues_von_gestern=2C_heute_f=C3=BCr_Sie?=
Date: Sat, 21 Nov 2026 20:00:00 +0000
Message-ID: <0123456789abcdef0123456789abcdef@example.com>
MIME-Version: 1.0
List-ID: <news.example.com>
List-Unsubscribe: <https://u.example.com/a/b/c/d/e/f/0123456789abcdef>,
 <mailto:u+0123456789abcdef@example.com>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
Feedback-ID: c42:shop:news:acmemail
X-Mailer: shop 1.0
X-Campaign: 4711
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

""".replace(b"\n", b"\r\n")
MESSAGE = HEADER + (LINE * 200)[: 10_000 - len(HEADER) - 2] + b"\r\n"
SEED = base64.b64encode(bytes(range(32))).decode()


def main() -> None:
    """Print one line per case."""
    pem = rsa_pem(2048)
    private_keys = PrivateKeys()
    for name, key in (("Ed25519", SEED), ("RSA 2048", pem)):
        for canonicalization in ("relaxed/simple", "relaxed/relaxed", "simple/simple"):
            entry = {"domain": "example.com", "selector": "s1", "key": key, "canonicalization": canonicalization}
            keys = parse_signing_keys(entry)
            prepared = prepare_signatures(MESSAGE, keys, NOW, private_keys)
            label = f"{name}, {canonicalization}"
            report(f"{label}: prepare", functools.partial(prepare_signatures, MESSAGE, keys, NOW, private_keys))
            report(f"{label}: sign", prepared.sign)
    prepared = prepare_signatures(MESSAGE, keys, NOW, private_keys)
    one, two = (signatures_per_second(prepared.sign, threads) for threads in (1, 2))
    print(f"RSA 2048 in threads: {one:.0f} per second in one, {two:.0f} in two, {two / one:.2f} times as many")
    entry = {"domain": "example.com", "selector": "s1", "key": pem, "expire": "2026-11-28 20:00:00"}
    report("parse one entry", lambda: parse_signing_keys(entry))
    report("look up a known key", lambda: private_keys.load(pem))
    report("load an RSA key of 2048 bits", lambda: load_private_key(pem), 20)
    body = MESSAGE[len(HEADER) :]
    report("relaxed body", lambda: relaxed_body(body))
    report("simple body", lambda: simple_body(body))


def signatures_per_second(sign: Callable[[], bytes], threads: int) -> float:
    """The best of several rounds, with threads as the composer uses them."""

    async def work() -> float:
        pool = WorkThreads(threads)
        begun = time.perf_counter()
        await asyncio.gather(*(pool.do(sign) for _ in range(LOOPS * threads)))
        taken = time.perf_counter() - begun
        pool.close()
        return LOOPS * threads / taken

    return max(asyncio.run(work()) for _ in range(ROUNDS))


def rsa_pem(bits: int) -> str:
    """A new private key."""
    key = rsa.generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def report(name: str, case: Callable[[], object], loops: int = LOOPS) -> None:
    """Time ``case`` and print the best round."""
    best = min(timeit.repeat(case, number=loops, repeat=ROUNDS)) / loops * 1e6
    print(f"{name:42} {best:8.1f} µs")


if __name__ == "__main__":
    main()
