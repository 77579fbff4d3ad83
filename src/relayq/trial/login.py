"""The login dialogues of the sink: every name and password is right (RFC 4954, RFC 4616, RFC 2195)."""

from __future__ import annotations

import base64
from typing import Final

ANY_LOGIN: Final = frozenset({"PLAIN", "LOGIN", "CRAM-MD5"})
_CHALLENGE: Final = base64.b64encode(b"<1896.697170952@sink.test>").decode("ascii")


class Login:
    """One login dialogue.

    Attributes:
        user: Name given, once the dialogue is complete.
    """

    def __init__(self, mechanism: str) -> None:
        self.user = ""
        self._mechanism = mechanism
        self._answers: list[str] = []

    def take(self, answer: bytes | None) -> str | None:
        """Take an answer (``None``: none was given yet); return the next challenge, or ``None`` at the end.

        Raises:
            ValueError: The answer is not usable.
        """
        if answer is not None:
            self._answers.append(base64.b64decode(answer, validate=True).decode("utf-8", "replace"))
        match self._mechanism, len(self._answers):
            case "PLAIN", 0:
                return ""
            case "PLAIN", _:
                parts = self._answers[0].split("\x00")
                if len(parts) != 3:
                    raise ValueError("not three parts")
                self.user = parts[1]
            case "LOGIN", 0:
                return "VXNlcm5hbWU6"
            case "LOGIN", 1:
                return "UGFzc3dvcmQ6"
            case "LOGIN", _:
                self.user = self._answers[0]
            case _, 0:
                return _CHALLENGE
            case _:
                self.user = self._answers[0].rpartition(" ")[0]
        return None
