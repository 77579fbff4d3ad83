"""What personalisation costs per message: ``python -m benchmarks.compose_template``.

Everything is in memory, templates are compiled already where nothing else is said. CPU time, medians of rounds in which
the cases take turns.
"""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime

from benchmarks.cases import Cases, run
from relayq.compose.personalise import personalise_mime
from relayq.compose.template import TemplateCache, compile_template, template_context

MOST_US = 250.0
"""For a message of 10 KB with 20 variables."""
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


def measure(cases: Cases) -> None:
    """All of them."""
    context = template_context(
        DATA, envelope="bounce@shop.example", recipient="ann@customer.example", now=datetime(2026, 11, 21, tzinfo=UTC)
    )
    loop = "<p>Lorem ipsum dolor sit amet</p>\n" * 200 + "{foreach $list as $p}" + ROW + "{/foreach}"
    formatted = loop.replace("$p.name", "$p.name|escape").replace("$p.price", "$p.price|number_format:2")
    plain = messages()["7bit"].replace(b"{", b"(").replace(b"}", b")")
    named = {f"10 KB message, 20 variables, {name}": mime for name, mime in messages().items()}
    times = cases.measure({
        "7 KB template, 30 loop turns": lambda: compile_template(loop).render(context),
        "the same with 60 modifiers": lambda: compile_template(formatted).render(context),
        "compiling it": lambda: TemplateCache().get(loop, is_html=True, escape="none", time_left=lambda: 1.0),
        **{name: functools.partial(personalise_mime, mime, context) for name, mime in named.items()},
        "10 KB message, no variables": lambda: personalise_mime(plain, context),
    })  # fmt: skip
    cases.goal("personalising 10 KB, 20 variables, whatever the encoding", max(map(times.get, named)), MOST_US, "µs")  # type: ignore[type-var, arg-type]


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


if __name__ == "__main__":
    run("compose_template", __doc__, measure)
