"""What CSS inlining costs: ``python -m benchmarks.compose_css``.

Newsletters of 9 and 50 KB: nested tables, classes and style attributes, a sheet of 60 rules. Beside it the bare engine
(css-inline), whose output cannot be sent. CPU time, medians of rounds in which the cases take turns. Documents "of one
template" differ in texts, as personalised ones do; those of a "new structure" in tags as well, so that the engine has
to be asked; "first" includes taking the sheet apart.
"""

from __future__ import annotations

import itertools

import css_inline

from benchmarks.cases import Cases, run
from relayq.compose.html_scan import Markup
from relayq.compose.inline_css import CssInliner

MOST_TIMES = 3.0
"""The bare engine's time that inlining 50 KB may take."""

SHEET = "\n".join(
    [
        "body { margin: 0; padding: 0; background-color: #f4f4f4; font-family: Arial, 'Helvetica Neue', sans-serif }",
        "table { border-collapse: collapse; mso-table-lspace: 0pt; mso-table-rspace: 0pt }",
        "img { border: 0; height: auto; line-height: 100%; outline: none; text-decoration: none }",
        "p { margin: 0 0 1em; color: #333333; font-size: 16px; line-height: 1.5 }",
        "a { color: #1155cc } a:hover { color: #cc0000; text-decoration: none }",
        ".container { width: 600px } .footer p, .footer a { color: #999999; font-size: 12px }",
        "#outlook a { padding: 0 } .ExternalClass { width: 100% }",
        "td.cell { padding: 8px 16px } tr:first-child > td { border-top: 1px solid #dddddd }",
        "@media (max-width: 600px) { .container { width: 100% } p { font-size: 18px } }",
        *(f".block-{number} {{ padding: {number}px; color: #{number:06d}; display: block }}" for number in range(40)),
        *(f".row .item-{number} {{ margin: {number}px auto }}" for number in range(10)),
    ]
)
ROW = (
    '<tr class="row">\n<td class="cell block-{a}" align="left" valign="top" style="font-weight:bold;width:50%">'
    '<p class="item-{b}">Some text of an article that goes on for a while &amp; ends here.</p>'
    '<a href="https://shop.example.com/a/{a}?utm=1&amp;x={b}"><img src="https://img.example.com/{a}.png" alt="Picture" '
    'width="120"></a></td>\n<td class="cell"><p>{name}: <b>{a}</b> of <span style="color:#ff0000">{b}</span></p></td>'
    "</tr>\n"
)


def newsletter(octets: int, name: str) -> str:
    """A document of about that size."""
    head = (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>News</title>\n<style>\n{SHEET}\n</style></head>\n'
    )
    rows = (ROW.format(a=number % 40, b=number % 10, name=name) for number in itertools.count())
    body = ""
    while len(head) + len(body) < octets - 200:
        body += next(rows)
    return (
        f'{head}<body>\n<table class="container" width="600"><tr><td><table>\n{body}</table></td></tr></table>\n'
        '<div class="footer"><p>Bye. <a href="https://u.example.com/">unsubscribe</a></p></div></body></html>\n'
    )


def measure(cases: Cases) -> None:
    """Documents of two sizes."""
    for octets in (9_000, 50_000):
        measure_size(cases, octets)


def measure_size(cases: Cases, octets: int) -> None:
    """The cases for documents of about that size."""
    bare = css_inline.CSSInliner(
        keep_style_tags=True, remove_inlined_selectors=True, keep_at_rules=True, load_remote_stylesheets=False
    )
    inliner = CssInliner()
    html = newsletter(octets, "Ann")
    named = itertools.cycle([newsletter(octets, f"Name{number}") for number in range(40)])
    odd = itertools.cycle([html.replace("<body>", "<body>" + "<i></i>" * number, 1) for number in range(1, 160)])
    size = f"{octets // 1000} KB, {len(Markup(html).starts)} elements"
    engine, usual, new = (f"{size}: {what}" for what in ("bare engine", "of one template", "new structure"))
    times = cases.measure({
        engine: lambda: bare.inline(next(named)),
        usual: lambda: inliner.inline_html(next(named)),
        new: lambda: inliner.inline_html(next(odd)),
        f"{size}: first": lambda: CssInliner().inline_html(next(named)),
        f"{size}: of it, taking the document apart": lambda: Markup(html),
    })  # fmt: skip
    if octets > 10_000:
        cases.goal("inlining 50 KB of one template, times the bare engine", times[usual] / times[engine], MOST_TIMES)
        cases.goal("inlining 50 KB of a new structure, the same", times[new] / times[engine], MOST_TIMES)


if __name__ == "__main__":
    run("compose_css", __doc__, measure)
