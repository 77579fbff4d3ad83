"""The configuration itself: its warnings, leftovers of MailerQ, and who can read the secrets in its files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relayq.cli.doctor.examination import in_thread
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.config import EmbeddedAddress, Source, leftover_variables

if TYPE_CHECKING:
    from relayq.config import ConfigurationError, Settings

AREA: Final = "configuration"

_finding = partial(Finding, AREA)


def configuration_checks(settings: Settings, environ: Mapping[str, str], limit: float) -> list[Check]:
    """Everything that is known from the sources alone."""

    def look() -> Iterator[Finding]:
        yield from look_at_warnings(settings, environ)
        yield from look_at_files(settings)

    return [Check(area=AREA, subject="files", examine=lambda: in_thread(look), limit=limit)]


def describe_problems(error: ConfigurationError) -> Iterator[Finding]:
    """What keeps the configuration from being used at all."""
    for problem in error.problems:
        yield Finding(
            area=AREA,
            subject=problem.key or problem.where,
            verdict=Verdict.WRONG,
            found=f"{problem.where}: {problem.text}",
            expected=problem.expected,
            fix="correct it, then call the doctor again: without a configuration nothing else can be looked at",
        )


def look_at_warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What loading warned about."""
    for warning in settings.warnings:
        yield _finding(warning.key, Verdict.WARNING, f"{warning.where}: {warning.text}", warning.expected)
    for leftover in leftover_variables(environ):
        fix = f"use {leftover.use_instead}" if leftover.use_instead else "remove it: nothing corresponds to it"
        yield _finding(leftover.variable, Verdict.WARNING, "a variable of MailerQ, which is not read", fix=fix)
    if not settings.warnings:
        yield _finding("settings", Verdict.OK, "no contradictions")


def look_at_files(settings: Settings) -> Iterator[Finding]:
    """Files with secrets must not be readable by everybody."""
    for path in secret_files(settings):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            yield _finding(str(path), Verdict.UNKNOWN, error.strerror or str(error))
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            yield _finding(
                str(path),
                Verdict.WARNING,
                f"mode {stat.S_IMODE(mode):04o}: others can read or write secrets in it",
                "mode 0640 or less",
                f"chmod 0640 {path}, and give it the group relayq runs with",
            )
        else:
            yield _finding(str(path), Verdict.OK, f"mode {stat.S_IMODE(mode):04o}")


def secret_files(settings: Settings) -> list[Path]:
    """Configuration files in which a secret is set, each once."""
    files: dict[str, None] = {}
    for item in settings.effective.values():
        is_secret = item.setting.secret and not isinstance(item.value, EmbeddedAddress)
        if is_secret and item.value and item.source in {Source.DEFAULT_FILE, Source.FILE}:
            files.setdefault(item.where.rpartition(":")[0])
    return [Path(name) for name in files if name.startswith(os.sep)]
