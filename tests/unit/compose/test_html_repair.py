"""Documents with every element closed."""

from __future__ import annotations

import pytest

from relayq.compose.html_repair import MAX_DEPTH, orderly_depth, repair
from relayq.compose.html_scan import Markup


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("", 0),
        ("text<br><img>", 0),
        ("<html><head><title>t</title></head><body><p>x</p></body></html>", 3),
        ("<div><p><b>x</b></p><p>y</p></div>", 3),
        ("<table><tr><td><i>x</i></td></tr></table>", 4),
        ("<table><col><style>x</style><tr></tr></table>", 2),
        ("<form></form><form></form>", 1),
        ("<div>" * MAX_DEPTH + "</div>" * MAX_DEPTH, MAX_DEPTH),
    ],
)
def test_orderly_documents(text: str, depth: int) -> None:
    assert orderly_depth(Markup(text)) == depth


@pytest.mark.parametrize(
    "text",
    [
        *("<p>", "</p>", "<b><i></b></i>", "<div></DIV>", "<li>1<li>2", "</br>", "<br></br>", "<p></p x>"),
        *("<form><form></form></form>", "<frameset></frameset>", "<svg></svg>", "<math></math>"),
        *("<table><i></i></table>", "<table><tr><b></b></tr></table>", "<table><tbody><p></p></tbody></table>"),
        "<div>" * (MAX_DEPTH + 1) + "</div>" * (MAX_DEPTH + 1),
    ],
)
def test_documents_that_need_repair(text: str) -> None:
    assert orderly_depth(Markup(text)) is None


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("", ""),
        ("x<br>y<!-- z -->", "x<br>y<!-- z -->"),
        ("<div><p>x</p></div>", "<div><p>x</p></div>"),
        ("<HTML><BODY class=x>y</BODY></HTML>", "<HTML><BODY class=x>y"),
        # Implied end tags.
        ("<p>1<p>2<div>3</div>", "<p>1</p><p>2</p><div>3</div>"),
        ("<p>1<b>2<p>3</b>", "<p>1<b>2</b></p><p>3</p>"),
        ("<p><button><p>1</button>2<p>", "<p><button><p>1</p></button>2</p><p></p>"),
        ("<ul><li>1<li>2<ul><li>3</ul></ul>", "<ul><li>1</li><li>2<ul><li>3</li></ul></li></ul>"),
        ("<li>1<p>2<li>3", "<li>1<p>2</p></li><li>3</li>"),
        ("<dl><dt>1<dd>2<dt>3</dl>", "<dl><dt>1</dt><dd>2</dd><dt>3</dt></dl>"),
        ("<table><tr><td>1<th>2<tr><td>3</table>", "<table><tr><td>1</td><th>2</th></tr><tr><td>3</td></tr></table>"),
        ("<table><td>1<tbody><td>2</table>", "<table><td>1</td><tbody><td>2</td></tbody></table>"),
        ("<table><caption>1<tr><td>2", "<table><caption>1</caption><tr><td>2</td></tr></table>"),
        (
            "<table><tr><td><table><td>1</table>2<td>3",
            "<table><tr><td><table><td>1</td></table>2</td><td>3</td></tr></table>",
        ),
        ("<table><table>", "<table></table><table></table>"),
        (
            "<select><option>1<option>2<optgroup><option>3</select>",
            "<select><option>1</option><option>2</option><optgroup><option>3</option></optgroup></select>",
        ),
        ("<select>1<select>2", "<select>1</select>2"),
        ("<ruby>a<rt>b<rp>c</ruby>", "<ruby>a<rt>b</rt><rp>c</rp></ruby>"),
        ("<h1>1<h2>2</h1>", "<h1>1</h1><h2>2</h2>"),
        ("<a>1<a>2", "<a>1</a><a>2</a>"),
        ("<nobr>1<b><nobr>2", "<nobr>1<b></b></nobr><nobr>2</nobr>"),
        ("<button>1<i><button>2", "<button>1<i></i></button><button>2</button>"),
        # What was forgotten, and what is too much.
        ("<div><span>1</div>2", "<div><span>1</span></div>2"),
        ("<div><b>1", "<div><b>1</b></div>"),
        ("</div>1</p>2</br>", "12"),
        ("<span><div></span>1</div>", "<span><div>1</div></span>"),
        ("<div><table><td></div>1</table>", "<div><table><td>1</td></table></div>"),
        ("<form>1<form>2</form>3</form>", "<form>12</form>3"),
        ("<td>1<tr>2", "12"),
        # What would be moved away stays empty.
        ("<table><b>1<tr><i>2<td><u>3", "<table><b></b>1<tr><i></i>2<td><u>3</u></td></tr></table>"),
        ("<frameset><frame>", "<frameset></frameset><frame>"),
        # Raw text.
        ("<div><title><p></div>", "<div><title><p></div></title></div>"),
        ("<table><title><p></title>", "<table><title><p></title></table>"),
        # Foreign content.
        ("<svg><g/><path d=1></svg>1", "<svg><g></g><path d=1></path></svg>1"),
        ("<svg><g><p>1", "<svg><g></g></svg><p>1</p>"),
        ("<svg><svg><b>1", "<svg><svg></svg></svg><b>1</b>"),
        ("<svg><desc><b>1</svg>", "<svg><desc><b>1</b></desc></svg>"),
        ("<svg><link>1", "<svg><link></link>1</svg>"),
    ],
)
def test_repair(text: str, repaired: str) -> None:
    assert repair(Markup(text).pieces) == repaired


def test_what_is_too_deep_is_put_side_by_side() -> None:
    repaired = repair(Markup("<i>" * (MAX_DEPTH + 3)).pieces)
    assert repaired == "<i>" * MAX_DEPTH + "<i></i>" * 3 + "</i>" * MAX_DEPTH
