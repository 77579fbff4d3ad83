"""What can be wrong with a ``mime`` object, and what ``force`` makes of it (spec responsive.md 11)."""

from __future__ import annotations

from relayq.compose.errors import ComposeError

_MAX_NOTES = 100
_MAX_PATH_CHARACTERS = 300


class DocumentError(ComposeError):
    """A ``mime`` object that cannot be turned into a message.

    Attributes:
        path: JSON path, such as ``mime.attachments[0]``.
        cause: What is wrong, without content.
        is_temporary: A download was not answered in time: worth another attempt.
    """

    def __init__(self, path: str, cause: str, *, is_temporary: bool = False) -> None:
        self.path = printable_path(path)
        super().__init__(f"{self.path}: {cause}")
        self.cause = cause
        self.is_temporary = is_temporary


class LeftOut(Exception):
    """A block, attachment or address is left out under ``force``; what for has been noted."""


class Faults:
    """Takes what is wrong: an error, or with ``force`` a note for the log while the rest goes on.

    A temporary failure is only remembered until `finish`: a permanent one found later is the better answer, since
    trying again would end there.
    """

    def __init__(self, *, force: bool) -> None:
        self.force = force
        self._notes: dict[str, None] = {}
        self._temporary: DocumentError | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the log should tell, oldest first, each once."""
        return tuple(self._notes)

    def note(self, path: str, cause: str) -> None:
        """Something to be told that is no error."""
        if len(self._notes) < _MAX_NOTES:
            self._notes[f"{printable_path(path)}: {cause}"] = None

    def fail(self, path: str, cause: str, *, is_temporary: bool = False) -> None:
        """Something is wrong; returns only if composing goes on without it.

        Raises:
            DocumentError: It is permanent and there is no ``force``.
        """
        if self.force:
            self.note(path, cause)
            return
        error = DocumentError(path, cause, is_temporary=is_temporary)
        if not is_temporary:
            raise error
        self._temporary = self._temporary or error

    def leave_out(self, path: str, cause: str, *, is_temporary: bool = False) -> LeftOut:
        """The same, for what cannot go on in part: raise what this returns."""
        self.fail(path, cause, is_temporary=is_temporary)
        return LeftOut()

    def finish(self) -> None:
        """Everything was looked at.

        Raises:
            DocumentError: Something failed for the time being.
        """
        if self._temporary is not None:
            raise self._temporary


def printable_path(path: str) -> str:
    """A path with names from outside in it as one short line of ASCII."""
    short = path[:_MAX_PATH_CHARACTERS]
    return short if short.isascii() and short.isprintable() else ascii(short)[1:-1]
