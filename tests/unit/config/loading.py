"""How these tests load a configuration: sources as text, no file of this machine, a known host name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from relayq.config import BadValueError, ConfigurationError, Settings, UsageError, load, parse_options

HOSTNAME = "mta.example"


def load_text(
    folder: Path, text: str | bytes = "", words: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Settings:
    """Load ``text`` as the default file, below the environment and the command line."""
    file = folder / "config.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(parse_options(words), environ=environ, default_file=file, system_hostname=lambda: HOSTNAME)


def refused(
    folder: Path, text: str | bytes = "", words: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> list[str]:
    """Lines of the report about sources that cannot be used, with ``config.txt`` for the path of the file."""
    with pytest.raises(ConfigurationError) as caught:
        load_text(folder, text, words, environ)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def warned(folder: Path, text: str, words: Sequence[str] = ()) -> list[str]:
    """Warnings about a usable file, with ``config.txt`` for its path; results are published."""
    settings = load_text(folder, f"rabbitmq-results: results\n{text}", words)
    return [str(problem).replace(f"{folder}/", "") for problem in settings.warnings]


def report_of(call: Callable[[], object]) -> tuple[str, ...]:
    """Lines of the report with which ``call`` gives up, empty when it does not; no other error is expected."""
    try:
        call()
    except ConfigurationError as error:
        return tuple(map(str, (*error.problems, *error.warnings)))
    except UsageError as error:
        return tuple(map(str, error.problems))
    except BadValueError as error:
        return (error.predicate,)
    return ()
