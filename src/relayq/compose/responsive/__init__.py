"""The ``mime`` object: from a description in JSON to a message (spec responsive.md). Pure. Layer 2."""

from relayq.compose.responsive.document import Occasion, Plan, ResponsiveOptions, build_mime, parse_document
from relayq.compose.responsive.downloads import Download, DownloadFailure, DownloadKind, Resource
from relayq.compose.responsive.errors import DocumentError

__all__ = [
    "DocumentError",
    "Download",
    "DownloadFailure",
    "DownloadKind",
    "Occasion",
    "Plan",
    "Resource",
    "ResponsiveOptions",
    "build_mime",
    "parse_document",
]
