"""What CSS inlining costs: ``python benchmarks/compose_css.py``.

Newsletters of 9 and 50 KB: nested tables, classes and style attributes, a sheet of 60 rules. Beside it the bare engine
(css-inline), whose output cannot be sent. Prints milliseconds, the best of several rounds. Documents "of one template"
differ in texts, as personalised ones do; those with a "known sheet" in tags as well; "first" includes taking the sheet
apart.
"""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable

import css_inline

from relayq.compose.css_matching import Patience, match_selectors
from relayq.compose.html_scan import Markup
from relayq.compose.inline_css import CssInliner

ROUNDS = 7
LOOPS = 20

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


def main() -> None:
    """Print one line per case."""
    for octets in (9_000, 50_000):
        measure(octets)


def measure(octets: int) -> None:
    """Print the cases for documents of about that size."""
    bare = css_inline.CSSInliner(
        keep_style_tags=True, remove_inlined_selectors=True, keep_at_rules=True, load_remote_stylesheets=False
    )
    inliner = CssInliner()
    html = newsletter(octets, "Ann")
    markup = Markup(html)
    named = itertools.cycle([newsletter(octets, f"Name{number}") for number in range(40)])
    odd = itertools.cycle([html.replace("<body>", "<body>" + "<i></i>" * number, 1) for number in range(160)])
    print(f"{len(html)} octets, {len(markup.starts)} elements, {len(SHEET)} octets of CSS")
    engine = report("bare engine", lambda: bare.inline(next(named)))
    usual = report("inlining, of one template", lambda: inliner.inline_html(next(named)))
    new = report("inlining, known sheet", lambda: inliner.inline_html(next(odd)))
    report("inlining, first", lambda: CssInliner().inline_html(next(named)))
    report("of it: taking the document apart", lambda: Markup(html))
    report("of it: engine on the copy, no rules", lambda: match_selectors(markup, (), Patience()))
    print(f"{usual / engine:.1f} times the bare engine for one template, {new / engine:.1f} for new structures\n")


def report(name: str, case: Callable[[], object]) -> float:
    """Time ``case``, print the best round and return it in seconds."""
    best = min(timeit.repeat(case, number=LOOPS, repeat=ROUNDS)) / LOOPS
    print(f"{name:36} {best * 1e3:8.2f} ms")
    return best


if __name__ == "__main__":
    main()
