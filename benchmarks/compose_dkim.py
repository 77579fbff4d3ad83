"""What signing costs per message: ``python -m benchmarks.compose_dkim``.

A mail of 10 KB with the header of a newsletter. CPU time, medians of rounds in which the cases take turns. "bare" is
the arithmetic alone. Signatures per second are wall time: in threads, as one worker makes them, and in processes, as
several workers do.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import multiprocessing
import time
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.cases import Cases, run
from relayq.compose.canonical import relaxed_body, simple_body
from relayq.compose.dkim import prepare_signatures, sign_message
from relayq.compose.signing_keys import PrivateKeys, load_private_key, parse_signing_keys
from relayq.delivery.threads import WorkThreads

ROUNDS = 7
LOOPS = 300
PROCESS_SECONDS = 1.0
MOST_TIMES = 1.15
"""The bare RSA signature's time that signing 10 KB may take."""
MOST_ED25519_US = 200.0
LEAST_SPEED_UP = 2.0
"""Of two cores."""
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


def measure(cases: Cases) -> None:
    """All of them."""
    pem = rsa_pem(2048)
    private_keys = PrivateKeys()
    given: dict[str, Callable[[], object]] = {}
    for name, key in (("Ed25519", SEED), ("RSA 2048", pem)):
        for canonicalization in ("relaxed/simple", "relaxed/relaxed", "simple/simple"):
            entry = {"domain": "example.com", "selector": "s1", "key": key, "canonicalization": canonicalization}
            keys = parse_signing_keys(entry)
            given[f"{name}, {canonicalization}"] = functools.partial(sign_message, MESSAGE, keys, NOW, private_keys)
        given[f"{name}, bare"] = functools.partial(private_keys.load(key).sign, bytes(32))
    times = cases.measure(given)
    usual = times["RSA 2048, relaxed/simple"] / times["RSA 2048, bare"]
    cases.goal("RSA-2048 signature of 10 KB, times the bare signature", usual, MOST_TIMES)
    cases.goal("Ed25519 signature of 10 KB", times["Ed25519, relaxed/simple"], MOST_ED25519_US, "µs")
    prepared = prepare_signatures(MESSAGE, keys, NOW, private_keys)
    one, two = (signatures_per_second(prepared.sign, threads) for threads in (1, 2))
    print(f"RSA 2048 in threads: {one:.0f} per second in one, {two:.0f} in two")
    cases.goal("two threads, times one", two / one, LEAST_SPEED_UP, is_least=True)
    one, two = (in_processes(pem, count) for count in (1, 2))
    print(f"RSA 2048 in processes: {one:.0f} per second in one, {two:.0f} in two")
    cases.goal("two processes, times one", two / one, LEAST_SPEED_UP, is_least=True)
    entry = {"domain": "example.com", "selector": "s1", "key": pem, "expire": "2026-11-28 20:00:00"}
    body = MESSAGE[len(HEADER) :]
    cases.measure({
        "parse one entry": lambda: parse_signing_keys(entry),
        "look up a known key": lambda: private_keys.load(pem),
        "load an RSA key of 2048 bits": lambda: load_private_key(pem),
        "relaxed body": lambda: relaxed_body(body),
        "simple body": lambda: simple_body(body),
    })  # fmt: skip


def in_processes(pem: str, count: int) -> float:
    """Signatures per second of so many processes together: the best of several rounds."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        pool.map(sign_for_a_while, [(pem, 0.1)] * count, chunksize=1)
        return max(
            sum(pool.map(sign_for_a_while, [(pem, PROCESS_SECONDS)] * count, chunksize=1)) for _ in range(ROUNDS)
        )


def sign_for_a_while(given: tuple[str, float]) -> float:
    """Signatures per second in this process."""
    pem, seconds = given
    keys = parse_signing_keys({"domain": "example.com", "selector": "s1", "key": pem})
    private_keys = PrivateKeys()
    sign_message(MESSAGE, keys, NOW, private_keys)
    done, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < seconds:
        sign_message(MESSAGE, keys, NOW, private_keys)
        done += 1
    return done / taken


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


if __name__ == "__main__":
    run("compose_dkim", __doc__, measure)
