"""Messages as octets, looked into, edited and recoded without writing them anew: values in, octets out. Layer 2."""

from relayq.compose.analysis import Analysis, analyse
from relayq.compose.eightbit import to_seven_bit
from relayq.compose.errors import (
    ComposeError,
    ConversionImpossibleError,
    HeaderError,
    LongLineError,
    TransferDecodingError,
)
from relayq.compose.header_values import encode_field
from relayq.compose.headers import HeaderEdits, edit_headers, parse_header_edits
from relayq.compose.long_lines import treat_long_lines

__all__ = [
    "Analysis",
    "ComposeError",
    "ConversionImpossibleError",
    "HeaderEdits",
    "HeaderError",
    "LongLineError",
    "TransferDecodingError",
    "analyse",
    "edit_headers",
    "encode_field",
    "parse_header_edits",
    "to_seven_bit",
    "treat_long_lines",
]
