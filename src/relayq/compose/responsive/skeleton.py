"""The page around the blocks (spec responsive.md 7.1), and what Outlook for Windows is told besides (decision 0017).

That Outlook lays mail out with Word. Widths need no help there, as every column and button is a cell of a table. What
does need help is said in a conditional comment, which is a comment to everybody else.
"""

from __future__ import annotations

from relayq.compose.responsive.markup import background, escape, read_look, tag
from relayq.compose.responsive.values import Node

_HEAD = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>"""
_STYLE = """</title>
<style type="text/css">
body{margin:0;padding:0;-webkit-text-size-adjust:100%;-ms-text-size-adjust:100%}
table{border-collapse:collapse}
@media only screen and (max-width:600px){
.re-main,.re-col{width:100%!important}
.re-col{display:block!important}
.re-desktop{display:none!important}
.re-mobile{display:table-row!important}
}
</style>
"""
_WORD = """\
<!--[if mso]>
<style type="text/css">
table{mso-table-lspace:0pt;mso-table-rspace:0pt}
h1,h2,h3,h4,h5,h6,.re-text,.re-button td{mso-line-height-rule:exactly}
.re-spacer,.re-separator div{font-size:1px!important;line-height:1px!important;mso-line-height-rule:exactly}
</style>
<noscript><xml><o:OfficeDocumentSettings xmlns:o="urn:schemas-microsoft-com:office:office">\
<o:AllowPNG/><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml></noscript>
<![endif]-->
"""
"""For Word only: tables without a gap around them, line heights as given instead of at least that, empty cells and
lines no higher than asked for, and a pixel that is a pixel on a display with more than 96 of them to the inch."""
_BODY = """\
</head>
<body>
"""
_MAIN = """
<tr>
<td align="center" valign="top">
<table class="re-main" role="presentation" width="580" cellpadding="0" cellspacing="0" border="0" style="width:580px">
<tr>
"""
_END = """
</td>
</tr>
</table>
</td>
</tr>
</table>
</body>
</html>
"""
_WRAPPER = (
    ("class", "re-body"),
    ("role", "presentation"),
    ("width", "100%"),
    ("cellpadding", "0"),
    ("cellspacing", "0"),
    ("border", "0"),
)


def page_html(document: Node, content: Node | None, subject: str, table: str) -> str:
    """A whole page.

    Args:
        document: Top level, for the wrapper around everything.
        content: ``content``, for the cell around the blocks.
        subject: Title of the page.
        table: Table of the blocks.
    """
    wrapper = tag("table", _WRAPPER, ("width:100%", background(document)), read_look(document))
    cell = tag(
        "td",
        (("class", "re-content"), ("align", "left")),
        (background(content) if content is not None else "",),
        read_look(content),
    )
    return f"{_HEAD}{escape(subject)}{_STYLE}{_WORD}{_BODY}{wrapper}{_MAIN}{cell}\n{table}{_END}"
