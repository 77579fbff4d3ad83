"""Three verifiers by other people: dkimpy (Python), OpenDKIM's library (C) and Mail::DKIM (Perl).

Each answers for every signature of a message, top of the message first, whether it verifies. Public keys come from a
table instead of DNS, and the time is given or ignored, so that a run today and one in ten years say the same.
"""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import dkim  # type: ignore[import-untyped]

Records = Mapping[str, str]
Verifier = Callable[[Sequence[bytes], Records, datetime], list[list[bool]]]

_FIELD = re.compile(rb"[^\r\n]+(?:\r\n[ \t][^\r\n]*)*\r\n")


def verify_with_dkimpy(messages: Sequence[bytes], records: Records, now: datetime) -> list[list[bool]]:
    """Verdicts of dkimpy."""
    clock = SimpleNamespace(time=now.timestamp)
    with mock.patch("dkim.time", clock):
        return [_ask_dkimpy(message, records) for message in messages]


def _ask_dkimpy(message: bytes, records: Records) -> list[bool]:
    verdicts: list[bool] = []
    header = message.partition(b"\r\n\r\n")[0] + b"\r\n"
    for index in range(len(re.findall(rb"(?mi)^DKIM-Signature[ \t]*:", header))):
        try:
            verdicts.append(dkim.DKIM(message).verify(idx=index, dnsfunc=lookup(records)))
        except (dkim.DKIMException, ValueError):
            verdicts.append(False)
    return verdicts


def lookup(records: Records) -> Callable[..., bytes | None]:
    """What dkimpy asks for public keys."""

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        record = records.get(name.decode("ascii").rstrip("."))
        return None if record is None else record.encode("ascii")

    return ask


class OpenDkim:
    """libopendkim by ctypes; constants from its ``dkim.h``."""

    _SET, _QUERY_METHOD, _QUERY_INFO, _CLOCK_DRIFT, _QUERY_FILE = 1, 6, 7, 12, 1
    _PASSED, _MATCH = 0x04, 0
    _DECADES = 30 * 365 * 86400  # not before 1970, which it cannot express

    def __init__(self) -> None:
        name = ctypes.util.find_library("opendkim")
        assert name is not None
        self._library = library = ctypes.CDLL(name)
        pointer = ctypes.c_void_p
        for function in ("dkim_init", "dkim_verify"):
            getattr(library, function).restype = pointer
        library.dkim_init.argtypes = [pointer, pointer]
        library.dkim_verify.argtypes = [pointer, ctypes.c_char_p, pointer, ctypes.POINTER(ctypes.c_int)]
        library.dkim_options.argtypes = [pointer, ctypes.c_int, ctypes.c_int, pointer, ctypes.c_size_t]
        library.dkim_header.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
        library.dkim_eoh.argtypes = [pointer]
        library.dkim_body.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
        library.dkim_eom.argtypes = [pointer, pointer]
        library.dkim_getsiglist.argtypes = [pointer, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int)]
        library.dkim_sig_getflags.argtypes = library.dkim_sig_getbh.argtypes = [pointer]
        library.dkim_free.argtypes = library.dkim_close.argtypes = [pointer]

    @staticmethod
    def is_installed() -> bool:
        return ctypes.util.find_library("opendkim") is not None

    def verify(self, messages: Sequence[bytes], records: Records, folder: Path) -> list[list[bool]]:
        """Verdicts of OpenDKIM, whatever the time; its table of keys is written to ``folder``."""
        table = folder / "keys.txt"
        table.write_text("".join(f"{name} {record}\n" for name, record in records.items()), "ascii")
        handle = self._library.dkim_init(None, None)
        self._set(handle, self._QUERY_METHOD, ctypes.byref(ctypes.c_int(self._QUERY_FILE)), 4)
        path = str(table).encode()
        self._set(handle, self._QUERY_INFO, path, len(path))
        # It looks at the real clock only, and so must not mind what it shows.
        self._set(handle, self._CLOCK_DRIFT, ctypes.byref(ctypes.c_uint64(self._DECADES)), 8)
        try:
            return [self._ask(handle, message) for message in messages]
        finally:
            self._library.dkim_close(handle)

    def _set(self, handle: int, option: int, value: Any, size: int) -> None:
        assert self._library.dkim_options(handle, self._SET, option, value, size) == 0

    def _ask(self, handle: int, message: bytes) -> list[bool]:
        status = ctypes.c_int()
        verifier = self._library.dkim_verify(handle, b"test", None, ctypes.byref(status))
        assert verifier
        try:
            header, _, body = message.partition(b"\r\n\r\n")
            for field in _FIELD.findall(header + b"\r\n"):
                self._library.dkim_header(verifier, field[:-2], len(field) - 2)
            self._library.dkim_eoh(verifier)
            self._library.dkim_body(verifier, body, len(body))
            self._library.dkim_eom(verifier, None)
            return self._verdicts(verifier)
        finally:
            self._library.dkim_free(verifier)

    def _verdicts(self, verifier: int) -> list[bool]:
        found, count = ctypes.c_void_p(), ctypes.c_int()
        if self._library.dkim_getsiglist(verifier, ctypes.byref(found), ctypes.byref(count)) != 0 or not count.value:
            return []
        assert found.value is not None
        signatures = (ctypes.c_void_p * count.value).from_address(found.value)
        return [
            bool(self._library.dkim_sig_getflags(signature) & self._PASSED)
            and self._library.dkim_sig_getbh(signature) == self._MATCH
            for signature in signatures
        ]


class MailDkim:
    """Mail::DKIM, one process for any number of messages; it knows RSA only, and ARC."""

    _SCRIPT = Path(__file__).with_name("mail_dkim.pl")

    @staticmethod
    def is_installed() -> bool:
        perl = shutil.which("perl")
        if perl is None:
            return False
        return subprocess.run([perl, "-MMail::DKIM", "-e", "1"], capture_output=True, check=False).returncode == 0

    def verify(self, messages: Sequence[bytes], records: Records, now: datetime) -> list[list[bool]]:
        """Verdicts on DKIM signatures."""
        answers = self._ask("dkim", messages, records, now)
        return [[result == "pass" for result in results] for results in answers]

    def verify_arc(self, messages: Sequence[bytes], records: Records, now: datetime) -> list[str]:
        """Results of ARC chains: ``pass``, ``fail``, ``none`` …"""
        return [results[0] for results in self._ask("arc", messages, records, now)]

    def _ask(self, what: str, messages: Sequence[bytes], records: Records, now: datetime) -> list[list[str]]:
        question = {
            "what": what,
            "now": int(now.timestamp()),
            "records": dict(records),
            "messages": [base64.b64encode(message).decode("ascii") for message in messages],
        }
        done = subprocess.run(
            ["perl", str(self._SCRIPT)],
            input=json.dumps(question).encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        answers: list[list[str]] = json.loads(done.stdout)
        assert len(answers) == len(messages)
        return answers


def verify_arc_with_dkimpy(messages: Sequence[bytes], records: Records, now: datetime) -> list[str]:
    """Results of ARC chains by dkimpy: ``pass``, ``fail``, ``none``, or ``ended`` below a seal that says ``fail``."""
    clock = SimpleNamespace(time=now.timestamp)
    with mock.patch("dkim.time", clock):
        return [_ask_dkimpy_arc(message, records) for message in messages]


def _ask_dkimpy_arc(message: bytes, records: Records) -> str:
    try:
        value: bytes | None = dkim.ARC(message).verify(dnsfunc=lookup(records))[0]
    except (dkim.DKIMException, ValueError):
        return "fail"
    return "ended" if value is None else value.decode("ascii")


def seal_with_mail_dkim(message: bytes, domain: str, selector: str, key: str, chain: str, now: datetime) -> bytes:
    """A message with a set by Mail::DKIM on top, which wants results it can carry on.

    Args:
        message: Octets.
        domain: Of the key.
        selector: Of the key.
        key: Base64 of a private key.
        chain: Value of ``cv=``.
        now: When it is sealed.
    """
    results = f"Authentication-Results: {domain}; none\r\n".encode()
    encoded = base64.b64encode(results + message).decode("ascii")
    question = {
        "message": encoded,
        "domain": domain,
        "selector": selector,
        "key": key,
        "chain": chain,
        "now": int(now.timestamp()),
    }
    script = Path(__file__).with_name("mail_dkim_seal.pl")
    done = subprocess.run(
        ["perl", str(script)], input=json.dumps(question).encode(), capture_output=True, check=True, timeout=60
    )
    return base64.b64decode(done.stdout)
