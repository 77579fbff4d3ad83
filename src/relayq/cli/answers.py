"""What downloads would give, from a file: for messages that are tried where their feeds and imports cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from relayq.cli.endings import CommandFailed
from relayq.config import ExitCode

if TYPE_CHECKING:
    from relayq.compose.responsive import Resource


class _Answer(msgspec.Struct):
    """One entry.

    Attributes:
        body: Text, or a JSON value that stands for itself.
        type: Media type, as a server would tell it.
    """

    body: msgspec.Raw
    type: str | None = None


def read_answers(path: str) -> dict[str, Resource]:
    """Resources by address from a JSON object of ``{"body": …, "type": …}``.

    Raises:
        CommandFailed: It is no such object; exit code 65.
        OSError: It cannot be read.
    """
    from relayq.compose.responsive import Resource

    try:
        answers = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, _Answer])
        return {url: Resource(_octets(answer.body), answer.type) for url, answer in answers.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandFailed(ExitCode.BAD_INPUT, f"{path}: {error}") from None


def _octets(body: msgspec.Raw) -> bytes:
    raw = bytes(body)
    return msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
