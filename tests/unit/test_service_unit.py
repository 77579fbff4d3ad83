"""The unit for systemd fits the program it starts."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from relayq.config import ExitCode
from relayq.config.table import TABLE
from relayq.supervisor.fleet import STOP_MARGIN
from relayq.supervisor.server import STATUS_SECONDS

UNIT = Path(__file__).parents[2] / "packaging" / "relayq.service"
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "run-as-a-service.md"


@pytest.fixture(scope="module")
def service() -> dict[str, str]:
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    return dict(unit["Service"])


def test_it_waits_for_what_the_program_tells(service: dict[str, str]) -> None:
    assert service["Type"] == "notify"
    assert service["ExecStart"].endswith("/relayq run")
    assert "daemon" not in service["ExecStart"]
    assert service["ExecReload"].endswith("-HUP $MAINPID")


def test_it_is_patient_enough(service: dict[str, str]) -> None:
    drain = TABLE["shutdown-timeout"].default_value()
    assert isinstance(drain, float)
    assert float(service["TimeoutStopSec"]) > drain + STOP_MARGIN
    assert float(service["WatchdogSec"]) > 2 * STATUS_SECONDS
    assert service["KillMode"] == "mixed"


def test_it_does_not_start_again_what_cannot_work(service: dict[str, str]) -> None:
    codes = set(map(int, service["RestartPreventExitStatus"].split()))
    assert codes == {ExitCode.USAGE, ExitCode.NO_PERMISSION, ExitCode.CONFIGURATION}


def test_the_guide_shows_its_lines(service: dict[str, str]) -> None:
    text = HOWTO.read_text()
    for key in ("Type", "WatchdogSec", "KillMode", "TimeoutStopSec", "RestartPreventExitStatus", "LimitNOFILE"):
        assert f"`{key}={service[key]}`" in text, key
