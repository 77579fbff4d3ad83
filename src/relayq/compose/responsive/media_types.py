"""Media types by file extension and back; a table of our own, since the system's differs from host to host."""

from __future__ import annotations

import re

DEFAULT_TYPE = "application/octet-stream"

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")

# Extension → type; the first extension of a type is the usual one.
_TABLE = """
    7z application/x-7z-compressed   aac audio/aac                avi video/x-msvideo          avif image/avif
    bin application/octet-stream     bmp image/bmp                bz2 application/x-bzip2      css text/css
    csv text/csv                     doc application/msword       eml message/rfc822           epub application/epub+zip
    flac audio/flac                  gif image/gif                gz application/gzip          heic image/heic
    htm text/html                    html text/html               ico image/x-icon             ics text/calendar
    jpg image/jpeg                   jpeg image/jpeg              js text/javascript           json application/json
    m4a audio/mp4                    md text/markdown             mov video/quicktime          mp3 audio/mpeg
    mp4 video/mp4                    mpeg video/mpeg              odp application/vnd.oasis.opendocument.presentation
    ods application/vnd.oasis.opendocument.spreadsheet            odt application/vnd.oasis.opendocument.text
    ogg audio/ogg                    otf font/otf                 p7s application/pkcs7-signature
    pdf application/pdf              pkpass application/vnd.apple.pkpass
    png image/png                    ppt application/vnd.ms-powerpoint
    pptx application/vnd.openxmlformats-officedocument.presentationml.presentation
    ps application/postscript        rar application/vnd.rar      rtf application/rtf          svg image/svg+xml
    tar application/x-tar            tif image/tiff               tiff image/tiff              ttf font/ttf
    txt text/plain                   vcf text/vcard               wav audio/wav                weba audio/webm
    webm video/webm                  webp image/webp              woff font/woff               woff2 font/woff2
    xls application/vnd.ms-excel
    xlsx application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
    docx application/vnd.openxmlformats-officedocument.wordprocessingml.document
    xml application/xml              zip application/zip
"""
_WORDS = _TABLE.split()
_TYPES = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
_USUAL = {"text/html": "html"}
_EXTENSIONS = {**{media_type: extension for extension, media_type in reversed(_TYPES.items())}, **_USUAL}


def is_media_type(text: str) -> bool:
    """``type/subtype`` as RFC 6838 section 4.2 limits it."""
    return _TYPE.fullmatch(text) is not None


def type_of_name(file_name: str) -> str | None:
    """Type by the extension of a file name, ``None`` for an extension that is unknown."""
    return _TYPES.get(file_name.rpartition(".")[2].lower()) if "." in file_name else None


def extension_of_type(media_type: str) -> str:
    """Usual extension with its dot; empty for a type that has none."""
    extension = _EXTENSIONS.get(media_type.lower())
    return f".{extension}" if extension else ""
