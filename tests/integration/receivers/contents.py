"""Messages that are hard to carry, and what has to arrive."""

from __future__ import annotations

MARK = "X-Case: "
LONG_LINE = "".join(f"{number:09d}-" for number in range(100))  # 1,000 octets: over the 998 of RFC 5321

BODIES = {
    "plain": "Hello\r\n",
    "leading-dots": ".\r\n..\r\n.one\r\n...three\r\n.\r\n",
    "only-a-dot": ".",
    "8-bit": "Grüße aus Zürich, 日本語, \U0001f600\r\n",
    "long-line": f"{LONG_LINE}\r\nafter\r\n",
    "dot-after-long-line": f"{LONG_LINE}\r\n.\r\n",
    "no-final-newline": "no newline at the end",
    "bare-line-feeds": "one\ntwo\n\n.\nthree\n",
    "bare-carriage-returns": "one\rtwo\r\r.\rthree\r",
    "mixed-line-ends": "one\r\ntwo\nthree\r.\n.\r\nfour\r\n",
    "empty": "",
    "empty-lines-at-the-end": "text\r\n\r\n\r\n",
    "one-megabyte": "".join(f"{number:07d} {'.' * 70}\r\n" for number in range(12_850)),
}
"""Bodies as they stand in the JSON, by name."""
SEVEN_BIT = {name: body for name, body in BODIES.items() if body.isascii()}


def compose(case: str, body: str) -> str:
    """A message with ``body`` that can be found by its first line."""
    return f"{first_line(case)}\r\nFrom: sender@shop.test\r\nSubject: {case}\r\n\r\n{body}"


def first_line(case: str) -> str:
    """First line of what `compose` gives."""
    return f"{MARK}{case}"


def as_stored(mime: str, line_end: bytes = b"\n") -> bytes:
    """What a mailbox has of a message: every line ended, whatever ended it before (spec messages.md 6)."""
    text = mime.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    return text.encode().replace(b"\n", line_end)
