"""Types of settings that are names, paths and free text: nothing in them can end a line of a log or of a dialogue."""

from __future__ import annotations

import re
from dataclasses import replace

from relayq.config.problems import BadValueError
from relayq.config.value_types import ValueType, list_of, not_empty, words
from relayq.model import InvalidAddressError, parse_address

# AMQP 0-9-1: names are short strings.
MAX_NAME_OCTETS = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SERVER_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)?")


def string(*, empty: object = None) -> ValueType:
    """Return the type of free text on one line: ``str`` exactly as written, blank = ``None``."""
    return ValueType(name="string", expected="text without control characters", parse=_printable, empty=empty)


def strings() -> ValueType:
    """Return the type of a list of free words: ``tuple[str, ...]``."""
    return list_of(_printable, "a list of words")


def line_template() -> ValueType:
    """Return the type of formats of log lines: ``str`` as written, blank = ``None``."""

    def parse(text: str) -> str:
        # Imported late: the language takes longer to load than the rest of the configuration.
        from relayq.compose.template import TemplateError, compile_template

        value = _printable(text)
        try:
            compile_template(value)
        except TemplateError as error:
            raise BadValueError(f"is no template: {error}") from None
        return value

    return ValueType(name="template", expected="json, or a template of one line", parse=parse, empty=None)


def queue() -> ValueType:
    """Return the type of a queue that may be off: ``str``, blank = ``None``."""

    def parse(text: str) -> str:
        value = _short_string(text)
        if value.startswith("amq."):
            raise BadValueError("starts with amq., which belongs to the broker")
        return value

    expected = f"a queue name of 1 to {MAX_NAME_OCTETS} bytes, not starting with amq."
    return ValueType(name="queue", expected=expected, parse=parse, empty=None)


def needed_queue() -> ValueType:
    """Return the type of a queue that cannot be off: ``str``."""
    return not_empty(queue())


def exchange(*, empty: object = "") -> ValueType:
    """Return the type of exchange names: ``str``, blank = the default exchange, whose name is empty."""
    expected = f"an exchange name of at most {MAX_NAME_OCTETS} bytes"
    return ValueType(name="exchange", expected=expected, parse=_short_string, empty=empty)


def _short_string(text: str) -> str:
    value = _printable(text.strip())
    if len(value.encode("utf-8")) > MAX_NAME_OCTETS:
        raise BadValueError(f"is longer than {MAX_NAME_OCTETS} bytes")
    return value


def path() -> ValueType:
    """Return the type of absolute paths: ``str``, blank = ``None``."""
    return ValueType(name="path", expected="an absolute path", parse=_absolute, empty=None)


AUTOMATIC = "auto"


def path_or_auto() -> ValueType:
    """Return the type of absolute paths with a usual place: ``str``, that of ``auto`` = ``auto``, blank = ``None``."""

    def parse(text: str) -> str:
        return AUTOMATIC if text.strip().lower() == AUTOMATIC else _absolute(text)

    return ValueType(name="path", expected="an absolute path, or auto", parse=parse, empty=None)


def _absolute(text: str) -> str:
    value = _printable(text.strip())
    if not value.startswith("/"):
        # The working directory differs between a shell and a service manager.
        raise BadValueError("is not an absolute path")
    return value


def log_targets() -> ValueType:
    """Return the type of ``application-log``: ``tuple[str, ...]`` of words and absolute paths."""

    def parse(item: str) -> str:
        return item.lower() if item.lower() in {"stdout", "stderr", "syslog"} else _absolute(item)

    return list_of(parse, "a list of stdout, stderr, syslog and absolute paths")


def notify_words() -> ValueType:
    """Return the type of ``dsn-notify``: the words of RFC 3461 section 4.1, of which NEVER stands alone."""
    plain = words("NEVER", "SUCCESS", "FAILURE", "DELAY")

    def parse(text: str) -> object:
        value = plain.parse(text)
        if isinstance(value, tuple) and "NEVER" in value and len(value) > 1:
            raise BadValueError("has NEVER next to other words")
        return value

    return replace(plain, expected=f"{plain.expected}; NEVER only alone", parse=parse)


def server_id() -> ValueType:
    """Return the type of ``server-id``: ``str``, may be empty."""
    return _matching("server id", _SERVER_ID, "up to 32 letters, digits, _ or -", empty="")


def account() -> ValueType:
    """Return the type of ``user``: ``name`` or ``name:group`` as ``str``, blank = ``None``."""
    return _matching("account", _ACCOUNT, "a user name, or user:group", empty=None)


def _matching(name: str, pattern: re.Pattern[str], expected: str, *, empty: object) -> ValueType:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text.strip()):
            raise BadValueError(f"is no {name}")
        return text.strip()

    return ValueType(name=name, expected=expected, parse=parse, empty=empty)


def mail_address() -> ValueType:
    """Return the type of mail addresses: ``str``, blank = ``None``."""

    def parse(text: str) -> str:
        try:
            return parse_address(text.strip()).text
        except InvalidAddressError as error:
            raise BadValueError(f"is no mail address: {error}") from None

    return ValueType(name="mail address", expected="a mail address", parse=parse, empty=None)


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise BadValueError("contains a control character")
    return text
