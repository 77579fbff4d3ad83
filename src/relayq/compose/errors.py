"""What can go wrong while octets are composed; what it means for the delivery is said by whoever asked for them."""

from __future__ import annotations


class ComposeError(Exception):
    """A message cannot be composed as asked.

    The text names the place and the cause for the application log; it never quotes content.
    """


class HeaderError(ComposeError):
    """A header name or value that must not be written: it could change other headers or end the header."""


class TransferDecodingError(ComposeError):
    """A body that is not what its Content-Transfer-Encoding says."""


class ConversionImpossibleError(ComposeError):
    """8-bit content that cannot be written in 7 bits without breaking it (spec messages.md 6)."""


class LongLineError(ComposeError):
    """A line of more than 998 octets where ``long-lines`` is ``fail`` (spec messages.md 6)."""
