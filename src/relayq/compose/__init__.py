"""Messages as octets, looked into, edited and recoded without writing them anew: values in, octets out. Layer 2."""

from relayq.compose.analysis import Analysis, analyse
from relayq.compose.css_matching import CssLimitError
from relayq.compose.dkim import NoAuthorError, PreparedSignatures, SigningFailedError, prepare_signatures, sign_message
from relayq.compose.dsn import DsnFacts, compose_report, encode_report
from relayq.compose.eightbit import to_seven_bit
from relayq.compose.errors import (
    ComposeError,
    ConversionImpossibleError,
    HeaderError,
    LongLineError,
    TransferDecodingError,
)
from relayq.compose.header_values import encode_field
from relayq.compose.headers import HeaderEdits, edit_headers, parse_header_edits, read_header_edits
from relayq.compose.inline_css import CssInliner
from relayq.compose.long_lines import treat_long_lines
from relayq.compose.personalise import Unrendered, personalise_mime
from relayq.compose.signing_keys import PrivateKeys, SigningKey, SigningKeyError, UnusableKeyError, parse_signing_keys

__all__ = [
    "Analysis",
    "ComposeError",
    "ConversionImpossibleError",
    "CssInliner",
    "CssLimitError",
    "DsnFacts",
    "HeaderEdits",
    "HeaderError",
    "LongLineError",
    "NoAuthorError",
    "PreparedSignatures",
    "PrivateKeys",
    "SigningFailedError",
    "SigningKey",
    "SigningKeyError",
    "TransferDecodingError",
    "Unrendered",
    "UnusableKeyError",
    "analyse",
    "compose_report",
    "edit_headers",
    "encode_field",
    "encode_report",
    "parse_header_edits",
    "parse_signing_keys",
    "personalise_mime",
    "prepare_signatures",
    "read_header_edits",
    "sign_message",
    "to_seven_bit",
    "treat_long_lines",
]
