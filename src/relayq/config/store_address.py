"""Store addresses: ``dir:///path``, ``mongodb://user:pw@host1;host2/database/collection`` … (spec storage.md 2).

Not parsed with ``urllib.parse.urlsplit``, for the reasons of broker addresses: a password may contain ``#`` and ``?``,
and hosts are separated by ``;``. Error texts never quote any part of the address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relayq.config.hosts import DIGITS, parse_host, parse_port, split_port
from relayq.config.percent import decode_part
from relayq.config.problems import BadValueError
from relayq.ports import StoreAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

STORE_FORMS = (
    "dir:///path, sqlite:///path/file, mongodb://user:pw@host1;host2/database/collection, "
    "mongodb+srv://user:pw@host/database/collection, postgresql://user:pw@host/database, "
    "mysql://user:pw@host/database, couchbase://user:pw@host1;host2/bucket or couchbases://…, "
    "s3://key:secret@region/bucket, redis://user:pw@host/0 or rediss://…"
)

_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_SCHEME = re.compile(r"([a-z][a-z0-9+]*)://", re.IGNORECASE)
_DEEPEST = 8
_MOST_ATTEMPTS = 100
_MOST_KEYS = 1_000_000
_MOST_REDIS_DATABASES = 65536
_REDIS_PREFIX = "relayq:"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What an address of a scheme consists of.

    Attributes:
        engine: Name of the engine.
        segments: Names of the path segments, for every number of them that is allowed.
        options: Options of ours, in lower case.
        parameters: Options passed on to the driver, ``None`` = whatever is given.
        has_many_hosts: Several hosts may be named.
    """

    engine: str
    segments: tuple[tuple[str, ...], ...] = (("database",),)
    options: tuple[str, ...] = ("compression",)
    parameters: tuple[str, ...] | None = ()
    has_many_hosts: bool = False


_FILE = _Form(engine="directory", options=("compression", "depth"))
_MONGODB = _Form(
    engine="mongodb",
    segments=(("database", "collection"), ("replica_set", "database", "collection")),
    options=("compression", "readattempts", "maxquerysize"),
    parameters=None,
    has_many_hosts=True,
)
_POSTGRESQL = _Form(engine="postgresql", parameters=("sslmode", "sslrootcert", "sslcert", "sslkey"))
_MYSQL = _Form(engine="mysql", parameters=("ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"))
_COUCHBASE = _Form(engine="couchbase", parameters=None, has_many_hosts=True)
_REDIS = _Form(engine="redis", segments=((), ("database",)), options=("compression", "prefix"))
_TLS_MODES = {
    "postgresql": ("sslmode", ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    "mysql": ("ssl-mode", ("disabled", "required", "verify_ca", "verify_identity")),
}
_FORMS: Mapping[str, _Form] = {
    "dir": _FILE,
    "directory": _FILE,
    "sqlite": replace(_FILE, engine="sqlite", options=("compression",)),
    "mongodb": _MONGODB,
    "mongodb+srv": replace(_MONGODB, segments=(("database", "collection"),), has_many_hosts=False),
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mysql": _MYSQL,
    "couchbase": _COUCHBASE,
    "couchbases": _COUCHBASE,
    "s3": _Form(engine="s3", options=("compression", "endpoint", "prefix", "pathstyle")),
    "redis": _REDIS,
    "rediss": replace(_REDIS, parameters=("ssl-ca",)),
}
_ON_DISK = ("directory", "sqlite")


def parse_store_address(text: str) -> StoreAddress:
    """Parse the value of ``storage-address``.

    Raises:
        BadValueError: Unknown scheme, missing part, or an option the engine does not have.
    """
    address = text.strip()
    scheme, form = _parse_scheme(address)
    rest = address.partition("://")[2]
    # The password may contain a question mark: it ends at the last @, which therefore stands for nothing else.
    credentials, at, location = ("", "", rest) if form.engine in _ON_DISK else rest.rpartition("@")
    if "/" in credentials:
        raise BadValueError("has a / before an @: write %2F in a password, %40 for an @ behind the host")
    location, _, query = location.partition("?")
    if form.engine in _ON_DISK:
        found = StoreAddress(engine=form.engine, scheme=scheme, path=_parse_path(location))
    else:
        authority, _, path = location.partition("/")
        username, password = _parse_credentials(credentials) if at else (None, None)
        segments = _parse_segments(path, form)
        found = StoreAddress(
            engine=form.engine,
            scheme=scheme,
            hosts=_parse_hosts(authority, form),
            username=username,
            password=password,
            replica_set=segments.get("replica_set"),
            database=segments.get("database", ""),
            collection=segments.get("collection", ""),
            prefix=_REDIS_PREFIX if form.engine == "redis" else "",
        )
    return _complete(_with_options(found, query, form))


def _parse_scheme(address: str) -> tuple[str, _Form]:
    match = _SCHEME.match(address)
    form = None if match is None else _FORMS.get(match[1].lower())
    if match is None or form is None:
        raise BadValueError("does not start with a known scheme")
    if match.end() == len(address):
        raise BadValueError("has nothing behind its scheme")
    if _BLANK_OR_CONTROL.search(address):
        raise BadValueError("contains a blank or a control character")
    return match[1].lower(), form


def _parse_path(location: str) -> str:
    path = decode_part(location, "path")
    if not path.startswith("/"):
        raise BadValueError("has no absolute path: three slashes follow the colon")
    return path


def _parse_credentials(text: str) -> tuple[str | None, str | None]:
    username, colon, password = text.partition(":")
    return decode_part(username, "user name") or None, decode_part(password, "password") if colon else None


def _parse_hosts(authority: str, form: _Form) -> tuple[tuple[str, int | None], ...]:
    # MongoDB's own connection strings separate hosts by commas; MailerQ's by semicolons.
    hosts = tuple(_parse_host(host) for host in authority.replace(",", ";").split(";"))
    if len(hosts) > 1 and not form.has_many_hosts:
        raise BadValueError("has more than one host")
    return hosts


def _parse_host(text: str) -> tuple[str, int | None]:
    if not text:
        raise BadValueError("has no host")
    if not text.startswith("[") and text.count(":") > 1:
        raise BadValueError("has a host with several colons: write an IPv6 address in brackets")
    try:
        host, port_text = split_port(text)
        return parse_host(host), parse_port(port_text) if port_text else None
    except BadValueError as error:
        raise BadValueError(f"has a host or port that {error}") from None


def _parse_segments(path: str, form: _Form) -> dict[str, str]:
    segments = path.split("/") if path else []
    if len(segments) > 1 and not segments[-1]:
        segments.pop()
    for names in form.segments:
        if len(names) == len(segments) and all(segments):
            return {name: decode_part(text, name) for name, text in zip(names, segments, strict=True)}
    wanted = " or ".join("/".join(("host", *names)) for names in form.segments)
    raise BadValueError(f"does not have the form {wanted.replace('_', ' ')}")


# --- options ---------------------------------------------------------------------------------------------------------


def _with_options(address: StoreAddress, query: str, form: _Form) -> StoreAddress:
    changes: dict[str, object] = {}
    parameters: list[tuple[str, str]] = []
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name.lower() in form.options:
            field, read = _OPTIONS[name.lower()]
            changes[field] = read(decode_part(text, f"option {name}"), name)
        elif form.parameters is None or name in form.parameters:
            parameters.append((decode_part(name, "option"), decode_part(text, "option")))
        else:
            allowed = (*form.options, *form.parameters)
            raise BadValueError(f"has an unknown option behind the ?, allowed are {', '.join(allowed)}")
    return replace(address, parameters=tuple(parameters), **changes)  # type: ignore[arg-type]


def _read_number(lowest: int, highest: int) -> Callable[[str, str], int]:
    def read(text: str, name: str) -> int:
        if not DIGITS.fullmatch(text) or not lowest <= int(text) <= highest:
            raise BadValueError(f"has an option {name} outside {lowest}-{highest}")
        return int(text)

    return read


def _read_choice(true: Sequence[str], false: Sequence[str]) -> Callable[[str, str], bool]:
    def read(text: str, name: str) -> bool:
        if text.lower() not in (*true, *false):
            raise BadValueError(f"has an option {name} that is not {' or '.join((*true, *false))}")
        return text.lower() in true

    return read


def _read_text(text: str, name: str) -> str:
    del name
    return text


def _read_url(text: str, name: str) -> str:
    if not text.lower().startswith(("http://", "https://")):
        raise BadValueError(f"has an option {name} that does not start with http:// or https://")
    return text


_OPTIONS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "compression": ("compress", _read_choice(("gzip",), ("none",))),
    "depth": ("depth", _read_number(0, _DEEPEST)),
    "readattempts": ("read_attempts", _read_number(1, _MOST_ATTEMPTS)),
    "maxquerysize": ("max_query_size", _read_number(1, _MOST_KEYS)),
    "prefix": ("prefix", _read_text),
    "endpoint": ("endpoint", _read_url),
    "pathstyle": ("path_style", _read_choice(("true",), ("false",))),
}


def _complete(address: StoreAddress) -> StoreAddress:
    """Apply what one engine alone has."""
    if address.engine in _TLS_MODES:
        name, modes = _TLS_MODES[address.engine]
        read = _read_choice(modes, ())
        for mode in (value for parameter, value in address.parameters if parameter == name):
            read(mode, name)
    if address.engine == "sqlite" and address.path.endswith("/"):
        raise BadValueError("names a directory, not a file")
    if address.engine == "couchbase":
        if address.username and address.password is None:
            # A lone password is that of a bucket, whose name was the user before version 5.0.
            address = replace(address, username=address.database, password=address.username)
        if address.password is None:
            raise BadValueError("has no password")
    if address.engine == "redis":
        database = address.database or "0"
        if not DIGITS.fullmatch(database) or int(database) >= _MOST_REDIS_DATABASES:
            raise BadValueError("has a database that is no number")
        if address.username is not None and address.password is None:
            raise BadValueError("has a user without a password: a password alone is written :password@host")
        address = replace(address, database=str(int(database)))
    if address.engine == "s3" and (address.username is None) != (not address.password):
        raise BadValueError("has only one of access key and secret key")
    return address
