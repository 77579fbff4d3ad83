"""The script behind `make test`: a second look at what failed beside other groups."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "run_tests.py"
PASSES = "def test_passes():\n    assert True\n"
FAILS = "def test_fails():\n    assert False\n"
FAILS_ONCE = """
from pathlib import Path
def test_fails_once():
    seen = Path(__file__).with_name("seen once")
    was_there = seen.exists()
    seen.touch()
    assert was_there
"""

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script over groups of one file each; its exit code and the lines it printed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second each

    def run(**files: str) -> tuple[int, list[str]]:
        script: dict[str, Any] = runpy.run_path(str(SCRIPT))
        # What its functions look names up in.
        names = script["main"].__globals__
        names.update(ROOT=tmp_path, TESTS=tmp_path / "tests", GROUPS={name: (name,) for name in files})
        for name, text in files.items():
            (tmp_path / "tests" / name).mkdir(parents=True)
            (tmp_path / "tests" / name / f"test_{name}.py").write_text(text)
        code = script["main"]([])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_all_green(run_groups: Run) -> None:
    code, lines = run_groups(processes=PASSES, rest=PASSES)
    assert (code, lines[-1]) == (0, "2 passed, 0 failed, 0 skipped")
    assert not any("Once more" in line for line in lines)


def test_what_passes_alone_is_named_and_no_failure(run_groups: Run) -> None:
    code, lines = run_groups(processes=PASSES + FAILS_ONCE, rest=PASSES)
    assert (code, lines[-1]) == (0, "3 passed, 0 failed, 0 skipped")
    assert lines[-3] == "Passed only alone, which is worth a look:"
    assert lines[-2].startswith("FAILED tests/processes/test_processes.py::test_fails_once")


def test_what_fails_twice_is_a_failure(run_groups: Run) -> None:
    code, lines = run_groups(processes=FAILS + FAILS_ONCE, rest=PASSES)
    assert (code, lines[-1]) == (1, "2 passed, 1 failed, 0 skipped")


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"rest": FAILS_ONCE}, id="needs no server"),
        pytest.param({"processes": "\n".join(FAILS_ONCE.replace("once", f"{n}") for n in range(6))}, id="too many"),
        pytest.param({"processes": FAILS_ONCE, "rest": FAILS_ONCE}, id="beside one that needs none"),
        pytest.param({"processes": "import os\n" + PASSES + "    os._exit(7)\n"}, id="ends midway"),
    ],
)
def test_nothing_else_is_run_again(files: dict[str, str], run_groups: Run) -> None:
    code, lines = run_groups(**files)
    assert code == 1
    assert not any("Once more" in line for line in lines)
