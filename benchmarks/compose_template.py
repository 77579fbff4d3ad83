"""What personalisation costs per message: ``python -m benchmarks.compose_template``.

Everything is in memory, templates are compiled already but for the last lines. Prints microseconds, the best of several
rounds, in processor time.
"""

from __future__ import annotations

import base64
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from relayq.compose.personalise import personalise_mime
from relayq.compose.template import TemplateCache, compile_template, template_context

ROUNDS = 7
LOOPS = 300
HEADER = (
    "From: shop@shop.example\r\nTo: ann@customer.example\r\nSubject: {$name}, parcel {$parcel.id}\r\n"
    "Date: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\nMIME-Version: 1.0\r\n"
)
LINE = "Ten kilobytes of lines of the usual length, and every now and then a tag in them.\r\n"
TAGS = "Dear {$name}, parcel {$parcel.id} comes on {$date|default:'Monday'} to {$city|escape}.\r\n"
ROW = '<tr><td class="title">{$p.name}</td><td class="price">{$p.price}</td>{if $p.new}<td>new</td>{/if}</tr>\n'
DATA: dict[str, object] = {
    "name": "Anna",
    "parcel": {"id": 9017},
    "city": "Delft",
    "list": [{"name": f"product {number}", "price": number * 1.5, "new": number % 3 == 0} for number in range(30)],
}


def main() -> None:
    """Print one line per case."""
    context = template_context(
        DATA, envelope="bounce@shop.example", recipient="ann@customer.example", now=datetime(2026, 11, 21, tzinfo=UTC)
    )
    loop = "<p>Lorem ipsum dolor sit amet</p>\n" * 200 + "{foreach $list as $p}" + ROW + "{/foreach}"
    report("7 KB template, 30 loop turns", lambda: compile_template(loop).render(context))
    formatted = loop.replace("$p.name", "$p.name|escape").replace("$p.price", "$p.price|number_format:2")
    report("the same with 60 modifiers", lambda: compile_template(formatted).render(context))
    report("compiling it", lambda: TemplateCache().get(loop, is_html=True, escape="none", time_left=lambda: 1.0))
    for name, mime in messages().items():
        report(f"10 KB message, 20 variables, {name}", lambda: personalise_mime(mime, context))  # noqa: B023
    plain = messages()["7bit"].replace(b"{", b"(").replace(b"}", b")")
    report("10 KB message, no variables", lambda: personalise_mime(plain, context))


def messages() -> dict[str, bytes]:
    """The same texts in every transfer encoding, and as text and HTML."""
    text = (LINE * 22 + TAGS) * 5
    plain = HEADER + "Content-Type: text/plain; charset=utf-8\r\n"
    encoded = base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")
    half = (LINE * 11 + TAGS) * 5
    parts = (f"--b\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n{half}\r\n" for kind in ("plain", "html"))
    texts = {
        "7bit": f"{plain}\r\n{text}",
        "8bit": f"{plain}Content-Transfer-Encoding: 8bit\r\n\r\n\N{LATIN SMALL LETTER E WITH ACUTE}{text}",
        "quoted-printable": f"{plain}Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9{text}",
        "base64": f"{plain}Content-Transfer-Encoding: base64\r\n\r\n{encoded}",
        "text and HTML": f"{HEADER}Content-Type: multipart/alternative; boundary=b\r\n\r\n{''.join(parts)}--b--\r\n",
    }
    return {name: mime.encode() for name, mime in texts.items()}


def report(name: str, case: Callable[[], object]) -> None:
    """Time ``case`` and print the best round."""
    case()
    best = min(timeit.repeat(case, number=LOOPS, repeat=ROUNDS, timer=time.process_time)) / LOOPS * 1e6
    print(f"{name:48} {best:8.1f} µs")


if __name__ == "__main__":
    main()
